"""What the engine does: one thread and one loop, which know all there is and never wait for a disk or a program."""
