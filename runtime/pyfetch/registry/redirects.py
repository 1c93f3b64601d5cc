"""Follows redirects. Each hop is checked, since a server chooses the next one (CVE-2020-15157 and others).

The caller decides what is sent to a hop; the connection decides which addresses can be reached.
"""

from pyfetch.errors import VerificationError
from pyfetch.registry.connection import Origin, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

REDIRECTS = (301, 302, 303, 307, 308)
_MAXIMUM_REDIRECTS = 10


def follow(response: Response, send: "Callable[[str, Origin], Response]", unencrypted: bool) -> Response:
    """Return the first answer that is not a redirect, beginning with `response`.

    `send` requests a URL from an origin. `unencrypted` says whether https may lead to http.
    """
    first = response.origin
    for _ in range(_MAXIMUM_REDIRECTS):
        if response.status not in REDIRECTS:
            return response
        response.close()
        url = response.origin.join(response.headers.get("Location", ""))
        origin = Origin(url)
        check_encryption(response.origin, origin, unencrypted)
        response = send(url, origin)
    response.close()
    raise VerificationError(f"{first}: more than {_MAXIMUM_REDIRECTS} redirects")


def check_encryption(first: Origin, then: Origin, unencrypted: bool) -> None:
    """Raise VerificationError if `first`, with TLS, leads to `then` without it, unless that is allowed."""
    if first.scheme == "https" and then.scheme != "https" and not unencrypted:
        raise VerificationError(f"{first}: redirects to {then}, without encryption: refused; see --insecure")
