"""Images: pull, list, inspect, history, tag, remove."""

from foundation.errors import Error
from pyfetch.image.reference import parse_reference
from pyrund.api import platforms
from pyrund.api.answer import let_answer
from pyrund.api.commit import bring
from pyrund.api.filters import before, flag, has_labels
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model.containers import short
from pyrund.model.glob import Glob
from pyrund.model.images import named, names_listed, new_name, reference_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.image.platforms import Platform
    from pyfetch.image.reference import Reference
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.images import Image

WITHOUT_VIRTUAL_SIZE = (1, 44)
_FILTERS = frozenset("before dangling label reference since until".split())


def add_routes(router: "Router", engine: "Engine") -> None:
    images = ImagesApi(engine)
    router.add("POST", "/images/create", images.create, streams_body=True)
    router.add("GET", "/images/json", images.list_all)
    router.add("GET", "/images/{}/json", images.inspect)
    router.add("GET", "/images/{}/history", images.history)
    router.add("POST", "/images/{}/tag", images.tag)
    router.add("DELETE", "/images/{}", images.remove)
    router.add("GET", "/images/get", images.save)
    router.add("GET", "/images/{}/get", images.save)
    router.add("POST", "/images/load", images.load, streams_body=True)


class ImagesApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def create(self, request: "Exchange") -> None:
        """Fetch an image, or make one of an archive: a worker answers the request."""
        engine = self._engine
        if request.query.get("fromSrc"):
            return await bring(engine, request)
        request.body = await request.connection.receive_body(request)
        name = request.query.get("fromImage", "")
        tag = request.query.get("tag", "")
        if tag:
            name += f"@{tag}" if ":" in tag else f":{tag}"
        reference = reference_of(name)
        # As with dockerd, a name without a tag means all of them; docker's CLI sends "latest" unless it has --all-tags.
        is_all = ":" not in name.rpartition("/")[2] and "@" not in name
        message = {
            "do": "pull",
            "name": str(reference),
            "all": is_all,
            "login": request.headers.get("x-registry-auth", ""),
            "platform": request.query.get("platform", ""),
        }
        answer = await let_answer(engine, request, message)
        if answer["is_pulled"]:
            shown = reference.familiar_repository() if is_all else reference.familiar()
            engine.events.tell("image", "pull", shown, {"name": reference.familiar_repository()})

    async def list_all(self, request: "Request") -> Response:
        known, filters = self._engine.images, request.filters(_FILTERS)
        is_wanted, patterns = self._chooser(filters), _patterns(filters)
        found = []
        for image in filter(is_wanted, known.all()):
            listed = known.summary(image, request.version < WITHOUT_VIRTUAL_SIZE)
            if patterns is not None:
                tags, digests = (_matching(names, patterns) for names in (image.tags, image.digests))
                if not (tags or digests):
                    continue
                listed.update(names_listed(tags, digests))
            found.append(listed)
        return Response(200, found)

    def _chooser(self, filters: "dict[str, list[str]]") -> "Callable[[Image], bool]":
        """Return what says whether an image passes all filters but those by name. Raises ApiError."""
        images, end, is_dangling = self._engine.images, before(filters), flag(filters, "dangling")
        newest, oldest = ([images.find(one).created for one in filters.get(name, [])] for name in ("before", "since"))

        def is_wanted(image: "Image") -> bool:
            named = image.tags if is_dangling else image.names
            is_in_time = all(image.created < one for one in newest) and all(image.created > one for one in oldest)
            is_old = end is None or image.created < end
            return is_dangling is not bool(named) and is_in_time and is_old and has_labels(image.labels, filters)

        return is_wanted

    async def inspect(self, request: "Request") -> Response:
        platform = platforms.wanted(request, since=(1, 49))
        if platform is not None and request.flag("manifests"):
            raise ApiError(400, "conflicting options: manifests and platform options cannot both be set")
        image = self._engine.images.find_for(request.values[0], platform)
        return Response(200, self._engine.images.details(image, request.version < WITHOUT_VIRTUAL_SIZE))

    async def history(self, request: "Request") -> Response:
        image = self._engine.images.find_for(request.values[0], platforms.wanted(request, since=(1, 48)))
        return Response(200, self._engine.images.history(image))

    async def tag(self, request: "Request") -> Response:
        engine = self._engine
        image = engine.images.find(request.values[0])
        tag = request.query.get("tag", "")
        reference = new_name(request.query.get("repo", "") + (f":{tag}" if tag else ""))
        message = {"do": "tag", "name": str(reference), "from": image.entries[0]}
        await engine.launcher.do(engine.loop, message)
        engine.events.of_names(image, [reference.familiar()])
        return Response(201)

    async def remove(self, request: "Request") -> Response:
        engine, text, force = self._engine, request.values[0], request.flag("force")
        image = engine.images.find_for(text, platforms.wanted(request, since=(1, 50), name="platforms"))
        names = _names_to_remove(image, text, force)
        if not names and image.names:  # a digest, which stays as long as a tag leads to it
            engine.events.of_image(image, "untag")
            return Response(200, [{"Untagged": reference_of(text).familiar()}])
        if len(names) == len(image.names):
            self._refuse_used(image, text, force)
        return Response(200, await forget(engine, image, names))

    async def save(self, request: "Exchange") -> None:
        """Give the client images: a worker answers."""
        texts = request.values or [one for text in request.values_of("names") for one in text.split(",")]
        if not any(texts):
            raise ApiError(400, "no image is named")
        platform = platforms.wanted(request, since=(1, 48))
        chosen: dict[str, tuple[Image, list[str]]] = {}
        for text in texts:
            for image, names in self._to_save(text, platform):
                known = chosen.setdefault(image.id, (image, []))[1]
                known += [name for name in names if name not in known]
        images = [(image.entries[0], names) for image, names in chosen.values()]
        await let_answer(self._engine, request, {"do": "save", "images": images})
        for image, _ in chosen.values():
            self._engine.events.of_image(image, "save")

    def _to_save(self, text: str, platform: "Platform | None") -> "list[tuple[Image, list[str]]]":
        """Return the images that `text` means, each with its names to save: none if it is an id, and all of the
        repository if it is a name without a tag. Raises ApiError if one is for another platform."""
        images = self._engine.images
        try:
            reference = parse_reference(text)
        except Error:
            return [(images.find_for(text, platform), [])]
        is_bare = text in (reference.familiar_repository(), str(reference).partition(":")[0])
        if is_bare:
            known = [(image, [one for one in image.names if _is_in(one, reference)]) for image in images.all()]
            if found := [(images.find_for(names[0], platform), names) for _, names in known if names]:
                return found
        image = images.find_for(text, platform)
        return [(image, [str(reference)] if str(reference) in image.names else [])]

    async def load(self, request: "Exchange") -> None:
        """Take images from the client: a worker answers."""
        platform = platforms.wanted(request, since=(1, 48))
        body = await request.connection.stream_body(request)
        message = {"do": "load", "body": body, "platform": str(platform or "")}
        answer = await let_answer(self._engine, request, message)
        for name in answer["loaded"]:
            image = self._engine.images.find(name)
            self._engine.events.of_image(image, "load")

    def _refuse_used(self, image: "Image", text: str, force: bool) -> None:
        for container in self._engine.containers:
            if container.document["Image"] != image.id:
                continue
            id_ = short(image.id[7:])
            if container.is_active:
                raise ApiError(
                    409,
                    f"conflict: unable to delete {id_} (cannot be forced) - "
                    f"image is being used by running container {short(container.id)}",
                )
            if not force:
                raise ApiError(
                    409,
                    f'conflict: unable to remove repository reference "{text}" (must force) - '
                    f"container {short(container.id)} is using its referenced image {id_}",
                )


def _names_to_remove(image: "Image", text: str, force: bool) -> "list[str]":
    """Return the names of the image that `text` means: all if it is an id. With the last tag of a repository go its
    digests, but a digest alone takes no tag along, as with dockerd. Raises ApiError."""
    reference = named(text)
    if reference and (name := str(reference)) in image.names:
        rest = [one for one in image.names if one != name and _repository(one) == reference.familiar_repository()]
        goes_along = not reference.digest and all(parse_reference(one).digest for one in rest)
        return [name, *(rest if goes_along else [])]
    if reference and reference.digest:
        return []
    if not force and (len(image.tags) > 1 or len({_repository(name) for name in image.names}) > 1):
        raise ApiError(
            409,
            f"conflict: unable to delete {short(image.id[7:])} (must be forced) - "
            "image is referenced in multiple repositories",
        )
    return list(image.names)


def _repository(name: str) -> str:
    return parse_reference(name).familiar_repository()


async def forget(engine: "Engine", image: "Image", names: "list[str]") -> "list[dict[str, str]]":
    """Remove `names` of the image, and with the last one the image itself; return what docker's API says of that."""
    is_last = len(names) == len(image.names)
    await engine.launcher.do(engine.loop, {"do": "untag", "names": image.entries if is_last else names})
    untagged = [parse_reference(name).familiar() for name in names]
    for _ in names:
        engine.events.of_image(image, "untag")
    untagged += [digest for digest in image.digests if is_last and digest not in untagged]
    answers = [{"Untagged": name} for name in untagged]
    if is_last:
        answers.append({"Deleted": image.id})
        engine.events.tell("image", "delete", image.id, {"name": image.id})
    return answers


def _is_in(name: str, reference: "Reference") -> bool:
    other = parse_reference(name)
    return not other.digest and other.familiar_repository() == reference.familiar_repository()


def _patterns(filters: "dict[str, list[str]]") -> "list[Glob] | None":
    """Return the filter "reference"; None if it is not given. Raises ApiError."""
    try:
        return [Glob(text) for text in filters["reference"]] if "reference" in filters else None
    except ValueError as error:
        raise ApiError(400, str(error)) from None


def _matching(names: "list[str]", patterns: "list[Glob]") -> "list[str]":
    """Return the tags or digests that fit one of the patterns, as a whole or by their repository alone."""
    shown = [(name, parse_reference(name).familiar_repository()) for name in names]
    return [name for name, bare in shown if any(one.matches(name) or one.matches(bare) for one in patterns)]
