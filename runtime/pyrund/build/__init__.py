"""Images that are made here: the Dockerfile, what its instructions change, and the image that comes of it."""
