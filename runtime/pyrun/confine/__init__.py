"""Restrictions of a container's processes: seccomp, Landlock, labels, scheduling, memory policy, Intel RDT."""
