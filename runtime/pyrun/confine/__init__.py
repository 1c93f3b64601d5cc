"""What takes privileges from a process: capabilities, resource limits, seccomp, labels, scheduling."""
