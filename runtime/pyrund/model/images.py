"""Images: pyfetch's store as docker shows it. The daemon only reads it; workers fetch and remove."""

from foundation.errors import Error
from foundation.linux import whole_file
from pyfetch.image.image import stored_image
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import Store
from pyrund.errors import ApiError
from pyrund.model import health
from pyrund.model.store import is_nameless
from pyrund.model.times import ZERO, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from pyfetch.image.image import Image as Stored
    from pyfetch.image.manifest import Descriptor
    from pyfetch.image.platforms import Platform
    from pyfetch.image.reference import Reference
    from pyrund.places import Places

    Json = dict[str, Any]

    class Template(Protocol):
        """What a container is made of: an image, or the step of a build before it."""

        id: str

        def wishes(self) -> Json: ...
        def layers(self, store: Store) -> list[str]: ...
        def record(self) -> Json: ...


_DIGEST_PREFIX = "sha256:"
_DIGITS = frozenset("0123456789abcdef")

_NOTHING_CONFIGURED = {
    **{"User": "", "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": ""},
    **{"Entrypoint": None, "OnBuild": None, "Labels": None},
}


class Image:
    """An image with all names that it has in the store. Its id is the digest of its config, as in docker."""

    def __init__(self, stored: "Stored") -> None:
        self.stored = stored
        self.id = stored.manifest.config.digest
        self.names: dict[str, str] = {}  # as in the store, docker.io/library/busybox:latest: digest of the manifest
        self.keeper = ""  # what stands for a name in the store

    @property
    def config(self) -> "Json":
        """The inner config: Cmd, Env and the like."""
        return self.stored.config.settings.properties

    # An image may hold anything, and one that is strange must not be in the way of a list of all.

    @property
    def labels(self) -> "dict[str, str]":
        """None, if they are no labels."""
        try:
            return self.stored.config.settings.text_map("Labels")
        except Error:
            return {}

    @property
    def created(self) -> float:
        """Seconds since the epoch; 0 if that is not known."""
        try:
            return seconds(self.stored.config.document.string("created"))
        except Error:
            return 0.0

    def wishes(self) -> "Json":
        """Return the inner config with the types that it must have. Raises pyfetch's Error."""
        settings = self.stored.config.settings
        return {
            **{name: settings.strings(name) for name in ("Entrypoint", "Cmd", "Env")},
            **{name: dict.fromkeys(settings.keys(name), {}) for name in ("ExposedPorts", "Volumes")},
            **{name: settings.string(name) for name in ("User", "WorkingDir", "StopSignal")},
            "Labels": settings.text_map("Labels"),
            "Shell": settings.strings("Shell"),
            "Healthcheck": health.of_image(settings.object_or_none("Healthcheck")),
        }

    @property
    def entries(self) -> "list[str]":
        """By which the store finds it: its names, and what stands for one."""
        return [*self.names, *([self.keeper] if self.keeper else [])]

    @property
    def tags(self) -> "list[str]":
        return [reference.familiar() for reference in map(parse_reference, sorted(self.names)) if not reference.digest]

    @property
    def digests(self) -> "list[str]":
        listed = sorted(self.names.items())
        found = [f"{parse_reference(name).familiar_repository()}@{digest}" for name, digest in listed]
        return list(dict.fromkeys(found))

    def begins_with(self, other: "Image") -> bool:
        """Return whether the image was made of the other one, or is that."""
        layers, steps = other.stored.config.diff_ids, other._steps
        if self.id == other.id or not (layers or steps):
            return self.id == other.id
        return self.stored.config.diff_ids[: len(layers)] == layers and self._steps[: len(steps)] == steps

    @property
    def _steps(self) -> "list[Any]":
        found = self.stored.config.document.properties.get("history")
        return found if isinstance(found, list) else []

    def is_for(self, platform: "Platform") -> bool:
        """Return whether the image can run on the platform, by its index or its config.

        As with dockerd, a config without a variant is one for all variants.
        """
        config = self.stored.config
        if not {self.stored.platform, config.platform}.isdisjoint(platform.fits()):
            return True
        own = config.platform
        is_same = (own.os, own.architecture) == (platform.os, platform.architecture)
        return is_same and not config.document.string("variant")

    def record(self) -> "Json":
        """Return what the bundle of a container remembers of its image."""
        stored = self.stored
        names = {"name": self.entries[0], "digest": stored.top.digest, "manifest": stored.target.digest}
        return {**names, "platform": str(stored.platform)}

    def layers(self, store: Store) -> "list[str]":
        return [store.layer_name(layer.chain_id) for layer in self.stored.layers]


class Images:
    def __init__(self, places: "Places") -> None:
        self._places = places
        self._known: dict[str, Stored] = {}  # digest of what a name stands for -> its image, which never changes
        self.store = Store(places.images)

    def all(self) -> "list[Image]":
        """Return all images, the one that was named last first."""
        found: dict[str, Image] = {}
        named = self.store.images()
        self._known = {digest: self._known[digest] for digest in {one.digest for _, one in named} & self._known.keys()}
        for name, descriptor in named:
            stored = self._stored(descriptor)
            if stored is not None:
                image = found.setdefault(stored.manifest.config.digest, Image(stored))
                if is_nameless(name):
                    image.keeper = name
                else:
                    image.names[name] = descriptor.digest
        return list(found.values())[::-1]

    def _stored(self, descriptor: "Descriptor") -> "Stored | None":
        if descriptor.digest not in self._known:
            try:
                stored = stored_image(self.store, descriptor)
            except Error:
                return None  # damaged; the next pull repairs it
            if stored is None:
                return None
            self._known[descriptor.digest] = stored
        return self._known[descriptor.digest]

    def find(self, text: str) -> Image:
        """Return the image with the name, the id or the part of an id `text`. Raises ApiError, with docker's words."""
        return self._find(text, self.all())

    def ids(self) -> "Callable[[str], str]":
        """Return what finds the id of the image that a text means, "" for none: of many texts by one look."""
        images = self.all()
        known: dict[str, str] = {}

        def find_id(text: str) -> str:
            if text not in known:
                try:
                    known[text] = self._find(text, images).id
                except ApiError:
                    known[text] = ""
            return known[text]

        return find_id

    def _find(self, text: str, images: "list[Image]") -> Image:
        reference = named(text)
        for image in images:
            if text == image.id or (reference and self._is_called(image, reference)):
                return image
        digits = text[len(_DIGEST_PREFIX) :] if text.startswith(_DIGEST_PREFIX) else text
        is_id = bool(digits) and _DIGITS.issuperset(digits)
        matching = [one for one in images if is_id and one.id.startswith(digits, len(_DIGEST_PREFIX))]
        if len(matching) != 1:  # the beginning of several ids may be a name, which a client then pulls
            raise ApiError(404, f"No such image: {reference.familiar() if reference else text}")
        return matching[0]

    def stored(self, text: str) -> "Stored":
        """Return what the store has of the image that find() finds. By its whole name, only that image is read."""
        reference = named(text)
        top = self.store.find(str(reference)) if reference else None
        return (top and self._stored(top)) or self.find(text).stored

    def find_or_none(self, text: str) -> "Image | None":
        try:
            return self.find(text)
        except ApiError:
            return None

    def find_for(self, text: str, platform: "Platform | None") -> Image:
        """Return the same, if it is for the platform; None stands for any. Raises ApiError, with docker's words."""
        image = self.find(text)
        if platform is not None and not image.is_for(platform):
            raise ApiError(
                404,
                f"image with reference {text} was found but its platform ({image.stored.platform}) does not match the "
                f"specified platform ({platform})",
            )
        return image

    def _is_called(self, image: Image, reference: "Reference") -> bool:
        if str(reference) in image.names:
            return True
        return bool(reference.digest) and f"{reference.familiar_repository()}@{reference.digest}" in image.digests

    def size(self, image: Image) -> int:
        """Return the bytes of its unpacked layers, which the worker that unpacked them has counted."""
        return sum(map(self.layer_size, image.layers(self.store)))

    def summary(self, image: Image, is_old: bool = False) -> "Json":
        """Return the image as a list shows it; `is_old`: to a client of before API 1.44."""
        return {
            **({"VirtualSize": self.size(image)} if is_old else {}),
            "Containers": -1,
            "Created": int(image.created),
            "Id": image.id,
            "Labels": image.labels or None,
            "ParentId": "",
            **names_listed(image.tags, image.digests),
            "SharedSize": -1,
            "Size": self.size(image),
        }

    def details(self, image: Image, is_old: bool = False) -> "Json":
        """Return the image as inspect shows it; `is_old`: to a client of before API 1.44."""
        document, platform = image.stored.config.document, image.stored.platform
        layers = [f"{self.store.layers}/{name}" for name in image.layers(self.store)]
        steps = document.objects("history")
        return {
            "Id": image.id,
            "RepoTags": image.tags,
            "RepoDigests": image.digests,
            "Parent": "",
            "Comment": document.string("comment") or (steps[-1].string("comment") if steps else ""),
            "Created": document.string("created") or ZERO,
            "DockerVersion": document.string("docker_version"),
            "Author": document.string("author"),
            "Config": {**_NOTHING_CONFIGURED, **image.config},
            "Architecture": platform.architecture if platform else "",
            "Os": platform.os if platform else "",
            "ContainerConfig": {},  # where Debian's docker-compose 1.29 looks for volumes, at any version
            "Size": self.size(image),
            **({"VirtualSize": self.size(image)} if is_old else {}),
            "GraphDriver": {"Name": "overlay2", "Data": _graph(layers)},
            "RootFS": {"Type": "layers", "Layers": image.stored.config.diff_ids},
            "Metadata": {"LastTagTime": ZERO},
        }

    def history(self, image: Image) -> "list[Json]":
        """Return how the image was made, the last step first."""
        entries: list[Json] = []
        sizes = [self.layer_size(name) for name in image.layers(self.store)]
        for step in image.stored.config.document.objects("history"):
            has_layer = not step.boolean("empty_layer")
            entry = {
                "Comment": step.string("comment"),
                "Created": int(seconds(step.string("created"))),
                "CreatedBy": step.string("created_by"),
                "Id": "<missing>",
                "Size": sizes.pop(0) if has_layer and sizes else 0,
                "Tags": None,
            }
            entries.insert(0, entry)
        if entries:
            entries[0].update(Id=image.id, Tags=image.tags)
        return entries

    def layer_size(self, name: str) -> int:
        """Return the bytes of an unpacked layer."""
        try:
            return int(whole_file.read(f"{self._places.sizes}/{name}"))
        except FileNotFoundError:
            return 0  # it was unpacked by `pyfetch --store`


def names_listed(tags: "list[str]", digests: "list[str]") -> "Json":
    """Return the names of an image as a list shows them."""
    return {"RepoDigests": digests or ["<none>@<none>"], "RepoTags": tags or ["<none>:<none>"]}


def reference_of(text: str) -> "Reference":
    """Return the reference that the client has given. Raises ApiError."""
    try:
        return parse_reference(text)
    except Error as error:
        raise ApiError(400, str(error)) from None


def new_name(text: str) -> "Reference":
    """Return the name that the client gives an image. Raises ApiError."""
    reference = reference_of(text)
    if reference.digest:
        raise ApiError(400, "refusing to create a tag with a digest reference")
    return reference


def _graph(layers: "list[str]") -> "Json":
    lower = {"LowerDir": ":".join(layers[-2::-1])} if len(layers) > 1 else {}
    return {**lower, "UpperDir": layers[-1]} if layers else {}


def named(text: str) -> "Reference | None":
    """Return the reference that the text is, None if it is none."""
    try:
        return parse_reference(text)
    except Error:
        return None
