"""What the engine knows: containers, execs, images, and how they are named and shown."""
