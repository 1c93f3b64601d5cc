"""How a registry is reached and asked: connections, TLS, proxies, mirrors, credentials."""
