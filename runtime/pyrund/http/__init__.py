"""HTTP/1.1 as the clients of docker speak it: requests, responses, connections, routes."""
