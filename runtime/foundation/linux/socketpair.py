"""Two connected sockets: socketpair(2)."""

import _socket  # the C part alone: `import socket` costs 3 to 4 ms

SEQPACKET, STREAM = _socket.SOCK_SEQPACKET, _socket.SOCK_STREAM


def socketpair(kind: int) -> "tuple[_socket.socket, _socket.socket]":
    """Return two sockets of AF_UNIX that are connected, close-on-exec. An OSError names the call, as in os.py."""
    try:
        return _socket.socketpair(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        error.filename = "socketpair"
        raise
