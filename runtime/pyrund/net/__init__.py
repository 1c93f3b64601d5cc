"""What networks are on the host: bridges and parents, addresses, interfaces, rules and ports."""
