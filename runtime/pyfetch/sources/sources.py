"""The names by which the user can refer to an image, and the source for each.

NAME, docker://NAME                  a registry
oci:DIR[:REF]                        an OCI image layout
oci-archive:FILE[:REF]               the same in a tar file
docker-archive:FILE[:TAG|:@N]        what `docker save` writes; @N is the image number N, from 0 on
-                                    either kind of archive, on standard input
"""

import sys

from foundation.linux import os
from pyfetch.errors import NotFound, UsageError, VerificationError
from pyfetch.image.reference import Reference, has_host, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.image.image import Source
    from pyfetch.image.store import Store
    from pyfetch.registry.access import Options

_FILE_KINDS = ("oci", "oci-archive", "docker-archive")
_OTHER_KINDS = ("dir", "containers-storage", "docker-daemon", "sif", "ostree", "http", "https")


def places_of(text: str) -> "list[Place]":
    """Return the places that `text` may stand for: more than one for a short name, as registries.conf has it."""
    place = Place(text)
    if place.reference is None or place.path != text or has_host(text):
        return [place]
    from pyfetch.registry.registries_conf import full_names  # full names do without

    return list(map(Place, full_names(text)))


def place_of(text: str) -> "Place":
    """Return the only place that `text` can stand for; raise UsageError if it could be several."""
    places = places_of(text)
    if places[1:]:
        raise UsageError(f"{text}: choose one of {' '.join(place.text for place in places)}")
    return places[0]


class Place:
    """Where an image is: checked, but not opened. A registry's code is loaded by open() only."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kind, self.path, self.wanted = _split(text)
        self.reference: Reference | None = None
        if self.kind == "docker":
            self.reference = parse_reference(self.path)

    def open(self, store: "Store", options: "Callable[[], Options]", note: "Callable[[str], None]") -> "Source":
        """Open the source. `options` is called for registries only."""
        if self.reference is not None:
            from pyfetch.registry.registry import Registry

            return Registry(self.reference, options(), note)
        from pyfetch.sources.archives import DockerArchive, Folder, Layout, is_layout, open_archive

        # The path becomes a name in the store's JSON, so bytes that are not UTF-8 are escaped.
        path = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        place = f"{self.kind}:{path}" if path else "standard input"
        if self.kind == "oci":
            return Layout(Folder(self.path), place, self.wanted)
        try:
            file = open(self.path, "rb", buffering=0) if self.path else sys.stdin.buffer
        except FileNotFoundError:
            raise NotFound(f"{self.path}: no such file") from None
        try:
            files = open_archive(file, os.path.join(store.path, "partial"))
        except VerificationError as error:
            raise VerificationError(f"{place}: not a tar archive, or a damaged one: {error}") from error
        # docker save has written both kinds in one archive since docker 25.
        is_oci = self.kind == "oci-archive" or (not self.path and is_layout(files, place))
        return Layout(files, place, self.wanted) if is_oci else DockerArchive(files, place, self.wanted)


def _split(text: str) -> "tuple[str, str, str]":
    """Return kind, name or path, and the image wanted in a file."""
    if text == "-":
        return "stdin", "", ""
    if text.startswith("docker://"):
        return "docker", text[len("docker://") :], ""
    kind, colon, rest = text.partition(":")
    if colon and kind in _FILE_KINDS:
        # The path may hold colons: if all of it exists, there is no REF.
        path, wanted = (rest, "") if os.path.exists(rest) else _split_path(rest)
        if not path:
            raise UsageError(f"{text!r}: a path is missing")
        return kind, os.path.abspath(path), wanted
    if colon and kind in _OTHER_KINDS and (kind not in ("http", "https") or rest.startswith("//")):
        raise UsageError(f"{text!r}: images from {kind}: are not supported; see `pyfetch pull --help`")
    return "docker", text, ""


def _split_path(rest: str) -> "tuple[str, str]":
    """Split at the first colon that follows an existing path."""
    for position, character in enumerate(rest):
        if character == ":" and os.path.exists(rest[:position]):
            return rest[:position], rest[position + 1 :]
    return rest, ""
