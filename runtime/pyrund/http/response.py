"""Responses as bytes."""

import json
import time

from pyrund import __version__
from pyrund.http.request import NEWEST, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JSON = "application/json"
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"

_REASONS = {
    101: "UPGRADED",
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Request Entity Too Large",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_HAS_NO_BODY = (204, 304)


class Response:
    """A status, a value that is sent as JSON (None for no body), and headers beside those of every response."""

    def __init__(self, status: int, value: "Any" = None, headers: "dict[str, str] | None" = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        self.body = b""
        if value is not None:
            self.headers.setdefault("Content-Type", JSON)
            self.body = encoded(value)

    def head(self, closes: bool) -> bytes:
        headers = dict(self.headers)
        if self.status not in _HAS_NO_BODY:
            headers["Content-Length"] = str(len(self.body))
        return head(self.status, headers, closes)


def error(status: int, message: str) -> Response:
    return Response(status, {"message": message})


def encoded(value: "Any") -> bytes:
    """Return `value` as docker sends it: JSON on one line, with a newline."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def head(status: int, headers: "dict[str, str]", closes: bool = False) -> bytes:
    """Return the status line and all headers."""
    every = {
        "Api-Version": shown(NEWEST),
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Server": f"pyrund/{__version__} (linux)",
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        **headers,
        **({"Connection": "close"} if closes else {}),
    }
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in every.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def hijack_head(upgrades: bool, content_type: str) -> bytes:
    """Return the head after which the connection is a stream of bytes: 101 if the client has asked for that."""
    if upgrades:
        lines = ["HTTP/1.1 101 UPGRADED", f"Content-Type: {content_type}", "Connection: Upgrade", "Upgrade: tcp"]
    else:
        lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
