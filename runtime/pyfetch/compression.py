"""Decompression of layers, as streams: gzip with any number of members, zstd, and none.

What a layer is compressed with is told by its first bytes, as containerd and containers/storage do: media types lie,
and both kinds of registry client have always coped. xz and bzip2 are not among the types that the image-spec knows.
"""

import ctypes
import os
import select
import zlib
from itertools import chain

from pyfetch.errors import Error, VerificationError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Decompressor(Protocol):
        """`finish` gives what is left, and raises if the end of the data was not that of the stream."""

        def decompress(self, data: bytes) -> "Iterator[bytes]": ...
        def finish(self) -> "Iterator[bytes]": ...


GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_LONGEST_MAGIC = 6
OUTPUT_SIZE = 1 << 20  # the most that one step gives, however small its input: what a bomb can make us hold
_OTHER_MAGIC = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}

# zstd(1): frames that need more memory than this are refused by the zstd program too, unless it is told otherwise.
_WINDOW_LOG_MAX = 27
_ZSTD_D_WINDOW_LOG_MAX = 100


def decompressed(pieces: "Iterator[bytes]") -> "Iterator[bytes]":
    """Give what the stream `pieces` unpacks to."""
    start = b""
    while len(start) < _LONGEST_MAGIC and (piece := next(pieces, b"")):
        start += piece
    inflate = _decompressor(start)
    for piece in chain([start], pieces):
        yield from inflate.decompress(piece)
    yield from inflate.finish()


def _decompressor(start: bytes) -> "Decompressor":
    """Return the decompressor for a stream that begins with `start`."""
    if start.startswith(GZIP_MAGIC):
        return _Gzip()
    # zstd:chunked begins with a skippable frame, whose magic number is 0x184D2A50 to 0x184D2A5F, little-endian.
    if start.startswith(ZSTD_MAGIC) or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50):
        return find_zstd()()
    for magic, name in _OTHER_MAGIC.items():
        if start.startswith(magic):
            raise VerificationError(f"the layer is compressed with {name}, which the image-spec does not allow")
    return _Uncompressed()


class _Uncompressed:
    def decompress(self, data: bytes) -> "Iterator[bytes]":
        yield data

    def finish(self) -> "Iterator[bytes]":
        return iter(())


class _Gzip:
    """One or many members; what follows the last one and is no member is padding, and ignored as gzip(1) does."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._fresh = True  # the member has not had a byte yet
        self._padding = False
        self._held = b""

    def decompress(self, data: bytes) -> "Iterator[bytes]":
        data, self._held = self._held + data, b""
        while data and not self._padding:
            if self._fresh and not self._begins(data):
                return
            output, data = self._step(data)
            if output:
                yield output

    def _begins(self, data: bytes) -> bool:
        """Tell whether a member begins here; hold back a single byte, which cannot say."""
        if len(data) < len(GZIP_MAGIC):
            self._held = data
            return False
        self._padding = not data.startswith(GZIP_MAGIC)
        return not self._padding

    def _step(self, data: bytes) -> "tuple[bytes, bytes]":
        self._fresh = False
        try:
            output = self._member.decompress(data, OUTPUT_SIZE)
        except zlib.error as error:
            raise VerificationError(f"the gzip data are damaged: {error}") from None
        if not self._member.eof:
            return output, self._member.unconsumed_tail
        rest = self._member.unused_data
        self._member = zlib.decompressobj(wbits=31)
        self._fresh = True
        return output, rest

    def finish(self) -> "Iterator[bytes]":
        if not self._fresh:
            raise VerificationError("the gzip data end too early")
        return iter(())


class _Zstd:
    """Frames in any number, skippable ones among them, by a function that steps through one piece of input."""

    def __init__(self, step: "Callable[[bytes], Iterator[tuple[bytes, bool]]]") -> None:
        self._step = step
        self._complete = True

    def decompress(self, data: bytes) -> "Iterator[bytes]":
        for output, complete in self._step(data):
            self._complete = complete
            if output:
                yield output

    def finish(self) -> "Iterator[bytes]":
        if not self._complete:
            raise VerificationError("the zstd data end too early")
        return iter(())


class _ZstdProgram:
    """The zstd program, where there is no library: slower by what two pipes cost."""

    def __init__(self, program: str) -> None:
        import subprocess

        command = [program, "-dcq", f"--memory={1 << _WINDOW_LOG_MAX}"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        assert self._process.stdin and self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)

    def decompress(self, data: bytes) -> "Iterator[bytes]":
        view = memoryview(data)
        while view:
            readable, writable, _ = select.select([self._output], [self._input], [])
            if readable:
                output = self._output.read(OUTPUT_SIZE)
                if not output:
                    raise self._damaged()
                yield output
            if writable:
                try:
                    view = view[self._input.write(view) or 0 :]
                except BrokenPipeError:
                    raise self._damaged() from None

    def finish(self) -> "Iterator[bytes]":
        self._input.close()
        while output := self._output.read(OUTPUT_SIZE):
            yield output
        if self._process.wait() != 0:
            raise self._damaged()

    def _damaged(self) -> VerificationError:
        errors = self._process.stderr
        return VerificationError(f"the zstd data are damaged: {printable(errors.read(500).decode() if errors else '')}")


def find_zstd() -> "Callable[[], Decompressor]":
    """Return a maker of decompressors from what this system has for zstd; raise where it has nothing."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        pass  # Python has one from 3.14 on
    else:
        return lambda: _Zstd(_stdlib_steps(zstd))
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        pass  # not installed
    else:
        return lambda: _Zstd(_library_steps(library))
    import shutil

    program = shutil.which("zstd")
    if program is None:
        raise Error("the layer is compressed with zstd: install libzstd (libzstd1) or zstd to unpack it")
    path = os.path.abspath(program)
    return lambda: _ZstdProgram(path)


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t)]


def _library_steps(library: "ctypes.CDLL") -> "Callable[[bytes], Iterator[tuple[bytes, bool]]]":
    create, decompress, free = library.ZSTD_createDCtx, library.ZSTD_decompressStream, library.ZSTD_freeDCtx
    create.restype = ctypes.c_void_p
    free.argtypes = (ctypes.c_void_p,)
    decompress.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer))
    decompress.restype = library.ZSTD_DCtx_setParameter.restype = ctypes.c_size_t
    library.ZSTD_DCtx_setParameter.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    library.ZSTD_isError.argtypes = library.ZSTD_getErrorName.argtypes = (ctypes.c_size_t,)
    library.ZSTD_getErrorName.restype = ctypes.c_char_p
    context = _Context(create(), free)
    library.ZSTD_DCtx_setParameter(context.pointer, _ZSTD_D_WINDOW_LOG_MAX, _WINDOW_LOG_MAX)
    target = ctypes.create_string_buffer(OUTPUT_SIZE)

    def steps(data: bytes) -> "Iterator[tuple[bytes, bool]]":
        source = _Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), 0)
        full = True  # a full output buffer may mean that there is more to come without more input
        while source.position < source.size or full:
            output = _Buffer(ctypes.cast(target, ctypes.c_void_p), OUTPUT_SIZE, 0)
            result = decompress(context.pointer, ctypes.byref(output), ctypes.byref(source))
            if library.ZSTD_isError(result):
                name = library.ZSTD_getErrorName(result).decode()
                raise VerificationError(f"the zstd data are damaged: {name}")
            full = output.position == OUTPUT_SIZE
            yield ctypes.string_at(target, output.position), result == 0

    return steps


class _Context:
    """A ZSTD_DCtx, freed with the object that holds it."""

    def __init__(self, pointer: int, free: "Callable[[int], object]") -> None:
        self.pointer = pointer
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)


def _stdlib_steps(zstd: object) -> "Callable[[bytes], Iterator[tuple[bytes, bool]]]":
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}  # type: ignore[attr-defined]
    frame = zstd.ZstdDecompressor(options=options)  # type: ignore[attr-defined]

    def steps(data: bytes) -> "Iterator[tuple[bytes, bool]]":
        nonlocal frame
        while data or not frame.needs_input:
            try:
                output = frame.decompress(data, OUTPUT_SIZE)
            except zstd.ZstdError as error:  # type: ignore[attr-defined]
                raise VerificationError(f"the zstd data are damaged: {error}") from None
            data = frame.unused_data if frame.eof else b""
            yield output, frame.eof
            if frame.eof:
                frame = zstd.ZstdDecompressor(options=options)  # type: ignore[attr-defined]

    return steps
