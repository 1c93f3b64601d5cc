"""A container on disk: its id, its state directory, its status, its hooks. Knows no system call beyond Python's own."""
