"""The system calls that Python lacks, one module per C header. This package knows nothing of containers.

Constants have the header's names and are plain integers, so that grep finds the kernel, the manual and us alike.
Every call that fails raises OSError: libc.declare checks the result, so that no caller can forget it.
"""
