"""Names and ids of containers and volumes."""

from foundation.linux import os
from pyrund.errors import ApiError

_ADJECTIVES = (
    "able agile amber brave bright brisk calm clever eager early fair fine frank gentle glad golden grand happy honest "
    "jolly keen kind lively lucky mellow merry modest neat noble patient plain polite proud quick quiet ready sharp "
    "silent simple sincere smart steady sunny swift tidy true warm wise witty young"
).split()
_SURNAMES = (
    "abel babbage boole carson cerf curie darwin dijkstra euclid euler faraday fermi feynman floyd gauss godel goodall "
    "hamilton hawking hertz hopper hoare huygens jackson johnson kepler knuth lamport lovelace maxwell mendel meitner "
    "mirzakhani newton noether pascal perlman planck ritchie shannon stallman tesla thompson torvalds turing volta "
    "wing wozniak yonath"
).split()
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_OTHERS = _FIRST | frozenset("_.-")


def new_id() -> str:
    """Return a new id. Its first twelve digits are not all decimal: they would look like a number in scripts."""
    while (id_ := os.urandom(32).hex())[:12].isdigit():
        pass
    return id_


def new_name() -> str:
    one, two = os.urandom(2)
    return f"{_ADJECTIVES[one % len(_ADJECTIVES)]}_{_SURNAMES[two % len(_SURNAMES)]}"


def check_name(name: str) -> str:
    """Return the name without a slash before it. Raises ApiError, with docker's words, if it is not valid."""
    bare = name[1:] if name.startswith("/") else name
    if not is_name(bare):
        raise ApiError(400, f"Invalid container name ({name[:200]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def is_name(text: str) -> bool:
    """Return whether docker takes the text as a name: [a-zA-Z0-9][a-zA-Z0-9_.-]+."""
    return len(text) > 1 and text[0] in _FIRST and _OTHERS.issuperset(text)
