"""The process that moves bytes: from containers to their logs and to clients, and from clients to containers."""
