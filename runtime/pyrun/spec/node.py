"""JSON under checks: every value is asked for by name and type, and a wrong one is named by its path.

The rules of the types are those of Go's encoding/json, which every peer uses: null is absence, unknown properties are
ignored, the last of two equal names wins. Stricter than Python's: true is no integer, NaN is no number, a string holds
no NUL and no lone surrogate, since neither can be given to a system call.
"""

from _json import make_scanner  # the C scanner alone: `import json` costs 3 to 4 ms, nearly all of it `re`

from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

REQUIRED = object()
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT64 = (0, (1 << 64) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT16 = (0, (1 << 16) - 1)

# runc and crun read files of any size; a bundle's config.json is tens of kilobytes.
MAXIMUM_SIZE = 32 << 20
_USUAL_SIZE = 64 << 10
# No property has more than 20, and before 3.9.14 int() takes hours for as many as fit into a file.
MAXIMUM_DIGITS = 100


def _integer(digits: str) -> int:
    if len(digits) > MAXIMUM_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


class _Context:
    """What the C scanner asks of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = staticmethod(_integer)
    parse_constant = None  # NaN, Infinity: not callable, so they end in the slow path and its message
    memo: "dict[str, str]" = {}


_scan = make_scanner(_Context())  # type: ignore[arg-type]


def parse(text: str, source: str) -> "Any":
    """Return the value of the JSON document `text`; raise ConfigError, which names `source`, where it is none."""
    try:
        start = len(text) - len(text.lstrip(" \t\n\r"))
        value, end = _scan(text, start)
        if not text[end:].strip(" \t\n\r"):
            return value
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except (StopIteration, SystemError, TypeError, ValueError):
        pass  # the accelerator cannot say what is wrong (in 3.11 a syntax error is a SystemError); json can
    return _explain(text, source)


def _explain(text: str, source: str) -> "Any":
    import json  # only here: for the message

    def refuse(constant: str) -> "Any":
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(text, parse_int=_integer, parse_constant=refuse)
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    return value


def load(path: "str | bytes", source: str) -> "Node":
    """Return the JSON object in the file `path`, which errors call `source`.

    A file that is missing or unreadable raises the OSError of open(2).
    """
    return decode(read(path, source), source)


def read(path: "str | bytes", source: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read(_USUAL_SIZE)  # a buffer of MAXIMUM_SIZE alone would take longer than all the rest
        if len(data) == _USUAL_SIZE:
            data += file.read(MAXIMUM_SIZE + 1 - _USUAL_SIZE)
    if len(data) > MAXIMUM_SIZE:
        raise ConfigError(f"{source}: larger than {MAXIMUM_SIZE >> 20} MiB")
    return data


def decode(data: bytes, source: str) -> "Node":
    """Return the JSON object `data`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 at byte {error.start}") from None
    return root(parse(text, source), source)


def root(value: "Any", source: str) -> "Node":
    """Return `value` as the top-level object of `source`."""
    if type(value) is not dict:
        raise ConfigError(f"{source}: expected an object, found {shown(value)}")
    return Node(value, f"{source}: ")


_NAMES = {str: "string", int: "integer", bool: "boolean", dict: "object", list: "array"}


def shown(value: "Any") -> str:
    """Return `value` as an error shows it: on one line, and not longer than the line."""
    if type(value) in (dict, list):
        return f"an {_NAMES[type(value)]}"  # its repr() may be nested too deeply for us, who are nested ourselves
    text = "null" if value is None else repr(value[:60] if type(value) is str else value)
    return text if len(text) <= 60 else text[:57] + "..."


class Node:
    """A JSON object under checks; it knows its own path, so that errors can tell where they are."""

    def __init__(self, properties: "dict[str, Any]", path: str) -> None:
        self.properties = properties
        self.path = path

    def error(self, name: str, reason: str) -> ConfigError:
        """Return the error that says `reason` of the property `name` (of the object itself where that is empty)."""
        return ConfigError(f"{self.path.rstrip('.: ') if not name else self.path + name}: {reason}")

    def missing(self, name: str) -> ConfigError:
        return ConfigError(f"{self.path}{name} is required")

    def has(self, name: str) -> bool:
        return self.properties.get(name) is not None

    def string(self, name: str, default: "Any" = REQUIRED) -> str:
        value: str = self._get(name, str, default)
        if value and not (value.isascii() and "\0" not in value):
            self._check_text(name, value)
        return value

    def integer(self, name: str, limits: "tuple[int, int]" = INT64, default: "Any" = REQUIRED) -> int:
        value: int = self._get(name, int, default)
        if value is not None and value is not default and not limits[0] <= value <= limits[1]:
            raise self.error(name, f"{shown(value)} is not between {limits[0]} and {limits[1]}")
        return value

    def integer_or_none(self, name: str, limits: "tuple[int, int]" = INT64) -> "int | None":
        return self.integer(name, limits, default=None)

    def boolean(self, name: str, default: "Any" = False) -> bool:
        value: bool = self._get(name, bool, default)
        return value

    def boolean_or_none(self, name: str) -> "bool | None":
        value: bool | None = self._get(name, bool, None)
        return value

    def object(self, name: str, default: "Any" = REQUIRED) -> "Node":
        """Return the object `name`; an empty one where it is absent and `default` is given as {}."""
        value = self._get(name, dict, default)
        return self._child(value, f"{self.path}{name}.")

    def object_or_none(self, name: str) -> "Node | None":
        return self.object(name) if self.has(name) else None

    def objects(self, name: str) -> "list[Node]":
        found = []
        for i, value in enumerate(self._get(name, list, [])):
            if type(value) is not dict:
                raise self.error(f"{name}[{i}]", f"expected object, found {shown(value)}")
            found.append(self._child(value, f"{self.path}{name}[{i}]."))
        return found

    def entries(self) -> "dict[str, Node]":
        """Return the objects that this one holds by names of the author's choice."""
        found = {}
        for key, value in self.properties.items():
            path = f"{self.path[:-1]}[{shown(key)}]"
            if type(value) is not dict:
                raise ConfigError(f"{path}: expected object, found {shown(value)}")
            found[key] = self._child(value, path + ".")
        return found

    def strings(self, name: str, default: "Any" = ()) -> "list[str]":
        values = self._get(name, list, default)
        if not _are_plain(values):
            for i, value in enumerate(values):
                self._check_string(f"{name}[{i}]", value)
        return list(values)

    def strings_or_none(self, name: str) -> "list[str] | None":
        return self.strings(name) if self.has(name) else None

    def integers(self, name: str, limits: "tuple[int, int]" = INT64) -> "list[int]":
        values: list[int] = self._get(name, list, [])
        for i, value in enumerate(values):
            if type(value) is not int:
                raise self.error(f"{name}[{i}]", f"expected integer, found {shown(value)}")
            if not limits[0] <= value <= limits[1]:
                raise self.error(f"{name}[{i}]", f"{shown(value)} is not between {limits[0]} and {limits[1]}")
        return values

    def text_map(self, name: str) -> "dict[str, str]":
        """Return an object whose values are strings: annotations, sysctl, unified."""
        values: dict[str, str] = self._get(name, dict, {})
        if not (_are_plain(values) and _are_plain(values.values())):
            for key, value in values.items():
                self._check_text(f"{name}[{shown(key)}]", key)
                self._check_string(f"{name}[{shown(key)}]", value)
        return values

    def _child(self, properties: "dict[str, Any]", path: str) -> "Node":
        return Node(properties, path)

    def _get(self, name: str, expected: type, default: "Any") -> "Any":
        value = self.properties.get(name)
        if value is None:  # as in Go, null is absence
            if default is REQUIRED:
                raise self.missing(name)
            return default
        if type(value) is not expected:  # not isinstance: True is an int
            raise self.error(name, f"expected {_NAMES[expected]}, found {shown(value)}")
        return value

    def _check_string(self, name: str, value: "Any") -> None:
        if type(value) is not str:
            raise self.error(name, f"expected string, found {shown(value)}")
        self._check_text(name, value)

    def _check_text(self, name: str, value: str) -> None:
        if "\0" in value:
            raise self.error(name, "contains a NUL byte")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.error(name, "contains a lone surrogate, which is no character") from None


def _are_plain(values: "Iterable[Any]") -> bool:
    """Tell in one look that all of `values` are strings without fault, as nearly all are: each need not be named."""
    try:
        text = "".join(values)
    except TypeError:
        return False
    return text.isascii() and "\0" not in text
