"""config.json: its objects, their validation, the default config.json, and the features document.

This package knows the names, types and rules of the runtime-spec. It only reads config.json and checks two properties
of the host: whether a namespace to join is the runtime's own (sysctl.py), and whether cgroups are v2 (default.py).
"""
