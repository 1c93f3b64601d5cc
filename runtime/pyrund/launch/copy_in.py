"""A worker that puts a client's tar archive into a container.

worker                              daemon
{"spooled"} ──────────────────────▶ only if the container does not run: the archive is in a file, since
                                    the client may be slow, and nobody can start the container meanwhile
                                  ◀ {"runs"}
extract, and answer
"""

from errno import EROFS

from foundation.linux import os
from foundation.linux.openat2 import openat2
from foundation.linux.opened import opened
from foundation.linux.whole_file import write_all
from pyfetch.bundle.users import User
from pyfetch.errors import VerificationError
from pyfetch.image.store import nameless_file
from pyfetch.unpack.compression import decompressed
from pyrund.archive.reader import Extraction
from pyrund.errors import ApiError
from pyrund.http.body import Body
from pyrund.launch import users
from pyrund.launch.view import INSIDE, clean, with_root
from pyrund.model.container import existing
from pyrund.spec.mounts import of_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrund.messages import Message, Port
    from pyrund.model.container import Container
    from pyrund.places import Places

_CHUNK = 1 << 18
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Read the archive from the connection `descriptors[0]`, and make its files in the directory `path`."""
    os.umask(0)
    os.set_blocking(descriptors[0], True)
    container = existing(places, message["id"])
    chunks, runs = iter(Body(descriptors[0], message["body"])), message["runs"]
    if not runs:
        chunks = _spooled(places, chunks)
        answers.send({"spooled": True})
        go, _ = answers.receive()
        if go is None:
            os._exit(1)  # the daemon was killed
        runs = go["runs"]
    try:
        with_root(container, runs, True, lambda root: _extract(root, container, message, chunks))
    except (ApiError, VerificationError, OSError) as error:
        _drain(chunks)
        raise _in_words(error, container, message["path"]) from error


_MOST_DRAINED = 256 << 10


def _drain(chunks: "Iterator[bytes]") -> None:
    """Read what is left of a small archive. A client that is answered before it has sent it complains of that, too."""
    left = _MOST_DRAINED
    try:
        while left > 0 and (chunk := next(chunks, b"")):
            left -= len(chunk)
    except (ApiError, OSError):
        pass  # the client has gone


def _in_words(error: "ApiError | VerificationError | OSError", container: "Container", path: str) -> Exception:
    if isinstance(error, VerificationError):
        return ApiError(400, f"archive: {str(error).partition('layer: ')[2] or error}")
    if isinstance(error, OSError) and error.errno == EROFS:
        inside = any(f"{clean(path)}/".startswith(f"{mount.target}/") for mount in of_container(container))
        is_root = container.host_config.get("ReadonlyRootfs") and not inside
        return ApiError(403, f"{'container rootfs' if is_root else 'mounted volume'} is marked read-only")
    return error


def _spooled(places: "Places", chunks: "Iterator[bytes]") -> "Iterator[bytes]":
    file = nameless_file(places.data)
    for chunk in chunks:
        write_all(file.fileno(), chunk)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return iter(lambda: os.read(file.fileno(), _CHUNK), b"")


def _extract(root: int, container: "Container", message: "Message", chunks: "Iterator[bytes]") -> None:
    path, name = message["path"], message["name"]
    top = os.fsencode(clean(path).lstrip("/"))
    try:
        os.close(openat2(root, top or b".", _DIRECTORY, INSIDE))
    except FileNotFoundError:
        raise ApiError(404, f"Could not find the file {path} in container {name}") from None
    except NotADirectoryError:
        raise ApiError(400, "extraction point is not a directory") from None
    owner = None
    if message["is_users"] and container.config["User"]:
        user = users.find(container.config["User"], lambda find: _as_reader(root, find))
        owner = user.uid, user.gid
    Extraction(root, top, owner, message["keeps_directories"]).extract(decompressed(chunks, of_docker=True))


def _as_reader(root: int, find: "Callable[[int], User]") -> User:
    with opened(os.open(b"/proc/self/fd/%d" % root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
        return find(directory)
