"""The opening handshake of a WebSocket (RFC 6455, section 4.2)."""

import base64
import binascii

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.http.request import Request

_VERSION = "13"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = 16  # bytes


def accepted(request: "Request") -> str:
    """Return what proves to the client that its handshake was understood (Sec-WebSocket-Accept). Raises ApiError."""
    wanted = [one.strip().lower() for one in request.headers.get("upgrade", "").split(",")]
    if not request.upgrades or request.is_old or "websocket" not in wanted:
        raise ApiError(400, "not websocket protocol")
    if request.headers.get("sec-websocket-version") != _VERSION:
        raise ApiError(400, f"missing or bad WebSocket Version: expected {_VERSION}")
    import hashlib  # only here: few clients do this, and it loads OpenSSL

    key = request.headers.get("sec-websocket-key", "")
    try:
        length = len(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if length != _KEY:
        raise ApiError(400, "mismatch challenge/response: Sec-WebSocket-Key is not 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def head(accept: str) -> bytes:
    """Return the head after which the connection is a WebSocket."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode()
