"""What the user may name as an image, and the source that it means.

NAME, docker://NAME                  a registry
oci:DIR[:REF]                        an OCI image layout
oci-archive:FILE[:REF]               the same in a tar file
docker-archive:FILE[:TAG]            what `docker save` writes
-                                    either kind of archive, on standard input
"""

import os
import sys

from pyfetch.errors import NotFound, UsageError, VerificationError
from pyfetch.reference import Reference, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.downloads import Source
    from pyfetch.registry import Options
    from pyfetch.store import Store

_FILE_KINDS = ("oci", "oci-archive", "docker-archive")
_OTHER_KINDS = ("dir", "containers-storage", "docker-daemon", "sif", "ostree", "http", "https")


class Place:
    """An image's place, checked but not opened: no registry is asked, its code not even loaded, before it must be."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kind, self.path, self.wanted = _split(text)
        self.reference: Reference | None = None
        if self.kind == "docker":
            self.reference = parse_reference(self.path)

    def open(self, store: "Store", options: "Callable[[], Options]", note: "Callable[[str], None]") -> "Source":
        """Return the source; `options` makes those of registries, which only they need."""
        if self.reference is not None:
            from pyfetch.registry import Registry

            return Registry(self.reference, options(), note)
        from pyfetch.archives import DockerArchive, Folder, Layout, open_archive

        place = f"{self.kind}:{self.path}" if self.path else "standard input"
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
        is_oci = self.kind == "oci-archive" or (not self.path and files.has("index.json"))
        return Layout(files, place, self.wanted) if is_oci else DockerArchive(files, place, self.wanted)


def _split(text: str) -> "tuple[str, str, str]":
    """Return kind, name or path, and the image wanted in a file."""
    if text == "-":
        return "stdin", "", ""
    if text.startswith("docker://"):
        return "docker", text[len("docker://") :], ""
    kind, colon, rest = text.partition(":")
    if colon and kind in _FILE_KINDS:
        # The path may hold colons itself: what exists as a whole is the path.
        path, wanted = (rest, "") if os.path.exists(rest) else _split_path(rest)
        if not path:
            raise UsageError(f"{text!r}: a path is missing")
        return kind, os.path.abspath(path), wanted
    if colon and kind in _OTHER_KINDS and (kind not in ("http", "https") or rest.startswith("//")):
        raise UsageError(f"{text!r}: images from {kind}: are not supported; see `pyfetch pull --help`")
    return "docker", text, ""


def _split_path(rest: str) -> "tuple[str, str]":
    """Split at the first colon before which there is something."""
    for position, character in enumerate(rest):
        if character == ":" and os.path.exists(rest[:position]):
            return rest[:position], rest[position + 1 :]
    return rest, ""
