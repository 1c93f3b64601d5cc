"""Routes: which function handles which path.

A pattern has at most one {}, in place of a name. Names of images have slashes, so {} takes any text: the pattern with
the most text around it wins.
"""

from pyrund.errors import ApiError, missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyrund.http.connection import Exchange
    from pyrund.http.response import Response

    Handler = Callable[[Exchange], Awaitable[Response | None]]


class Router:
    def __init__(self) -> None:
        self._routes: list[_Route] = []

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
        if route is None or not route.streams_body:
            request.body = await request.connection.receive_body(request)
        request.check_version()
        if route is None:
            raise ApiError(404, "page not found")
        if route.after is not None:
            request.values = [request.path[len(route.before) : len(request.path) - len(route.after)]]
        return await route.handler(request)


class _Route:
    """`after` is None for a path without a name in it."""

    def __init__(self, method: str, before: str, after: "str | None", handler: "Handler", streams_body: bool) -> None:
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
