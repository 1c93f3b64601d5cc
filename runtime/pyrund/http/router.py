"""Routes: which function handles which path.

A pattern has at most one {}, in place of a name. Names of images have slashes, so {} takes any text: the pattern with
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
        before, brace, after = pattern.partition("{}")
        self._routes.append(_Route(method, before, after if brace else None, handler, streams_body))

    def add_missing(self, method: str, pattern: str, what: str) -> None:
        """Let the path answer that this engine does not have `what` yet."""

        async def refuse(request: "Exchange") -> "Response":
            raise missing(what)

        self.add(method, pattern, refuse)

    async def handle(self, request: "Exchange") -> "Response | None":
        """Call the handler of the path. Raises ApiError if there is none."""
        found = [route for route in self._routes if route.matches(request.method, request.path)]
        route = max(found, key=lambda one: len(one.before) + len(one.after or ""), default=None)
        if request.only_reads:
            self._check_reader(request, route)
        if route is None or not route.streams_body:
            request.body = await request.connection.receive_body(request)
        request.check_version()
        if route is None:
            raise ApiError(404, "page not found")
        if route.after is not None:
            request.values = [request.path[len(route.before) : len(request.path) - len(route.after)]]
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
    """`after` is None for a path without a name in it."""

    def __init__(self, method: str, before: str, after: "str | None", handler: "Handler", streams_body: bool) -> None:
        self.name = f"{method} {before}" if after is None else f"{method} {before}{{}}{after}"
        self.method = method
        self.before = before
        self.after = after
        self.handler = handler
        self.streams_body = streams_body

    def matches(self, method: str, path: str) -> bool:
        if method != self.method:
            return False
        if self.after is None:
            return path == self.before
        has_name = len(path) > len(self.before) + len(self.after)
        return path.startswith(self.before) and path.endswith(self.after) and has_name
