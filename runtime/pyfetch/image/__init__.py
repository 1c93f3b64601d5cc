"""What an image is: its name, digests, manifests, platforms, and the store that keeps it."""
