"""How a process comes to life in a container: create, join (exec), the terminal, the last mile.

The last mile is what stands between us and the user's program: a table of system calls (table.py) that a static ELF of
a few hundred bytes carries out (elf.py), so that no interpreter is ever to be found in the container.
"""
