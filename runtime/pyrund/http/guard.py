"""A TCP port may be reached by web pages, through the browser of somebody on this machine. They are refused.

A browser says which page a request comes from (Origin), unless it is a plain GET; and a page that has its own name lead
to this machine's address (DNS rebinding) gives itself away by the name in Host. Clients of WebSockets that are no
browsers say an Origin as well, which is the engine itself: no page has that, because the engine serves none.
"""

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.http.connection import Exchange, Handler
    from pyrund.http.response import Response

_OF_CLIENTS = ("localhost", "docker", "api.moby.localhost", "")


def guarded(handle: "Handler", names: "list[str] | None") -> "Handler":
    """Return a handler that refuses browsers.

    `names` are this machine's, beside its addresses; None for any: nobody here knows how other machines call it.
    """
    known = {*_OF_CLIENTS, *(name.lower() for name in names or ())}

    async def check(request: "Exchange") -> "Response | None":
        own = None if names is None else f"http://{request.headers.get('host', '')}"
        if request.headers.get("origin", own) != own or request.headers.get("sec-fetch-site", "none") != "none":
            raise ApiError(403, "requests of web pages are refused")
        host = _name(request.headers.get("host", ""))
        if names is not None and host not in known and not _is_address(host):
            raise ApiError(403, f"requests for the host {host[:80]!r} are refused: call the engine by its address")
        return await handle(request)

    return check


def _name(host: str) -> str:
    """Return the name of "name:port" or "[address]:port"."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(text: str) -> bool:
    return ":" in text or (text.count(".") == 3 and text.replace(".", "").isdigit())
