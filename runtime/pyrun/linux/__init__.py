"""The system calls that Python lacks, one module per C header; knows nothing of containers.

Constants have the header's names and are plain integers, so that grep finds the kernel, the manual and us alike.
Every call that fails raises OSError: libc.declare sees to it, no caller can forget.
"""
