"""pyrun: an OCI runtime that executes bundles (runtime-spec 1.3, Linux)."""

__version__ = "0.1.0"
