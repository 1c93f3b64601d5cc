"""pyfetch: a registry image, an OCI layout or a `docker save` archive becomes a bundle that an OCI runtime runs."""

__version__ = "0.1.0"
