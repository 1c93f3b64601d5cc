"""JSON under checks: every value is asked for by name and type, and a wrong one is named by its path.

The rules of the types are those of Go's encoding/json, which every peer uses: null is absence, unknown properties are
ignored, the last of two equal names wins. Stricter than Python's: true is no integer, NaN is no number, a string holds
no NUL and no lone surrogate, since neither can be given to a system call.
"""

from _json import make_scanner  # the C scanner alone: `import json` costs 3 to 4 ms, nearly all of it `re`

from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from typing import Any

REQUIRED = object()
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT64 = (0, (1 << 64) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT16 = (0, (1 << 16) - 1)

# runc and crun read files of any size; a bundle's config.json is tens of kilobytes.
MAXIMUM_SIZE = 32 << 20


class _Context:
    """What the C scanner asks of a JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
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
        value = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    return value


def load(path: "str | bytes", source: str) -> "Node":
    """Return the JSON object in the file `path`, which errors call `source`.

    A file that is missing or unreadable raises the OSError of open(2).
    """
    with open(path, "rb") as file:
        data = file.read(MAXIMUM_SIZE + 1)
    if len(data) > MAXIMUM_SIZE:
        raise ConfigError(f"{source}: larger than {MAXIMUM_SIZE >> 20} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: not UTF-8 at byte {error.start}") from None
    return root(parse(text, source), source)


def root(value: "Any", source: str) -> "Node":
    """Return `value` as the top-level object of `source`."""
    if type(value) is not dict:
        raise ConfigError(f"{source}: expected an object, found {_kind(value)}")
    return Node(value, f"{source}: ")


def _kind(value: "Any") -> str:
    shown = "null" if value is None else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


_NAMES = {str: "string", int: "integer", bool: "boolean", dict: "object", list: "array"}


class Node:
    """A JSON object under checks; it knows its own path, so that errors can tell where they are."""

    def __init__(self, properties: "dict[str, Any]", path: str) -> None:
        self.properties = properties
        self.path = path

    def error(self, name: str, reason: str) -> ConfigError:
        """Return the error that says `reason` of the property `name` (of the object itself where that is empty)."""
        return ConfigError(f"{self.path.rstrip('.: ') if not name else self.path + name}: {reason}")

    def has(self, name: str) -> bool:
        return self.properties.get(name) is not None

    def string(self, name: str, default: "Any" = REQUIRED) -> str:
        value: str = self._get(name, str, default)
        self._check_text(name, value)
        return value

    def string_or_none(self, name: str) -> "str | None":
        return self.string(name, default=None)

    def integer(self, name: str, limits: "tuple[int, int]" = INT64, default: "Any" = REQUIRED) -> int:
        value: int = self._get(name, int, default)
        if value is not None and value is not default and not limits[0] <= value <= limits[1]:
            raise self.error(name, f"{value} is not between {limits[0]} and {limits[1]}")
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
        return Node(value, f"{self.path}{name}.")

    def object_or_none(self, name: str) -> "Node | None":
        return self.object(name) if self.has(name) else None

    def objects(self, name: str) -> "list[Node]":
        found = []
        for i, value in enumerate(self._get(name, list, [])):
            if type(value) is not dict:
                raise self.error(f"{name}[{i}]", f"expected object, found {_kind(value)}")
            found.append(Node(value, f"{self.path}{name}[{i}]."))
        return found

    def strings(self, name: str, default: "Any" = ()) -> "list[str]":
        values = self._get(name, list, default)
        for i, value in enumerate(values):
            if type(value) is not str:
                raise self.error(f"{name}[{i}]", f"expected string, found {_kind(value)}")
            self._check_text(f"{name}[{i}]", value)
        return list(values)

    def strings_or_none(self, name: str) -> "list[str] | None":
        return self.strings(name) if self.has(name) else None

    def integers(self, name: str, limits: "tuple[int, int]" = INT64) -> "list[int]":
        values: list[int] = self._get(name, list, [])
        for i, value in enumerate(values):
            if type(value) is not int:
                raise self.error(f"{name}[{i}]", f"expected integer, found {_kind(value)}")
            if not limits[0] <= value <= limits[1]:
                raise self.error(f"{name}[{i}]", f"{value} is not between {limits[0]} and {limits[1]}")
        return values

    def text_map(self, name: str) -> "dict[str, str]":
        """Return an object whose values are strings: annotations, sysctl, unified."""
        values: dict[str, str] = self._get(name, dict, {})
        for key, value in values.items():
            if type(value) is not str:
                raise self.error(f"{name}[{key!r}]", f"expected string, found {_kind(value)}")
            self._check_text(f"{name}[{key!r}]", value)
            self._check_text(f"{name}[{key!r}]", key)
        return values

    def _get(self, name: str, expected: type, default: "Any") -> "Any":
        value = self.properties.get(name)
        if value is None:  # as in Go, null is absence
            if default is REQUIRED:
                raise ConfigError(f"{self.path}{name} is required")
            return default
        if type(value) is not expected:  # not isinstance: True is an int
            raise self.error(name, f"expected {_NAMES[expected]}, found {_kind(value)}")
        return value

    def _check_text(self, name: str, value: "Any") -> None:
        if value is None:
            return
        if "\0" in value:
            raise self.error(name, "contains a NUL byte")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.error(name, "contains a lone surrogate, which is no character") from None
