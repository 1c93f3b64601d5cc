"""Strict JSON with checked access: a value is read by name and type, and the error for a wrong one contains its path.

The rules are those of Go's encoding/json, which runc, docker and the registries use: null counts as absent, unknown
properties are ignored, and a name may differ in case if there is no exact match. We are stricter than Python: true is
not an integer, NaN is not a number, and a string may not contain a NUL or a lone surrogate, because neither can be
passed to a system call.
"""

from _json import make_scanner  # only the C scanner: `import json` costs 3 to 4 ms, nearly all of it for `re`

from foundation.errors import Error
from foundation.linux import whole_file

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from typing_extensions import Self

REQUIRED = object()
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT64 = (0, (1 << 64) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT16 = (0, (1 << 16) - 1)
SIZE = (0, INT64[1])  # bytes of a file

# No property has more than 20 digits. Before CPython 3.9.14 int() takes hours for a number that fills a file.
_MAXIMUM_DIGITS = 100
_BLANK = " \t\n\r"


def _integer(digits: str) -> int:
    if len(digits) > _MAXIMUM_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _unique(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    properties = dict(pairs)
    if len(properties) != len(pairs):
        raise ValueError("the same name twice in one object")
    return properties


def _refuse(constant: str) -> "Any":
    raise ValueError(f"{constant} is not a number")


class _Rules:
    """The attributes of a JSONDecoder that the C scanner uses."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_refuse)

    def __init__(self, unique: bool) -> None:
        self.object_pairs_hook = _unique if unique else None
        self.memo: dict[str, str] = {}


_scanners = [make_scanner(_Rules(unique)) for unique in (False, True)]  # type: ignore[arg-type]


class Node:
    """A JSON object with checked access. It knows its path, so that errors can say where they are.

    All methods that return a value raise `raises` if it is missing without a default, or of another type.
    """

    raises: "type[Error]" = Error
    unique = False  # whether the same name twice in an object is an error, or the last one wins, as in Go
    maximum = 32 << 20  # bytes of a file; runc and crun read files of any size, a usual config.json has tens of kB

    def __init__(self, properties: "dict[str, Any]", path: str) -> None:
        self.properties = properties
        self.path = path
        self._names: dict[str, str] | None = None

    # From text to objects. Errors call it `source`.

    @classmethod
    def load(cls, path: "str | bytes | int", source: str) -> "Self":
        """Return the JSON object in the file `path`, or a descriptor, which stays open.

        A file that is missing or unreadable raises the OSError of open(2).
        """
        return cls.decode(cls.read(path, source), source)

    @classmethod
    def read(cls, path: "str | bytes | int", source: str) -> bytes:
        """Return the content of a file or descriptor; raise an error if it is larger than `maximum`."""
        if isinstance(path, int):
            data = whole_file.read_all(path, source, cls.maximum)
        else:
            data = whole_file.read(path, cls.maximum)
        if len(data) > cls.maximum:
            raise cls.raises(f"{source}: larger than {cls.maximum >> 20} MiB")
        return data

    @classmethod
    def decode(cls, data: bytes, source: str) -> "Self":
        """Return the JSON object in `data`."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise cls.raises(f"{source}: not UTF-8 at byte {error.start}") from None
        return cls.root(cls.parse(text, source), source)

    @classmethod
    def root(cls, value: "Any", source: str) -> "Self":
        """Return `value` as the top-level object of `source`."""
        if type(value) is not dict:
            raise cls.raises(f"{source}: expected an object, found {shown(value)}")
        return cls(value, f"{source}: ")

    @classmethod
    def parse(cls, text: str, source: str) -> "Any":
        """Return the value of the JSON document `text`."""
        try:
            value, end = _scanners[cls.unique](text, len(text) - len(text.lstrip(_BLANK)))
            if not text[end:].strip(_BLANK):
                return value
        except RecursionError:
            raise cls.raises(f"{source}: nested too deeply") from None
        except (StopIteration, SystemError, TypeError, ValueError):
            pass  # the C scanner does not say what is wrong (in 3.11 a syntax error is a SystemError), but json does
        return cls._explain(text, source)

    @classmethod
    def _explain(cls, text: str, source: str) -> "Any":
        import json  # imported here because only the error message needs it

        hook = _unique if cls.unique else None
        try:
            return json.loads(text, object_pairs_hook=hook, parse_int=_integer, parse_constant=_refuse)
        except RecursionError:
            raise cls.raises(f"{source}: nested too deeply") from None
        except ValueError as error:
            raise cls.raises(f"{source}: not JSON: {error}") from None

    # Errors.

    def error(self, name: str, reason: str) -> Error:
        """Return the error with `reason` about the property `name`, or about the object itself if that is ""."""
        return self.raises(f"{self.path.rstrip('.: ') if not name else self.path + name}: {reason}")

    def missing(self, name: str) -> Error:
        """Return the error that the property `name` is required."""
        return self.raises(f"{self.path}{name} is required")

    def _shown(self, value: "Any") -> str:
        """Return what an error says of a wrong value."""
        return shown(value)

    # Properties.

    def has(self, name: str) -> bool:
        """Return whether the property is set; null counts as absent."""
        return self.properties.get(name) is not None or self._in_another_case(name) is not None

    def string(self, name: str, default: "Any" = REQUIRED) -> str:
        """Return a string, which contains no NUL and can be encoded in UTF-8."""
        value: str = self._get(name, str, default)
        if value and not (value.isascii() and "\0" not in value):
            self._check_text(name, value)
        return value

    def integer(self, name: str, limits: "tuple[int, int]" = INT64, default: "Any" = REQUIRED) -> int:
        """Return an integer between the two `limits`, inclusive."""
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

    def object(self, name: str, default: "Any" = REQUIRED) -> "Self":
        """Return the object `name`; an empty one if it is absent and `default` is {}."""
        value = self._get(name, dict, default)
        return self._child(value, f"{self.path}{name}.")

    def object_or_none(self, name: str) -> "Self | None":
        return self.object(name) if self.has(name) else None

    def objects(self, name: str) -> "list[Self]":
        """Return an array of objects, [] if it is absent."""
        found = []
        for i, value in enumerate(self._get(name, list, [])):
            if type(value) is not dict:
                raise self.error(f"{name}[{i}]", f"expected object, found {self._shown(value)}")
            found.append(self._child(value, f"{self.path}{name}[{i}]."))
        return found

    def entries(self) -> "dict[str, Self]":
        """Return all properties, whose names are free and whose values must be objects."""
        found = {}
        for key, value in self.properties.items():
            path = f"{self.path[:-1]}[{shown(key)}]"
            if flaw := flaw_of(key):
                raise self.raises(f"{path}: {flaw}")
            if type(value) is not dict:
                raise self.raises(f"{path}: expected object, found {self._shown(value)}")
            found[key] = self._child(value, path + ".")
        return found

    def strings(self, name: str, default: "Any" = ()) -> "list[str]":
        """Return an array of strings, each checked as in string(); [] if it is absent."""
        values = self._get(name, list, default)
        if not _are_plain(values):
            for i, value in enumerate(values):
                self._check_string(f"{name}[{i}]", value)
        return list(values)

    def strings_or_none(self, name: str) -> "list[str] | None":
        return self.strings(name) if self.has(name) else None

    def integers(self, name: str, limits: "tuple[int, int]" = INT64) -> "list[int]":
        """Return an array of integers between the two `limits`, [] if it is absent."""
        values: list[int] = self._get(name, list, [])
        for i, value in enumerate(values):
            if type(value) is not int:
                raise self.error(f"{name}[{i}]", f"expected integer, found {self._shown(value)}")
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

    def _child(self, properties: "dict[str, Any]", path: str) -> "Self":
        return type(self)(properties, path)

    def _get(self, name: str, expected: type, default: "Any") -> "Any":
        value = self.properties.get(name)
        if value is None:
            value = self._in_another_case(name)
        if value is None:  # as in Go, null counts as absent
            if default is REQUIRED:
                raise self.missing(name)
            return default
        if type(value) is not expected:  # not isinstance: True is an int
            raise self.error(name, f"expected {_NAMES[expected]}, found {self._shown(value)}")
        return value

    def _in_another_case(self, name: str) -> "Any":
        """Return the value of a property whose name differs from `name` only in case, None if there is none.

        The property is renamed, so that code that reads `properties` directly does not have to handle case.
        """
        if self._names is None:
            self._names = {key.lower(): key for key in self.properties}
        given = self._names.get(name.lower())
        if given is None or given == name:
            return None
        value = self.properties[name] = self.properties.pop(given)
        self._names[name.lower()] = name
        return value

    def _check_string(self, name: str, value: "Any") -> None:
        if type(value) is not str:
            raise self.error(name, f"expected string, found {self._shown(value)}")
        self._check_text(name, value)

    def _check_text(self, name: str, value: str) -> None:
        flaw = flaw_of(value)
        if flaw:
            raise self.error(name, flaw)


def flaw_of(value: str) -> str:
    """Return why `value` cannot be passed to a system call, or ""."""
    if "\0" in value:
        return "contains a NUL byte"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "contains a lone surrogate, which is not a character"
    return ""


_NAMES = {str: "string", int: "integer", bool: "boolean", dict: "object", list: "array"}


def shown(value: "Any") -> str:
    """Return `value` for an error message: on one line, and at most 60 characters."""
    if type(value) in (dict, list):
        return f"an {_NAMES[type(value)]}"  # repr() of a deeply nested value could exceed the recursion limit
    text = "null" if value is None else repr(value[:60] if type(value) is str else value)
    return text if len(text) <= 60 else text[:57] + "..."


def kind_of(value: "Any") -> str:
    """Return the type of `value` for an error message that must not contain a secret."""
    return _NAMES.get(type(value), "null" if value is None else "number")


def _are_plain(values: "Iterable[Any]") -> bool:
    """Fast path: return whether all `values` are ASCII strings without NUL, checked with one join."""
    try:
        text = "".join(values)
    except TypeError:
        return False
    return text.isascii() and "\0" not in text
