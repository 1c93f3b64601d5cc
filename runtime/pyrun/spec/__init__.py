"""config.json: its objects, their validation, the default one, and the features document.

Knows names, types and rules of the runtime-spec; makes no system call but to read config.json, and to ask the host two
questions: whether a namespace to join is the runtime's own (sysctl.py), and whether cgroups are v2 (default.py).
"""
