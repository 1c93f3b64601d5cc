"""Reads tar archives (ustar, GNU and pax) as a stream, and checks every number in them.

`tarfile` is not used: it is four times slower here, reads whole pax headers of any size into memory, and its names are
str. Sources: tar(5); POSIX pax, "pax Interchange Format"; the GNU tar manual, "Sparse Formats".
"""

from binascii import a2b_base64, a2b_hex
from zlib import adler32

from pyfetch.errors import VerificationError, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_GNU_LONG_NAME, _GNU_LONG_LINK, _GNU_SPARSE, _PAX, _PAX_GLOBAL = b"L", b"K", b"S", b"x", b"g"
_SUN_PAX = b"X"  # Solaris' own pax headers, older than those of POSIX
_GNU_LABEL = b"V"  # tar --label: a name for the archive, which unpacking does not need
_KINDS = frozenset((REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))

MAXIMUM_HEADER = 1 << 20  # one pax header or long name; extended attributes of 64 KiB fit
MAXIMUM_ID = (1 << 32) - 2  # (uid_t)-1 means "leave it" to chown(2)
_MAXIMUM_SPARSE_PARTS = 100_000

_MAXIMUM_NUMBER = (1 << 63) - 1  # off_t and time_t

# The fields of a header that a pax header can override. Nothing else is kept of a global one: its keys could add up
# without end, and be searched for each entry.
_FIELDS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"))
_SCHILY, _LIBARCHIVE = b"SCHILY.xattr.", b"LIBARCHIVE.xattr."
_PREFIXES = (_SCHILY, _LIBARCHIVE, b"GNU.sparse.")


class Entry:
    """One member. `size` is the file's; `sparse` lists (offset, length) of the parts in its body, or is None."""

    __slots__ = (
        "name", "kind", "mode", "uid", "gid", "size", "mtime", "target", "major", "minor", "xattrs", "sparse",
    )  # fmt: skip

    def __init__(self, block: bytes, pax: "dict[bytes, bytes]") -> None:
        self.kind = block[156:157]
        self.mode = _number(block[100:108]) & 0o7777
        self.uid = _number(block[108:116])
        self.gid = _number(block[116:124])
        self.size = _number(block[124:136])
        self.mtime = _signed(block[136:148]) * 1_000_000_000
        self.name = _text(block[0:100])
        self.target = _text(block[157:257])
        self.xattrs: dict[bytes, bytes] | None = None
        self.sparse: list[tuple[int, int]] | None = None
        self.major = self.minor = 0
        if self.kind in (CHARACTER, BLOCK_DEVICE):
            self.major, self.minor = _number(block[329:337]), _number(block[337:345])
        if block[257:263] == b"ustar\0" and block[345]:
            # star(5): its prefix is shorter, and two times follow.
            self.name = _text(block[345 : 476 if block[508:] == b"tar\0" else 500]) + b"/" + self.name
        if self.kind in (b"\0", b"7"):  # the oldest tar, and "contiguous file"
            self.kind = REGULAR
        if pax:
            self._override(pax)
        # Only the whole name tells a directory of the oldest tar: the first 100 bytes of a long one may end so, too.
        if self.kind == REGULAR and self.name.endswith(b"/"):
            self.kind = DIRECTORY

    def _override(self, pax: "dict[bytes, bytes]") -> None:
        self.name = pax.get(b"path", self.name)
        self.target = pax.get(b"linkpath", self.target)
        self.size = _decimal(pax, b"size", self.size)
        self.uid = _decimal(pax, b"uid", self.uid)
        self.gid = _decimal(pax, b"gid", self.gid)
        if b"mtime" in pax:
            self.mtime = _time(pax[b"mtime"])
        self.xattrs = self._read_xattrs(pax) or None

    def _read_xattrs(self, pax: "dict[bytes, bytes]") -> "dict[bytes, bytes]":
        """Return the extended attributes in star's form and in bsdtar's.

        libarchive's archive_write_set_format_pax.c writes both, with the name encoded as in a URL; its own form has the
        value in base64, without padding. star's value, which is not encoded, takes precedence.
        """
        found = {}
        encoded = _with_prefix(_LIBARCHIVE, pax)
        for name, text in encoded.items():
            try:
                found[_unquote(name)] = a2b_base64(text + b"=" * (-len(text) % 4))
            except ValueError:
                raise self.wrong("an extended attribute that is not base64") from None
        for name, value in _with_prefix(_SCHILY, pax).items():
            found[_unquote(name) if name in encoded else name] = value
        return found

    def check(self) -> None:
        """Refuse values that no file system has, before they are used."""
        if self.uid > MAXIMUM_ID or self.gid > MAXIMUM_ID:
            raise self.wrong(f"owner {self.uid}:{self.gid} is out of range")
        if self.kind not in _KINDS:
            raise self.wrong(f"unknown type {self.kind!r}")
        if b"\0" in self.name or b"\0" in self.target or (self.xattrs and any(map(_has_nul, self.xattrs))):
            raise self.wrong("the name holds a NUL")
        if self.size > _MAXIMUM_NUMBER:
            raise self.wrong(f"{self.size} bytes are more than any file has")
        if abs(self.mtime) > _MAXIMUM_NUMBER * 1_000_000_000:
            raise self.wrong("the time of the last change is out of range")

    def wrong(self, why: str) -> VerificationError:
        """Return the error for this entry."""
        return VerificationError(f"layer: {show(self.name)}: {why}")


class Stream:
    """Reads exact amounts from an iterator of chunks."""

    def __init__(self, chunks: "Iterator[bytes]") -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")

    def block(self) -> "bytes | None":
        """Return the next 512 bytes, or None at the end."""
        if len(self._chunk) >= BLOCK:
            data, self._chunk = self._chunk[:BLOCK].tobytes(), self._chunk[BLOCK:]
            return data
        data = b"".join(self.pieces(BLOCK, may_end=True))
        if data and len(data) < BLOCK:
            raise _truncated()
        return data or None

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; raise VerificationError if there are fewer."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int, may_end: bool = False) -> "Iterator[memoryview]":
        """Yield the next `size` bytes as they come, without copying them."""
        while size > 0:
            if not self._chunk:
                chunk = next(self._chunks, None)
                if chunk is None:
                    if may_end:
                        return
                    raise _truncated()
                self._chunk = memoryview(chunk)
            piece, self._chunk = self._chunk[:size], self._chunk[size:]
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        if size <= len(self._chunk):  # almost always
            self._chunk = self._chunk[size:]
            return
        for _ in self.pieces(size):
            pass

    def drain(self) -> None:
        """Read to the end, since only there the source verifies its digest."""
        self._chunk = memoryview(b"")
        for _ in self._chunks:
            pass


class Archive:
    """The entries of a tar stream. A body that `body` gives must be read to its end before the next entry."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0  # bytes left of the current entry's body
        self._padding = 0

    def __iter__(self) -> "Iterator[Entry]":
        global_pax: dict[bytes, bytes] = {}
        pax: dict[bytes, bytes] = {}
        long_name: dict[bytes, bytes] = {}
        while True:
            block = self._header()
            if block is None:
                return
            kind = block[156:157]
            if kind in (_GNU_LONG_NAME, _GNU_LONG_LINK):
                key = b"path" if kind == _GNU_LONG_NAME else b"linkpath"
                long_name[key] = self._special(block).partition(b"\0")[0]
            elif kind in (_PAX, _SUN_PAX):
                pax = _records(self._special(block))
            elif kind == _PAX_GLOBAL:
                found = _records(self._special(block))
                global_pax.update((key, value) for key, value in found.items() if key in _FIELDS)
            elif kind == _GNU_LABEL:
                self._special(block)
            else:
                yield self._entry(block, _merged(global_pax, long_name, pax))
                self._stream.skip(self._left + self._padding)
                pax, long_name = {}, {}

    def body(self) -> "Iterator[memoryview]":
        """Yield the body of the current entry, without padding."""
        size, self._left = self._left, 0
        return self._stream.pieces(size)

    def _entry(self, block: bytes, pax: "dict[bytes, bytes]") -> Entry:
        entry = Entry(block, pax)
        # A hard link's size is that of its target in some archives, but POSIX gives it no body unless pax says so;
        # links, devices and directories have none.
        if entry.kind == _GNU_SPARSE or entry.kind == REGULAR:
            self._left, self._padding = entry.size, -entry.size % BLOCK
        else:
            self._left = self._padding = 0
        if entry.kind == _GNU_SPARSE:
            self._old_sparse(entry, block)
        elif entry.kind == REGULAR and pax:
            self._pax_sparse(entry, pax)
        entry.check()
        return entry

    def _header(self) -> "bytes | None":
        block = self._stream.block()
        if block is None or block.count(0) == BLOCK:
            return None
        field = block[148:156]  # the checksum counts this field as spaces
        if _sum(block[:256]) + _sum(block[256:]) - sum(field) + 8 * 32 != _number(field):
            raise VerificationError("layer: not a tar archive, or a damaged one: wrong checksum")
        return block

    def _special(self, block: bytes) -> bytes:
        size = _number(block[124:136])
        if size > MAXIMUM_HEADER:
            raise VerificationError(f"layer: an extended header of {size} bytes")
        data = self._stream.read(size)
        self._stream.skip(-size % BLOCK)
        return data

    def _old_sparse(self, entry: Entry, block: bytes) -> None:
        """GNU's type S: four parts in the header, 21 in each further block that a flag announces."""
        parts = _old_parts(block[386:482])
        extended = block[482]
        size = _number(block[483:495])
        while extended:
            more = self._stream.block()
            if more is None:
                raise _truncated()
            parts += _old_parts(more[:504])
            extended = more[504]
            _check_count(entry, len(parts))
        entry.kind = REGULAR
        self._make_sparse(entry, parts, size)

    def _pax_sparse(self, entry: Entry, pax: "dict[bytes, bytes]") -> None:
        if b"GNU.sparse.name" in pax:
            entry.name = pax[b"GNU.sparse.name"]
        size = _decimal(pax, b"GNU.sparse.realsize", _decimal(pax, b"GNU.sparse.size", -1))
        if pax.get(b"GNU.sparse.major") == b"1":
            self._make_sparse(entry, self._sparse_map(entry), size)
        elif b"GNU.sparse.map" in pax:
            numbers = [_positive(number, entry) for number in pax[b"GNU.sparse.map"].split(b",") if number]
            self._make_sparse(entry, _pairs(numbers, entry), size)

    def _sparse_map(self, entry: Entry) -> "list[tuple[int, int]]":
        """Format 1.0: decimal numbers, a line each, at the start of the body, padded to whole blocks."""
        text = b""
        numbers: list[int] = []
        wanted = 1
        while len(numbers) < wanted:
            if self._left < BLOCK:
                raise entry.wrong("the sparse map is longer than the file")
            text += self._stream.read(BLOCK)
            self._left -= BLOCK
            *lines, text = text.split(b"\n")
            numbers += [_positive(line, entry) for line in lines]
            if numbers:
                wanted = 1 + 2 * numbers[0]
                _check_count(entry, numbers[0])
            if len(text) > BLOCK:
                raise entry.wrong("the sparse map is damaged")
        return _pairs(numbers[1:wanted], entry)

    def _make_sparse(self, entry: Entry, parts: "list[tuple[int, int]]", size: int) -> None:
        end = 0
        for offset, length in parts:
            if offset < end or offset + length > size:
                raise entry.wrong("the sparse map is out of order or beyond the end")
            end = offset + length
        if sum(length for _, length in parts) != self._left:
            raise entry.wrong("the sparse map does not fit the data")
        entry.sparse, entry.size = parts, size


def _sum(half: bytes) -> int:
    """Return the sum of at most 256 bytes, at a fifth of the time of sum(): the low half of Adler-32 is that and 1.

    It is modulo 65521, which so few bytes do not reach.
    """
    return (adler32(half) & 0xFFFF) - 1


def _has_nul(name: bytes) -> bool:
    return b"\0" in name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Read an octal number, or GNU's base-256 form for what octal cannot hold; refuse negative ones."""
    digits = field.rstrip(b"\0 ")
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:  # almost always
        return int(digits, 8)
    value = _signed(field)
    if value < 0:
        raise VerificationError("layer: a negative number in a tar header")
    return value


def _signed(field: bytes) -> int:
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
        # The sign is bit 6 of the first byte once the marker (bit 7) is taken away.
        return value - (1 << 8 * len(field) - 1) if field[0] & 0x40 else value
    text = field.partition(b"\0")[0].strip(b" ")
    if not text:
        return 0
    try:
        return int(text, 8)
    except ValueError:
        raise VerificationError(f"layer: {show(text)} is not a number in a tar header") from None


def _decimal(pax: "dict[bytes, bytes]", key: bytes, default: int) -> int:
    if key not in pax:
        return default
    text = pax[key]
    if not text.isdigit() or len(text) > 19:
        raise VerificationError(f"layer: pax header {key.decode()}: {text[:40]!r} is not a size")
    return int(text)


def _positive(text: bytes, entry: Entry) -> int:
    if not text.isdigit() or len(text) > 19:
        raise entry.wrong("the sparse map is damaged")
    return int(text)


def _time(text: bytes) -> int:
    """Read seconds with a fraction, and a sign, as nanoseconds: a float would not be exact."""
    seconds, _, fraction = text.partition(b".")
    negative = seconds.startswith(b"-")
    digits = seconds[1:] if negative else seconds
    if not digits.isdigit() or len(digits) > 12 or (fraction and not fraction.isdigit()):
        raise VerificationError(f"layer: pax header mtime: {text[:40]!r} is not a time")
    value = int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -value if negative else value


def _merged(*headers: "dict[bytes, bytes]") -> "dict[bytes, bytes]":
    """Merge headers: a later one wins, and an empty field takes back an earlier one (POSIX)."""
    merged: dict[bytes, bytes] = {}
    if not any(headers):
        return merged
    for header in headers:
        merged.update(header)
    return {key: value for key, value in merged.items() if value or key not in _FIELDS}


def _with_prefix(prefix: bytes, pax: "dict[bytes, bytes]") -> "dict[bytes, bytes]":
    return {key[len(prefix) :]: value for key, value in pax.items() if key.startswith(prefix)}


def _unquote(name: bytes) -> bytes:
    """Undo URL encoding; a percent sign that does not begin a code stays."""
    first, *parts = name.split(b"%")
    for part in parts:
        try:
            first += (a2b_hex(part[:2]) or b"%") + part[2:]
        except ValueError:
            first += b"%" + part
    return first


def _records(data: bytes) -> "dict[bytes, bytes]":
    """Read pax records, "LENGTH KEY=VALUE\\n": the length counts all of it, and a value may hold any byte."""
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []  # format 0.0 repeats its keys: offset, numbytes, offset, ...
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 20].partition(b" ")
        end = position + int(digits) if digits.isdigit() else 0
        key, equals, value = data[position + len(digits) + 1 : end].partition(b"=")
        if not space or end > len(data) or not equals or value[-1:] != b"\n":
            raise VerificationError("layer: a damaged pax header")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value[:-1])
        elif key in _FIELDS or key.startswith(_PREFIXES):
            records[key] = value[:-1]
        position = end
    if sparse:
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records


def _old_parts(table: bytes) -> "list[tuple[int, int]]":
    starts = range(0, len(table), 24)
    return [(_number(table[i : i + 12]), _number(table[i + 12 : i + 24])) for i in starts if table[i]]


def _pairs(numbers: "list[int]", entry: Entry) -> "list[tuple[int, int]]":
    _check_count(entry, len(numbers) // 2)
    return list(zip(numbers[::2], numbers[1::2]))


def _check_count(entry: Entry, count: int) -> None:
    if count > _MAXIMUM_SPARSE_PARTS:
        raise entry.wrong(f"more than {_MAXIMUM_SPARSE_PARTS} parts in a sparse file")


def _truncated() -> VerificationError:
    return VerificationError("layer: the archive ends too early")
