"""Control groups: v1, hybrid and v2, by the cgroup file system.

hierarchies finds the directories; group kills, freezes and removes a cgroup that exists; driver makes one and gives it
the limits of config.json, or systemd has systemd do so. resources writes the limits, with one module per controller,
which lists the values for v1 and v2 side by side. Only devices on v2 need more than files: device_program compiles the
rules, linux/bpf loads them. config/linux_rules.py has already validated the input, so these modules refuse only what
this machine or its version of cgroups does not support.

`state`, `kill` and `delete` need only group, so it imports little, and no ctypes.
"""
