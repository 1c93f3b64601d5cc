"""pyrund cp: files between a container and this machine, as a tar archive."""

import base64
import json
import sys

from foundation.linux import os
from foundation.linux.opened import opened
from foundation.linux.whole_file import write_all
from pyrund.archive.reader import Extraction
from pyrund.archive.writer import END, Archive
from pyrund.client import copying
from pyrund.client.output import size
from pyrund.client.server import flags, quoted
from pyrund.errors import ApiError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

_CHUNK = 64 << 10


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    (source_container, source), (container, destination) = map(_place, words)
    if source_container and container:
        raise Refused("copying between containers is not supported")
    counted = _Counted()
    if source_container:
        _copy_out(server, source_container, source, destination, options, counted)
    elif container:
        _copy_in(server, source, container, destination, options, counted)
    else:
        raise Refused("must specify at least one container source")
    if os.isatty(2) and not options.get("quiet") and destination != "-":
        print(f"Successfully copied {size(counted.size)} to {words[1]}", file=sys.stderr)
    return 0


class _Counted:
    """Counts the bytes that pass."""

    size = 0

    def pieces(self, source: "Iterable[bytes]") -> "Iterator[bytes]":
        for piece in source:
            self.size += len(piece)
            yield piece


def _place(text: str) -> "tuple[str, str]":
    """Return (container, path) of "CONTAINER:PATH", or ("", path)."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")) or not container:
        return "", text
    return container, path


# Out of a container.


def _copy_out(
    server: "Server", container: str, path: str, destination: str, options: "Options", counted: _Counted
) -> None:
    if options.get("follow_link"):
        stat = _stat(server, container, path)
        path = (copying.link_target(path, stat) if stat else "") or path
    to = copying.local_destination(destination) if destination != "-" else None
    answer = server.ask("GET", f"/containers/{quoted(container)}/archive", {"path": path})
    chunks = counted.pieces(answer.pieces())
    if to is None:
        for chunk in chunks:
            write_all(1, chunk)
        return
    source = copying.of_container(path, _decoded(answer.headers))
    folder, name = copying.target(source, to)
    owner = None if options.get("archive") else (os.getuid(), os.getgid())
    os.umask(0)
    with opened(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        rename = (_in_archive(source), _in_archive(copying.Place(name, True, True, name)))
        try:
            Extraction(root, b"", owner, keeps_directories=True, rename=rename).extract(chunks)
        except ApiError as error:
            raise Refused(str(error)) from None


def _in_archive(place: copying.Place) -> bytes:
    """Return the first name of the paths in an archive of the place; none for the content of a directory."""
    return b"" if place.name == "." else os.fsencode(place.name)


# Into a container.


def _copy_in(server: "Server", source: str, container: str, path: str, options: "Options", counted: _Counted) -> None:
    stat = _stat(server, container, path)
    link = copying.link_target(path, stat) if stat else ""
    if link:
        path, stat = link, _stat(server, container, link)
    to = copying.of_container(path, stat)
    if source == "-":
        if not to.is_directory:
            raise Refused(f'destination "{container}:{path}" must be a directory')
        folder, chunks = path, iter(lambda: os.read(0, _CHUNK), b"")
    else:
        place = copying.local_source(source, bool(options.get("follow_link")))
        folder, name = copying.target(place, to)
        chunks = _packed(place, name)
    query = {"path": folder, "noOverwriteDirNonDir": "true", **flags(copyUIDGID=options.get("archive"))}
    server.send("PUT", f"/containers/{quoted(container)}/archive", query, counted.pieces(chunks))


def _packed(place: copying.Place, name: str) -> "Iterator[bytes]":
    folder, base = copying.split(place.path)
    with opened(os.open(folder or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as above:
        yield from Archive().members(above, os.fsencode(base), os.fsencode(name))
    yield END


# What the daemon says about a path.


def _stat(server: "Server", container: str, path: str) -> "dict[str, Any] | None":
    """Return docker's description of a file in a container, None if there is none."""
    try:
        answer = server.ask("HEAD", f"/containers/{quoted(container)}/archive", {"path": path})
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return _decoded(answer.headers)


def _decoded(headers: "dict[str, str]") -> "dict[str, Any]":
    try:
        found: dict[str, Any] = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
        return found
    except (KeyError, ValueError):
        raise Refused("the daemon does not describe the file: X-Docker-Container-Path-Stat is missing") from None
