"""Images made of containers and of archives."""

from pyfetch.image.reference import parse_reference
from pyrund.api.answer import let_answer
from pyrund.daemon import stopping
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model.images import new_name
from pyrund.spec.config import SHAPE, WORD_LISTS, words
from pyrund.spec.shape import TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.container import Container


_SHAPE = {**SHAPE, "Labels": {str: TEXT}}  # pyfetch refuses a zero byte in an image's


def add_routes(router: "Router", engine: "Engine") -> None:
    router.add("POST", "/commit", CommitApi(engine).commit)


class CommitApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def commit(self, request: "Request") -> Response:
        engine = self._engine
        container = engine.containers.find(request.query.get("container", ""))
        names = names_of(request)
        async with container.turns:
            if container.is_removing:
                raise ApiError(409, f"container {container.name} is being removed")
            config = request.json() if request.body.strip() not in (b"", b"null") else {}
            check(config, _SHAPE, "")
            message = {
                "do": "commit",
                "id": container.id,
                "image": engine.images.find(container.document["Image"]).entries[0],
                "names": names,
                "author": request.query.get("author", ""),
                "comment": request.query.get("comment", ""),
                "changes": request.values_of("changes"),
                "config": {**config, **{name: words(config, name) for name in WORD_LISTS}},
            }
            may_pause = container.is_running and not container.is_paused and self._engine.places.has_cgroups
            is_held = False
            try:
                if may_pause and _pauses(request):
                    await stopping.hold(engine, container)
                    is_held = True
                    engine.events.of_container(container, "pause")
                id_ = (await engine.launcher.do(engine.loop, message))["image"]
                _tell(engine, container, id_, names, request.query.get("comment", ""))
            finally:
                await stopping.let_go(engine, container)
                if is_held:
                    engine.events.of_container(container, "unpause")
        return Response(201, {"Id": id_})


def _tell(engine: "Engine", container: "Container", id_: str, names: "list[str]", comment: str) -> None:
    shown = [parse_reference(name).familiar() for name in names]
    engine.events.of_names(engine.images.find_or_none(id_), shown)
    engine.events.of_container(container, "commit", comment=comment, imageID=id_, imageRef="".join(shown))


def _pauses(request: "Request") -> bool:
    return "pause" not in request.query or request.flag("pause")


def names_of(request: "Request") -> "list[str]":
    """Return the full name of the image that the client wants to make, [] for none. Raises ApiError."""
    repository, tag = request.query.get("repo", ""), request.query.get("tag", "")
    if not repository:
        return []
    return [str(new_name(repository + (f":{tag}" if tag else "")))]


async def bring(engine: "Engine", request: "Exchange") -> None:
    """Make an image of the archive that the client sends, or that is at an address: a worker answers the request."""
    source = request.query["fromSrc"]
    message = {
        "do": "bring",
        "url": "" if source == "-" else source if "://" in source else f"http://{source}",
        "body": await request.connection.stream_body(request),
        "names": names_of(request),
        "comment": request.query.get("message") or f"Imported from {source}",
        "changes": request.values_of("changes"),
        "platform": request.query.get("platform", ""),
    }
    made = ""
    try:
        made = (await let_answer(engine, request, message))["image"]
    finally:
        if made:
            image = engine.images.find_or_none(made)
            engine.events.of_names(image, [parse_reference(name).familiar() for name in message["names"]])
            engine.events.tell("image", "import", made, {**(image.labels if image else {}), "name": made})
        else:  # the worker may have left a part of the archive in the store
            await engine.launcher.do(engine.loop, {"do": "untag", "names": []})
