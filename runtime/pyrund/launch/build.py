"""A worker that builds an image, and answers the request. What it asks the daemon for is in daemon/building.py."""

import stat
from errno import EISDIR, ELOOP, ENOENT, ENOTDIR

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from foundation.linux.whole_file import read_all
from pyfetch.errors import UsageError
from pyfetch.image.platforms import parse_platform
from pyfetch.image.reference import parse_reference
from pyfetch.unpack.compression import decompressed
from pyfetch.unpack.removal import remove, remove_path
from pyfetch.unpack.tar import BLOCK
from pyrund.archive.reader import Extraction
from pyrund.archive.writer import END
from pyrund.build import ignored
from pyrund.build.dockerfile import MOST, parse, parse_one
from pyrund.build.errors import BuildError
from pyrund.build.image import Draft
from pyrund.build.stages import stages_of
from pyrund.errors import ApiError, show_bug
from pyrund.http.body import Body
from pyrund.http.request import decode_header
from pyrund.launch import new_image
from pyrund.launch.build_bases import Bases
from pyrund.launch.build_output import Output
from pyrund.launch.builder import Builder
from pyrund.model.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrund.build.dockerfile import Instruction
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would wait for somebody who writes to it
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Read the context from the connection `descriptors[0]`, and build. Raises ApiError if no response has begun."""
    os.umask(0)
    os.set_blocking(descriptors[0], True)
    folder = places.build(message["id"])
    store = Store(places.images)
    try:
        os.makedirs(f"{folder}/context", 0o700)
        with opened(os.open(f"{folder}/context", _DIRECTORY)) as context:
            _build(places, store, message, answers, Output(descriptors[0], message["is_quiet"]), context)
    finally:
        remove_path(folder)


def _build(places: "Places", store: Store, message: "Message", answers: "Port", output: Output, context: int) -> None:
    try:
        pieces = decompressed(iter(Body(output.client, message["body"])), of_docker=True)
        Extraction(context, b"").extract(_finished(pieces))
        instructions = parse(_dockerfile(context, message["dockerfile"]))
        _remove_ignored(context, message["dockerfile"])
        before, stages = stages_of(instructions, message["target"])
        if message["labels"]:
            stages[-1].instructions.append(_labels(message["labels"]))
        platform = parse_platform(message["platform"]) if message["platform"] else None
        bases = Bases(places, store, output, platform, message["pulls"], _logins(message["logins"]))
        store.open()  # until the end: prune must not take what the next step begins with
        builder = Builder(places, store, message, answers, output, context, bases)
    except (BuildError, UsageError) as error:
        raise ApiError(400, str(error)) from None
    except (Error, FileNotFoundError, NotADirectoryError) as error:
        raise ApiError(400, f"the context: {reason(error)}") from error
    output.begin()
    try:
        made = builder.build(before, stages)
        new_image.keep(places, store, made, message["names"])
        _settle(answers, made.id, [parse_reference(name).familiar() for name in message["names"]])
        _tell(output, made, message["names"])
    except Exception as error:
        if not isinstance(error, (ApiError, Error, OSError)):
            show_bug(error)
        _settle(answers, "", [])
        code = {"code": error.code} if isinstance(error, BuildError) and error.code else {}
        output.event({"errorDetail": {**code, "message": reason(error)}, "error": reason(error)})
    output.end()


def _finished(pieces: "Iterator[bytes]") -> "Iterator[bytes]":
    """Yield the archive with its end: docker's client leaves that out, and half a block, if it adds a Dockerfile."""
    size = 0
    for piece in pieces:
        size += len(piece)
        yield piece
    yield bytes(-size % BLOCK) + END


def _settle(answers: "Port", id_: str, names: "list[str]") -> None:
    """Let the daemon tell of the image, and remove all containers, before the client's next request.

    If the daemon was killed, perhaps much earlier, this process ends: the next one finds the build by its folder, and
    removes its containers.
    """
    try:
        answers.send({"image": id_, "names": names})
        answer, _ = answers.receive()
    except ConnectionError:
        answer = None
    if answer is None:
        os._exit(1)


def _tell(output: Output, made: Draft, names: "list[str]") -> None:
    output.result(made.id)
    output.line(f"Successfully built {made.id[7:19]}\n")
    for name in names:
        output.line(f"Successfully tagged {parse_reference(name).familiar()}\n")


def _dockerfile(context: int, name: str) -> bytes:
    """Return the Dockerfile of the context. Raises BuildError."""
    for path in [name, *(["dockerfile"] if name == "Dockerfile" else [])]:
        try:
            with opened(openat2(context, os.fsencode(path), _FILE, _INSIDE)) as file:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    continue
                data = read_all(file, path, MOST + 1)
        except OSError:
            continue
        if len(data) > MOST:
            raise BuildError(f"the Dockerfile ({name}) is larger than {MOST} bytes")
        if not data.strip():
            raise BuildError(f"the Dockerfile ({name}) cannot be empty")
        return data
    raise BuildError(f"Cannot locate specified Dockerfile: {name[:200]}")


def _remove_ignored(context: int, dockerfile: str) -> None:
    """Remove what the client has sent although it is ignored, because it is needed for the build itself."""
    try:
        with opened(openat2(context, os.fsencode(ignored.NAME), _FILE, _INSIDE)) as file:
            text = os.fsdecode(read_all(file, ignored.NAME, MOST))
    except OSError as error:
        if error.errno not in (ENOENT, ENOTDIR, EISDIR, ELOOP):  # the context has no .dockerignore, or it is not a file
            raise
        return
    for path in (ignored.NAME, os.path.normpath(dockerfile).lstrip("/")):
        if not ignored.is_ignored(path, text):
            continue
        folder, name = os.path.split(path)
        try:
            with opened(openat2(context, os.fsencode(folder) or b".", _DIRECTORY, _INSIDE)) as above:
                remove(name, above)
        except (FileNotFoundError, NotADirectoryError):
            pass  # the Dockerfile was found by its other name


def _labels(labels: "dict[str, str | None]") -> "Instruction":
    quoted = [f"{_quoted(name)}={_quoted(value or '')}" for name, value in sorted(labels.items())]
    made = parse_one("LABEL " + " ".join(quoted))
    made.original = "LABEL " + " ".join(f"{name}={value or ''}" for name, value in sorted(labels.items()))
    return made


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\"'\"'") + "'"


def _logins(header: str) -> "dict[str, dict[str, str]]":
    """Return the credentials of X-Registry-Config, {registry: {username, password, ...}} in base64url."""
    if not header:
        return {}
    try:
        given = decode_header(header)
    except ValueError:
        raise BuildError("X-Registry-Config: expected a JSON object in base64url") from None
    return {str(name): one for name, one in given.items() if isinstance(one, dict)}
