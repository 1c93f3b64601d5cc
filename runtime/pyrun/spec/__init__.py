"""config.json: its objects, their validation, the default one, and the features document.

Knows names, types and rules of the runtime-spec; knows no system call and changes nothing.
"""
