"""The stub, the last process of the runtime: a table of system calls, and the small static ELF that makes them."""
