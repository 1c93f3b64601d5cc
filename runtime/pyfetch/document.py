"""JSON under checks: manifests and configs come from strangers.

Every value is asked for by name and type, and a wrong one is named by its path. Stricter than `json`: NaN is no
number, true is no integer, and a name that occurs twice is refused (RFC 7493, 2.3), since two readers of the same
bytes might choose differently.
"""

# The C parts of json alone: the package around them costs 8 ms, nearly all of it `re`. A pull of what the store has
# takes 25 ms in all.
from _json import encode_basestring_ascii as quote
from _json import make_scanner

from pyfetch.errors import VerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_BLANK = " \t\n\r"
_MAXIMUM_DIGITS = 100


class Document:
    """A JSON object; `path` says where it stands in its file, for the message."""

    def __init__(self, properties: "dict[str, Any]", path: str) -> None:
        self.properties = properties
        self.path = path

    def string(self, name: str, default: str = "") -> str:
        value = self._get(name, str, default)
        # Neither can be given to a system call, and no environment, path or label needs them.
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value if c > "\ud7ff"):
            raise self.wrong(name, "holds a NUL or half a character")
        return str(value)

    def required_string(self, name: str) -> str:
        if not self.properties.get(name):
            raise self.wrong(name, "is required")
        return self.string(name)

    def integer(self, name: str) -> int:
        value = self._get(name, int, None)
        if value is None or not 0 <= value < 1 << 63:
            raise self.wrong(name, f"expected a size, found {value!r}")
        return int(value)

    def strings(self, name: str) -> "list[str]":
        values = self._get(name, list, [])
        return [Document({"": v}, f"{self.path}{name}[{i}]").string("") for i, v in enumerate(values)]

    def string_map(self, name: str) -> "dict[str, str]":
        inner = self.object(name)
        return {key: inner.string(key) for key in inner.properties}

    def object(self, name: str) -> "Document":
        return Document(self._get(name, dict, {}), f"{self.path}{name}.")

    def objects(self, name: str) -> "list[Document]":
        values = self._get(name, list, [])
        return [Document({"": v}, f"{self.path}{name}[{i}]").object("") for i, v in enumerate(values)]

    def keys(self, name: str) -> "list[str]":
        """The names in the object `name`, which is a set: their values are empty objects."""
        return list(self._get(name, dict, {}))

    def has(self, name: str) -> bool:
        return self.properties.get(name) is not None

    def wrong(self, name: str, why: str) -> VerificationError:
        return VerificationError(f"{(self.path + name).rstrip('.')}: {why}")

    def _get(self, name: str, expected: type, default: "Any") -> "Any":
        value = self.properties.get(name)
        if value is None:  # as in Go, null is absence
            return default
        if type(value) is not expected:  # not isinstance: True is an int
            raise self.wrong(name, f"expected {expected.__name__}, found {type(value).__name__}")
        return value


def parse(data: bytes, source: str) -> Document:
    """Return the JSON object `data`. `source` names it in messages."""
    try:
        value = _load(data.decode("utf-8"))
    except RecursionError:
        raise VerificationError(f"{source}: nested too deeply") from None
    except ValueError as error:
        raise VerificationError(f"{source}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise VerificationError(f"{source}: not a JSON object")
    return Document(value, f"{source}: ")


def to_json(value: object) -> str:
    """Return what json.dumps does, for what we write: objects, arrays, strings, whole numbers, truth values."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(name)}: {to_json(member)}" for name, member in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_json, value))}]"
    if isinstance(value, str):
        return str(quote(value))
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _load(text: str) -> "Any":
    try:
        value, end = _scan(text, len(text) - len(text.lstrip(_BLANK)))
        if not text[end:].strip(_BLANK):
            return value
    except (StopIteration, SystemError, TypeError, ValueError):
        pass  # the scanner cannot say what is wrong (in 3.11 a syntax error is a SystemError); json can
    import json

    return json.loads(text, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse)


def _unique(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    properties = dict(pairs)
    if len(properties) != len(pairs):
        raise ValueError("the same name twice in one object")
    return properties


def _integer(digits: str) -> int:
    if len(digits) > _MAXIMUM_DIGITS:  # before 3.9.14 int() takes hours for as many as fit into a manifest
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _refuse(constant: str) -> "Any":
    raise ValueError(f"{constant} is no number")


class _Context:
    """What the scanner asks of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_unique)
    parse_float = float
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_refuse)
    memo: "dict[str, str]" = {}


_scan = make_scanner(_Context())  # type: ignore[arg-type]
