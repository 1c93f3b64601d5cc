"""The standard streams of a container and of the runtime: terminals, pipes, forwarded signals, descriptors."""
