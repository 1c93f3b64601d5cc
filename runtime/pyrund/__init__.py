"""pyrund: an engine. It speaks the Docker Engine API, fetches images with pyfetch and runs containers with pyrun."""

__version__ = "0.1.0"
