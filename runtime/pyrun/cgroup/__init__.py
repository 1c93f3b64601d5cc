"""Control groups: v1, hybrid and v2, by the cgroup file system.

hierarchies finds the directories; group makes, joins, kills and removes them; resources writes the limits of
config.json, with one module per controller, each of which says side by side what v1 and v2 are told.  Only devices on
v2 need more than files: device_program compiles the rules, linux/bpf loads them.

`state`, `kill` and `delete` need group alone, so what that imports stays small and knows no ctypes.
"""
