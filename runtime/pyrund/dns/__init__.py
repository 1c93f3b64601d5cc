"""Names: the server at 127.0.0.11 of containers in networks of one's own, and the names that it knows."""
