"""What is done at a registry: push, login, search, a look at an image. Workers ask it."""

from pyfetch.image.reference import DOCKER_HUB, has_host, parse_reference
from pyrund.api import platforms
from pyrund.api.answer import let_answer
from pyrund.api.filters import flag
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model.images import reference_of
from pyrund.spec.shape import TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.reference import Reference
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router

    Json = dict[str, Any]

_DEFAULT_LIMIT, _HIGHEST_LIMIT = 25, 100
_LOGIN = dict.fromkeys("username password serveraddress identitytoken".split(), TEXT)
_FILTERS = frozenset("is-automated is-official stars".split())


def add_routes(router: "Router", engine: "Engine") -> None:
    api = RegistriesApi(engine)
    router.add("POST", "/images/{}/push", api.push, streams_body=True)
    router.add("POST", "/auth", api.log_in)
    router.add("GET", "/images/search", api.search)
    router.add("GET", "/distribution/{}/json", api.look)


class RegistriesApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def push(self, request: "Exchange") -> None:
        """Send one tag of a repository, or all: a worker answers the request."""
        engine, tag = self._engine, request.query.get("tag", "")
        request.body = await request.connection.receive_body(request)
        platform = platforms.wanted(request, since=(1, 46))
        reference = reference_of(f"{request.values[0]}:{tag}" if tag else request.values[0])
        login = request.headers.get("x-registry-auth", "")
        if not login and not request.body.strip():
            raise ApiError(400, "Bad parameters and missing X-Registry-Auth: EOF")
        known = self._tags_of(reference)
        names = [name for name in known if not tag or name == str(reference)]
        for name in (names or [str(reference)]) if platform else []:
            engine.images.find_for(name, platform)
        message = {
            "do": "push",
            "repository": f"{reference.host}/{reference.repository}",
            "names": names,
            "missing": _missing(reference, bool(known)),
            "login": login,
        }
        answer = await let_answer(engine, request, message)
        if answer["is_pushed"]:
            name = reference.familiar_repository()
            engine.events.tell("image", "push", reference.familiar() if tag else name, {"name": name})

    def _tags_of(self, reference: "Reference") -> "list[str]":
        """Return the names in the store that are tags of the repository."""
        names = sorted(name for image in self._engine.images.all() for name in image.names)
        place = (reference.host, reference.repository)
        others = [(name, parse_reference(name)) for name in names]
        return [name for name, other in others if not other.digest and (other.host, other.repository) == place]

    async def log_in(self, request: "Request") -> Response:
        given = request.json()
        check(given, _LOGIN, "")
        login = {name: given.get(name) or "" for name in _LOGIN}
        await self._engine.launcher.do(self._engine.loop, {"do": "log_in", **login})
        return Response(200, {"IdentityToken": "", "Status": "Login Succeeded"})

    async def search(self, request: "Request") -> Response:
        filters = request.filters(_FILTERS)
        limit = request.number("limit", _DEFAULT_LIMIT) or _DEFAULT_LIMIT
        if not 1 <= limit <= _HIGHEST_LIMIT:
            raise ApiError(400, f"Limit {limit} is outside the range of [1, {_HIGHEST_LIMIT}]")
        stars, chosen = _least_stars(filters), {name: flag(filters, name) for name in ("is-automated", "is-official")}
        term = request.query.get("term", "")
        if "://" in term:
            raise ApiError(400, "invalid repository name: repository name should not have a scheme")
        host, _, rest = term.partition("/") if has_host(term) else (DOCKER_HUB, "", term)
        login = request.headers.get("x-registry-auth", "")
        message = {"do": "search", "registry": host, "term": rest, "limit": limit, "login": login}
        found = (await self._engine.launcher.do(self._engine.loop, message))["results"]
        for name, wanted in chosen.items():
            found = [one for one in found if wanted in (None, one[name.replace("-", "_")])]
        return Response(200, [one for one in found if one["star_count"] >= stars])

    async def look(self, request: "Request") -> Response:
        name = str(reference_of(request.values[0]))
        message = {"do": "distribution", "name": name, "login": request.headers.get("x-registry-auth", "")}
        return Response(200, await self._engine.launcher.do(self._engine.loop, message))


def _missing(reference: "Reference", is_known: bool) -> str:
    if is_known:
        return f"tag does not exist: {reference.familiar()}"
    return f"An image does not exist locally with the tag: {reference.familiar_repository()}"


def _least_stars(filters: "Json") -> int:
    for text in filters.get("stars", []):
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ApiError(400, f"invalid filter 'stars={text[:80]}'")
    return max(map(int, filters.get("stars", [])), default=0)
