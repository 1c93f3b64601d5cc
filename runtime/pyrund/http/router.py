"""Routes: which function handles which path.

A pattern has {} in place of a name, twice at most. Names of images have slashes, so {} takes any text: the pattern with
the most text around it wins.
"""

from pyrund.errors import ApiError, missing
from pyrund.http.request import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyrund.http.connection import Exchange
    from pyrund.http.response import Response

    Handler = Callable[[Exchange], Awaitable[Response | None]]


class Router:
    """`open_to_readers` are the routes, as "GET /info", that a client may use who may only read."""

    def __init__(self, open_to_readers: "frozenset[str]") -> None:
        self._routes: list[_Route] = []
        self._open_to_readers = open_to_readers

    def add(self, method: str, pattern: str, handler: "Handler", streams_body: bool = False) -> None:
        """`streams_body`: the handler has a worker read the request's body."""
        self._routes.append(_Route(method, pattern, handler, streams_body))

    def add_missing(self, method: str, pattern: str, what: str) -> None:
        """Let the path answer that this engine does not have `what` yet."""

        async def refuse(request: "Exchange") -> "Response":
            raise missing(what)

        self.add(method, pattern, refuse)

    async def handle(self, request: "Exchange") -> "Response | None":
        """Call the handler of the path. Raises ApiError if there is none."""
        method, path = request.method, request.path
        found = [route for route in self._routes if route.method == method and route.values(path) is not None]
        route = max(found, key=lambda one: one.length, default=None)
        if request.only_reads:
            self._check_reader(request, route)
        if route is None or not route.streams_body:
            request.body = await request.connection.receive_body(request)
        request.check_version()
        if route is None:
            raise ApiError(404, "page not found")
        request.values = route.values(request.path) or []
        return await route.handler(request)

    def _check_reader(self, request: "Exchange", route: "_Route | None") -> None:
        """Raise BadRequest for what is not open to readers: its body is not read, so the connection ends."""
        is_open = route.name in self._open_to_readers if route else request.method in ("GET", "HEAD")
        if not is_open:
            what = f"{request.method} {request.path}"[:200]
            raise BadRequest(f"this socket is for reading only, and {what} is not open to its clients", 403)


def for_readers(handle: "Handler") -> "Handler":
    """Return a handler of requests whose clients may only read."""

    async def mark(request: "Exchange") -> "Response | None":
        request.only_reads = True
        return await handle(request)

    return mark


class _Route:
    """`name` is the method and the pattern."""

    def __init__(self, method: str, pattern: str, handler: "Handler", streams_body: bool) -> None:
        self.name = f"{method} {pattern}"
        self.method = method
        self.handler = handler
        self.streams_body = streams_body
        self._parts = pattern.split("{}")
        self.length = sum(map(len, self._parts))

    def values(self, path: str) -> "list[str] | None":
        """Return what the path has in place of each {}; None if it is another path."""
        before, after = self._parts[0], self._parts[-1]
        if len(self._parts) == 1:
            return [] if path == before else None
        if not (path.startswith(before) and path.endswith(after)):
            return None
        inner = path[len(before) : len(path) - len(after)]
        found = inner.split(self._parts[1], 1) if len(self._parts) > 2 else [inner]
        return found if len(found) == len(self._parts) - 1 and all(found) else None
