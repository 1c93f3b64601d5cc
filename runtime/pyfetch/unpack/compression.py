"""Decompression of layers and archives, as streams: gzip with any number of members, zstd, and none.

The first bytes of a layer decide, as in containerd and containers/storage: media types are often wrong. The image-spec
does not know xz and bzip2, but docker loads archives, and layers in them, of either.
"""

import select
from itertools import chain

from foundation.errors import Error, one_line
from foundation.linux import libc, os
from pyfetch.errors import VerificationError
from pyfetch.unpack import gzip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    class Decompressor(Protocol):
        """`finish` yields the rest, and raises VerificationError if the stream is incomplete."""

        def decompress(self, data: bytes) -> "Iterator[bytes]": ...
        def finish(self) -> "Iterator[bytes]": ...


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_LONGEST_MAGIC = 6
OUTPUT_SIZE = 1 << 20  # bytes that one step gives at most, from any input: a bomb takes no more memory
_XZ_MAGIC, _BZIP2_MAGIC = b"\xfd7zXZ\0", b"BZh"
_OTHER_MAGIC = {_XZ_MAGIC: "xz", _BZIP2_MAGIC: "bzip2", b"\x04\x22\x4d\x18": "lz4"}
_XZ_MEMORY = 128 << 20  # xz -9 needs half of it

# zstd(1): frames that need more memory than this are refused by the zstd program too, unless it is told otherwise.
_WINDOW_LOG_MAX = 27
_ZSTD_D_WINDOW_LOG_MAX = 100


def decompressed(pieces: "Iterator[bytes]", *, of_docker: bool = False, has_digest: bool = False) -> "Iterator[bytes]":
    """Yield what the stream `pieces` unpacks to. `of_docker` allows xz and bzip2, which docker loads. `has_digest`: the
    caller verifies what comes out, so that gzip's own checksum need not be computed."""
    start = b""
    while len(start) < _LONGEST_MAGIC and (piece := next(pieces, b"")):
        start += piece
    inflate = (of_docker and _find_older(start)) or _decompressor(start, has_digest)
    for piece in chain([start], pieces):
        yield from inflate.decompress(piece)
    yield from inflate.finish()


def is_compressed(start: bytes) -> bool:
    """Return whether a stream that begins with `start` is compressed with what the image-spec allows."""
    # zstd:chunked begins with a skippable frame, whose magic number is 0x184D2A50 to 0x184D2A5F, little-endian.
    skippable = start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50
    return skippable or start.startswith((gzip.MAGIC, ZSTD_MAGIC))


def compression(start: bytes) -> str:
    """Return what the media type of a layer that begins with `start` ends with."""
    return "" if not is_compressed(start) else "+gzip" if start.startswith(gzip.MAGIC) else "+zstd"


def is_older(start: bytes) -> bool:
    """Return whether it is compressed with xz or bzip2."""
    return start.startswith((_XZ_MAGIC, _BZIP2_MAGIC))


def _find_older(start: bytes) -> "Decompressor | None":
    if start.startswith(_XZ_MAGIC):
        import lzma

        return _Frames("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), lzma.LZMAError)
    if start.startswith(_BZIP2_MAGIC):
        import bz2

        return _Frames("bzip2", bz2.BZ2Decompressor, OSError)
    return None


def _decompressor(start: bytes, has_digest: bool) -> "Decompressor":
    """Return the decompressor for a stream that begins with `start`."""
    if start.startswith(gzip.MAGIC):
        return gzip.Gzip(OUTPUT_SIZE, has_digest)
    if is_compressed(start):
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


class _Zstd:
    """Any number of frames, also skippable ones, by a function that decompresses one piece of input."""

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


class _Frames:
    """Any number of frames, by decompressors of the standard library, which take one frame each."""

    def __init__(self, name: str, make: "Callable[[], Any]", error: "type[Exception]") -> None:
        self._name = name
        self._make = make
        self._error = error
        self._frame = make()
        self._complete = True

    def decompress(self, data: bytes) -> "Iterator[bytes]":
        while data or not self._frame.needs_input:
            try:
                output = self._frame.decompress(data, OUTPUT_SIZE)
            except self._error as error:
                raise VerificationError(f"the {self._name} data are damaged: {error}") from None
            self._complete = self._frame.eof
            data = self._frame.unused_data if self._complete else b""
            if output:
                yield output
            if self._complete:
                self._frame = self._make()

    def finish(self) -> "Iterator[bytes]":
        if not self._complete:
            raise VerificationError(f"the {self._name} data end too early")
        return iter(())


class _ZstdProgram:
    """The zstd program, if there is no library; its two pipes make it slower."""

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
        return VerificationError(f"the zstd data are damaged: {one_line(errors.read(500).decode() if errors else '')}")


def find_zstd() -> "Callable[[], Decompressor]":
    """Return a function that makes decompressors, from what this system has for zstd; raise Error if nothing."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        pass  # Python has one from 3.14 on
    else:
        options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
        return lambda: _Frames("zstd", lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError)
    try:
        function = libc.library("libzstd.so.1")
    except OSError:
        pass  # not installed
    else:
        return lambda: _Zstd(_library_steps(function))
    import shutil

    program = shutil.which("zstd")
    if program is None:
        raise Error("the layer is compressed with zstd: install libzstd (libzstd1) or zstd to unpack it")
    path = os.path.abspath(program)
    return lambda: _ZstdProgram(path)


class _Input(libc.Structure):
    """ZSTD_inBuffer."""

    _fields_ = [("data", libc.c_char_p), ("size", libc.c_size_t), ("position", libc.c_size_t)]


class _Output(libc.Structure):
    """ZSTD_outBuffer."""

    _fields_ = [("data", libc.c_void_p), ("size", libc.c_size_t), ("position", libc.c_size_t)]


def _library_steps(function: "Callable[..., Any]") -> "Callable[[bytes], Iterator[tuple[bytes, bool]]]":
    """Return the step of _Zstd, by functions of the library."""
    pointer, size = libc.c_void_p, libc.c_size_t
    decompress = function("ZSTD_decompressStream", size, pointer, pointer, pointer)
    is_error = function("ZSTD_isError", libc.c_uint, size)
    error_name = function("ZSTD_getErrorName", libc.c_char_p, size)
    context = _Context(function("ZSTD_createDCtx", pointer)(), function("ZSTD_freeDCtx", size, pointer))
    set_parameter = function("ZSTD_DCtx_setParameter", size, pointer, libc.c_int, libc.c_int)
    set_parameter(context.pointer, _ZSTD_D_WINDOW_LOG_MAX, _WINDOW_LOG_MAX)
    target = (libc.c_char * OUTPUT_SIZE)()
    view, address = memoryview(target), libc.addressof(target)

    def steps(data: bytes) -> "Iterator[tuple[bytes, bool]]":
        source = _Input(data, len(data), 0)
        full = True  # a full output buffer may mean that there is more to come without more input
        while source.position < source.size or full:
            output = _Output(address, OUTPUT_SIZE, 0)
            result = decompress(context.pointer, libc.byref(output), libc.byref(source))
            if is_error(result):
                raise VerificationError(f"the zstd data are damaged: {error_name(result).decode()}")
            full = output.position == OUTPUT_SIZE
            yield view[: output.position].tobytes(), result == 0

    return steps


class _Context:
    """A ZSTD_DCtx, freed with the object that holds it."""

    def __init__(self, pointer: int, free: "Callable[[int], object]") -> None:
        self.pointer = pointer
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)
