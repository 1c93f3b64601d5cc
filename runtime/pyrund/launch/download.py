"""What a server of HTTP gives, for ADD of an address and for `docker import`.

Only these load it, when they need it: urllib is large.
"""

import base64
import email.utils
import http.client
import urllib.error
import urllib.parse
import urllib.request

from foundation.errors import one_line
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

_SCHEMES = ("http", "https")
_PATIENCE = 60  # seconds for each answer of the server, and for each piece of what it sends
_CHUNK = 1 << 18
_MOST_WORDS = 4000  # bytes of what a server says about an error
_STATUSES = (400, 401, 403, 404)  # which the client gets too; others are 500
_PLAIN = "".join(map(chr, range(33, 127)))  # of an address; Go's client escapes other characters


class Download:
    """The answer to a GET of `url`, in pieces. Raises ApiError, as dockerd words it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._answer = self._get()
        self.size: int | None = self._answer.length

    def _get(self) -> "Any":
        try:
            return _opener().open(_request(self.url), timeout=_PATIENCE)
        except urllib.error.HTTPError as error:
            text = f"failed to GET {self.url} with status {error.code} {error.reason}: {_words(error)}"
            raise ApiError(error.code if error.code in _STATUSES else 500, text) from None
        except (ValueError, http.client.InvalidURL) as error:
            raise _malformed(self.url, error) from None
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(500, f'Get "{self.url}": {_cause(error)}') from error

    def __iter__(self) -> "Iterator[bytes]":
        left = self.size
        while left != 0 and (piece := self._read(_CHUNK if left is None else min(left, _CHUNK))):
            left = left if left is None else left - len(piece)
            yield piece
        if left:
            raise ApiError(500, f"{self.url}: unexpected EOF: the server has sent all but {left} bytes")

    def _read(self, size: int) -> bytes:
        try:
            return self._answer.read1(size)  # type: ignore[no-any-return]
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(500, f"{self.url}: {_cause(error)}") from error

    @property
    def modified(self) -> "int | None":
        """When the server says that it was modified, in seconds since the epoch."""
        try:
            return int(email.utils.parsedate_to_datetime(self._answer.headers["Last-Modified"]).timestamp())
        except (TypeError, ValueError, OverflowError):
            return None


def last_name(url: str) -> str:
    """Return the name of the file in the address, "" if it has none. Raises ApiError."""
    try:
        return urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    except ValueError as error:
        raise _malformed(url, error) from None


def _malformed(url: str, error: Exception) -> ApiError:
    return ApiError(400, f'parse "{url}": {error}')


class _Others(urllib.request.UnknownHandler):
    def unknown_open(self, request: urllib.request.Request) -> "NoReturn":
        raise ApiError(500, f'Get "{request.full_url}": unsupported protocol scheme "{request.type}"')


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Python knows 308 since 3.11."""

    def http_error_308(self, request: "Any", answer: "Any", code: int, message: str, headers: "Any") -> "Any":
        return self.http_error_302(request, answer, 307, message, headers)


def _opener() -> urllib.request.OpenerDirector:
    """Return what asks servers of HTTP alone: urlopen() would open files, and follow a redirect to a server of FTP."""
    opener = urllib.request.OpenerDirector()
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme in _SCHEMES}
    handlers = [
        urllib.request.ProxyHandler(proxies),
        _Others(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _request(url: str) -> urllib.request.Request:
    """Return the request; a name and a password in the address become a header for its own server."""
    parts = urllib.parse.urlsplit(urllib.parse.quote(url, _PLAIN))
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)))
    if user:
        login = urllib.parse.unquote(user if ":" in user else f"{user}:")
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    return request


def _words(error: urllib.error.HTTPError) -> str:
    """Return what the server says beside the status."""
    try:
        return one_line(error.read(_MOST_WORDS).decode("utf-8", "replace"), _MOST_WORDS)
    except (OSError, http.client.HTTPException):
        return "error reading body"


def _cause(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, http.client.IncompleteRead):
        return "unexpected EOF"
    return one_line(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)
