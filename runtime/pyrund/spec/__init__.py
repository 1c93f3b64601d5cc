"""From what a client asks for to what pyrun executes: docker's Config and HostConfig, and config.json."""
