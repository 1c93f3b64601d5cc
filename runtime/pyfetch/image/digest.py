"""Digests: `algorithm:hex`, checked before they become part of a URL or of a path (CVE-2024-3727)."""

import sys

from pyfetch.errors import VerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Hash(Protocol):
        def update(self, data: "bytes | memoryview", /) -> None: ...
        def hexdigest(self) -> str: ...


# image-spec descriptor.md registers blake3 too, and lets an implementation leave it out: hashlib lacks it.
_LENGTHS = {"sha256": 64, "sha512": 128}
_HEXADECIMAL = frozenset("0123456789abcdef")


def is_digest(text: str) -> bool:
    """Return whether `text` is a sha256 or sha512 digest in lower case."""
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == _LENGTHS.get(algorithm) and _HEXADECIMAL.issuperset(encoded)


def check_digest(text: str, name: str = "digest") -> str:
    """Return `text` if it is a digest that we can verify; raise VerificationError otherwise."""
    if not is_digest(text):
        raise VerificationError(f"{name}: {text[:80]!r} is not a sha256 or sha512 digest")
    return text


def hasher(digest: str) -> "Hash":
    """Return a hash object for the algorithm of `digest`, for data of any size."""
    import hashlib

    return hashlib.new(digest.partition(":")[0])


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data`, which is small."""
    return f"{algorithm}:{_own_hash(algorithm)(data).hexdigest()}"


def _own_hash(algorithm: str) -> "Callable[[bytes], Hash]":
    """Return Python's built-in hash: OpenSSL's, in hashlib, is four times as fast but takes 4 ms to load."""
    try:
        module = __import__("_sha2" if sys.version_info >= (3, 12) else f"_{algorithm}")
    except ImportError:  # this Python was built without it
        import hashlib as module
    return getattr(module, algorithm)  # type: ignore[no-any-return]


def short(digest: str) -> str:
    """Return the first twelve digits, by which docker names a layer."""
    return digest.partition(":")[2][:12]
