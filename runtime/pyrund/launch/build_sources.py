"""What COPY and ADD may take: files and directories below the root of a context, a stage or an image."""

import stat

from foundation.linux import os
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from pyfetch.errors import VerificationError
from pyfetch.unpack.compression import decompressed
from pyrund.build.errors import BuildError
from pyrund.model.glob import Glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrund.archive.writer import Archive
    from pyrund.build.dockerfile import Instruction

INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
PATH = os.O_PATH | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAGIC = frozenset("*?[")
_USTAR = slice(257, 262)  # of the header of a tar archive
_CHUNK = 1 << 18


class Source:
    """The file or directory `path` below the directory open as `root`."""

    def __init__(self, root: int, path: bytes, is_url: bool = False) -> None:
        self.root = root
        self.path = path
        self.name = path.rpartition(b"/")[2]
        self.is_url = is_url
        with opened(self.open()) as file:
            mode = os.fstat(file).st_mode
            self.is_directory, self._is_file = stat.S_ISDIR(mode), stat.S_ISREG(mode)

    def open(self) -> int:
        return openat2(self.root, self.path or b".", PATH, INSIDE)

    def members(self, archive: "Archive", shown: bytes) -> "Iterator[bytes]":
        """Yield the file as `shown`, or all that is in the directory."""
        with opened(self.open()) as file:
            if not self.is_directory:
                yield from archive.member(file, shown)
                return
            with opened(os.open(b"/proc/self/fd/%d" % file, DIRECTORY)) as directory:
                for name in sorted(map(os.fsencode, os.listdir(directory))):
                    yield from archive.members(directory, name, name)

    def unpacked(self) -> "Iterator[bytes] | None":
        """Return the file as an archive without compression, or None if it is not one."""
        if not self._is_file or self.is_url:
            return None  # opening a FIFO would wait for ever
        with opened(self.open()) as file:
            content = os.open(b"/proc/self/fd/%d" % file, os.O_RDONLY | os.O_CLOEXEC)
        pieces = decompressed(iter(lambda: os.read(content, _CHUNK), b""), of_docker=True)
        start = b""
        try:
            while len(start) < _USTAR.stop and (piece := next(pieces, b"")):
                start += piece
        except VerificationError:
            start = b""  # it only begins as one
        if start[_USTAR] != b"ustar":
            os.close(content)
            return None
        return _closing(content, start, pieces)


def _closing(content: int, start: bytes, pieces: "Iterator[bytes]") -> "Iterator[bytes]":
    try:
        yield start
        yield from pieces
    finally:
        os.close(content)


def matching(root: int, word: str, instruction: "Instruction") -> "list[Source]":
    """Return what `word`, which may be a pattern, means below `root`. Raises BuildError."""
    clean = os.path.normpath(word.lstrip("/") or ".")
    if clean.startswith(".."):
        raise BuildError(f"{instruction.name} failed: forbidden path outside the build context: {word[:200]} ()")
    found = [b""]
    for part in clean.split("/") if clean != "." else []:
        if _MAGIC & set(part):
            found = [_below(path, name) for path in found for name in _names(root, path) if _fits(name, part)]
        else:
            found = [_below(path, os.fsencode(part)) for path in found]
    found = [path for path in found if _exists(root, path)]
    if not found and _MAGIC & set(clean):
        raise BuildError(f"{instruction.name} failed: no source files were specified")
    if not found:
        where = "" if "from" in instruction.flags else "in build context or excluded by .dockerignore"
        raise BuildError(
            f"{instruction.name} failed: file not found {where or 'in ' + instruction.flags['from']}: "
            f"stat {clean[:200]}: file does not exist"
        )
    return [Source(root, path) for path in found]


def _exists(root: int, path: bytes) -> bool:
    try:
        os.close(openat2(root, path or b".", PATH, INSIDE))
        return True
    except OSError:
        return False  # ENOENT, ENOTDIR, or a link that leads in a circle (ELOOP): nothing is found


def _names(root: int, path: bytes) -> "list[bytes]":
    try:
        with opened(openat2(root, path or b".", DIRECTORY, INSIDE)) as directory:
            return sorted(map(os.fsencode, os.listdir(directory)))
    except OSError:
        return []  # ENOENT, or ENOTDIR: the pattern matches nothing there


def _fits(name: bytes, pattern: str) -> bool:
    try:
        return Glob(pattern).matches(os.fsdecode(name))
    except ValueError:
        return False  # as with dockerd, no file has such a name


def _below(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
