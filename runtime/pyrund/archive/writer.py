"""A tree of files as a tar archive (POSIX pax). Others may change the tree meanwhile: no link of theirs is followed.

Each file is opened once, by O_PATH without following a link, and then only its descriptor is used.
"""

import stat

from foundation.linux import os
from foundation.linux.opened import Descriptors, opened
from pyfetch.unpack import tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 18
_XATTRS = ("security.capability", "user.")
_OVERLAY_XATTRS = "user.overlay."  # of overlayfs without privileges: they would hide files elsewhere
_OCTAL_ID, _OCTAL_SIZE = 0o7777777, 0o77777777777  # the largest that their fields of the header hold
_KINDS = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
}
_MAGIC = b"ustar\x0000" + bytes(64)  # with the names of user and group, which say nothing elsewhere
_SUM = sum(_MAGIC) + sum(b" " * 8)
END = bytes(2 * tar.BLOCK)  # what comes after the last member


class Archive:
    """One archive; it remembers the files that have several names.

    `in_seconds`: the times of files are without nanoseconds, as in docker's archives. With them each file has a second
    header, and clients take longer to read the archive than we to write it.
    """

    def __init__(self, in_seconds: bool = False) -> None:
        self._in_seconds = in_seconds
        self._names: dict[tuple[int, int], bytes] = {}  # (device, inode) -> the first name in the archive

    def members(self, above: int, name: bytes, shown: bytes) -> "Iterator[bytes]":
        """Yield the members for `name` in the directory `above` and all below it, under the name `shown`.

        Raises FileNotFoundError, before anything else, if there is no such file; what is removed later is left out.
        """
        with Descriptors() as open_:
            file = open_.add(os.open(name, _LOOK, dir_fd=above))
            yield from self.member(file, shown)
            pending = [self._directory(file, shown, open_)] if _is_directory(file) else []
            while pending:
                directory, names, path = pending[-1]
                if not names:
                    pending.pop()
                    open_.remove(directory)
                    continue
                below = names.pop()
                try:
                    file = open_.add(os.open(below, _LOOK, dir_fd=directory))
                except FileNotFoundError:
                    continue
                yield from self.member(file, path + b"/" + below)
                if self.enters(file, directory):
                    pending.append(self._directory(file, path + b"/" + below, open_))
                else:
                    open_.remove(file)

    def _directory(self, file: int, shown: bytes, open_: Descriptors) -> "tuple[int, list[bytes], bytes]":
        """Return (descriptor, names in it, name in the archive) of a directory that was looked at as `file`."""
        directory = open_.add(os.open(_path(file), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        open_.remove(file)
        return directory, sorted(self.names(directory), reverse=True), shown

    def enters(self, file: int, above: int) -> bool:
        """Return whether the open `file`, which is in the directory `above`, is a directory whose files are wanted."""
        return _is_directory(file)

    def names(self, directory: int) -> "list[bytes]":
        return list(map(os.fsencode, os.listdir(directory)))

    def member(self, file: int, shown: bytes) -> "Iterator[bytes]":
        """Yield the member for the open `file` alone."""
        status = os.fstat(file)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket, which no archive can hold
        target = os.readlink(b"", dir_fd=file) if kind == tar.SYMLINK else b""
        if kind != tar.DIRECTORY and status.st_nlink > 1:
            first = self._names.setdefault((status.st_dev, status.st_ino), shown)
            if first != shown:
                yield header(shown, tar.HARDLINK, status, 0, first, {}, self._in_seconds)
                return
        if kind != tar.REGULAR:
            xattrs = {} if kind == tar.SYMLINK else kept_xattrs(_path(file))
            yield header(shown, kind, status, 0, target, xattrs, self._in_seconds)
            return
        with opened(os.open(_path(file), os.O_RDONLY | os.O_CLOEXEC)) as content:
            body = _body(content, status.st_size)
            start = next(body)  # who passes over what cannot be read has to know it before the header
            yield header(shown, kind, status, status.st_size, b"", kept_xattrs(content), self._in_seconds)
            yield start
            yield from body


def _is_directory(file: int) -> bool:
    return stat.S_ISDIR(os.fstat(file).st_mode)


def _path(file: int) -> bytes:
    """Return a path of the very file, for calls that take no O_PATH descriptor."""
    return b"/proc/self/fd/%d" % file


def _body(content: int, size: int) -> "Iterator[bytes]":
    """Yield exactly `size` bytes and the padding, even if the file shrinks or grows meanwhile."""
    left = size
    while left and (data := os.read(content, min(left, _CHUNK))):
        left -= len(data)
        yield data
    while left:
        yield bytes(min(left, _CHUNK))
        left -= min(left, _CHUNK)
    yield bytes(-size % tar.BLOCK)


def kept_xattrs(file: "int | bytes") -> "dict[bytes, bytes]":
    """Return the extended attributes that mean something elsewhere, as records of pax, of a descriptor or a path."""
    try:
        names = os.listxattr(file)
    except OSError:
        return {}  # a file system without them
    kept = [name for name in names if name.startswith(_XATTRS) and not name.startswith(_OVERLAY_XATTRS)]
    return {b"SCHILY.xattr." + os.fsencode(name): os.getxattr(file, name) for name in kept}


def header(
    name: bytes,
    kind: bytes,
    status: "os.stat_result",
    size: int,
    target: bytes,
    records: "dict[bytes, bytes]",
    in_seconds: bool = False,
) -> bytes:
    """Return the header of a member, after one for `records` and all that its own fields cannot hold."""
    name = name + b"/" if kind == tar.DIRECTORY else name
    records = dict(records)
    for key, text in ((b"path", name), (b"linkpath", target)):
        if len(text) > 100:
            records[key] = text
    for key, number, most in (
        (b"size", size, _OCTAL_SIZE),
        (b"uid", status.st_uid, _OCTAL_ID),
        (b"gid", status.st_gid, _OCTAL_ID),
    ):
        if number > most:
            records[key] = b"%d" % number
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    if nanoseconds and not in_seconds or not 0 <= seconds <= _OCTAL_SIZE:
        records[b"mtime"] = _decimal(status.st_mtime_ns)
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        status.st_mode & 0o7777,
        _fit(status.st_uid),
        _fit(status.st_gid),
        size if size <= _OCTAL_SIZE else 0,
        seconds if 0 <= seconds <= _OCTAL_SIZE else 0,
    )
    devices = b""
    if kind in (tar.CHARACTER, tar.BLOCK_DEVICE):
        devices = b"%07o\0%07o\0" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    return _extended(records) + _block(name[:100], fields, kind, target[:100], devices)


def _fit(number: int) -> int:
    return number if number <= _OCTAL_ID else 0


def _decimal(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    return sign + b"%d.%09d" % divmod(abs(nanoseconds), 1_000_000_000)


def _extended(records: "dict[bytes, bytes]") -> bytes:
    if not records:
        return b""
    data = b"".join(_record(key, value) for key, value in records.items())
    fields = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % len(data) + b"00000000000\0"
    return _block(b"PaxHeaders", fields, b"x") + data + bytes(-len(data) % tar.BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return "LENGTH key=value\\n", whose length counts its own digits."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%b" % (length, rest)


def _block(name: bytes, fields: bytes, kind: bytes, target: bytes = b"", devices: bytes = b"") -> bytes:
    """Return a block of a header with its checksum, for which its own eight bytes count as spaces. `fields` are mode,
    uid, gid, size and mtime."""
    total = sum(name) + sum(fields) + sum(kind) + sum(target) + sum(devices) + _SUM
    parts = (name.ljust(100, b"\0"), fields, b"%06o\0 " % total, kind, target.ljust(100, b"\0"), _MAGIC, devices)
    return b"".join(parts).ljust(tar.BLOCK, b"\0")
