"""Parses the part of TOML that registries.conf and hosts.toml use (tomllib comes with Python 3.11 only).

It has tables, arrays of tables, and keys whose values are strings, integers, booleans, arrays or inline tables: no
dates, floats or multi-line strings. Anything else is an error that names the line. Values are read by name and type,
like those of JSON.
"""

import re

from pyfetch.errors import UsageError
from pyfetch.image.document import Configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LITERAL = re.compile(r"'([^'\n]*)'")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}(?![0-9.:eE_-])")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "b": "\b", "f": "\f"}


def parse_toml(data: bytes, source: str) -> Configuration:
    """Return the tables in `data` of the file `source`; raise UsageError with the line."""
    try:
        return Configuration(_Parser(data.decode("utf-8"), source).document(), f"{source}: ")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{source}: line {line}: not UTF-8") from None
    except RecursionError:
        raise UsageError(f"{source}: nested too deeply") from None


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._at = 0

    def document(self) -> "dict[str, Any]":
        root: dict[str, Any] = {}
        table = root
        self._match(_SPACE)
        while self._at < len(self._text):
            if self._take("[["):
                table = self._array_table(root, self._keys())
                self._expect("]]")
            elif self._take("["):
                table = self._table(root, self._keys())
                self._expect("]")
            else:
                self._assignment(table)
            if self._match(_LINE_END) is None:
                raise self._wrong("something after the value")
            self._match(_SPACE)
        return root

    def _assignment(self, table: "dict[str, Any]") -> None:
        *path, name = self._keys()
        self._expect("=")
        table = self._table(table, path)
        if name in table:
            raise self._wrong(f"{name} twice")
        table[name] = self._value()

    def _keys(self) -> "list[str]":
        keys = [self._key()]
        while self._take("."):
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._match(_BLANK)
        bare = self._match(_KEY)
        key = bare[0] if bare else self._string()
        self._match(_BLANK)
        if key is None:
            raise self._wrong("expected a key")
        return key

    def _string(self) -> "str | None":
        literal = self._match(_LITERAL)
        if literal:
            return literal[1]
        basic = self._match(_BASIC)
        return re.sub(r"\\(.)", self._unescape, basic[1]) if basic else None

    def _unescape(self, match: "re.Match[str]") -> str:
        if match[1] not in _ESCAPES:
            raise self._wrong(f"unknown escape {match[0]}")
        return _ESCAPES[match[1]]

    def _value(self) -> "Any":
        self._match(_BLANK)
        string = self._string()
        if string is not None:
            return string
        for word, value in (("true", True), ("false", False)):
            if self._take(word):
                return value
        integer = self._match(_INTEGER)
        if integer:
            return int(integer[0])
        if self._take("["):
            return self._array()
        if self._take("{"):
            return self._inline_table()
        raise self._wrong("a value of a kind that is not supported here")

    def _array(self) -> "list[Any]":
        values: list[Any] = []
        while True:
            self._match(_SPACE)
            if self._take("]"):
                return values
            values.append(self._value())
            self._match(_SPACE)
            if not self._take(","):
                self._expect("]")
                return values

    def _inline_table(self) -> "dict[str, Any]":
        table: dict[str, Any] = {}
        self._match(_BLANK)
        while not self._take("}"):
            self._assignment(table)
            self._match(_BLANK)
            if not self._take(","):
                self._expect("}")
                break
        return table

    def _table(self, table: "dict[str, Any]", path: "list[str]") -> "dict[str, Any]":
        for key in path:
            inner = table.setdefault(key, {})
            inner = inner[-1] if isinstance(inner, list) and inner else inner
            if not isinstance(inner, dict):
                raise self._wrong(f"{key} is not a table")
            table = inner
        return table

    def _array_table(self, root: "dict[str, Any]", path: "list[str]") -> "dict[str, Any]":
        tables = self._table(root, path[:-1]).setdefault(path[-1], [])
        if not isinstance(tables, list):
            raise self._wrong(f"{path[-1]} is not an array of tables")
        tables.append({})
        return tables[-1]  # type: ignore[no-any-return]

    def _match(self, pattern: "re.Pattern[str]") -> "re.Match[str] | None":
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _take(self, word: str) -> bool:
        found = self._text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._wrong(f"expected {word}")

    def _wrong(self, why: str) -> UsageError:
        line = self._text.count("\n", 0, self._at) + 1
        return UsageError(f"{self._source}: line {line}: {why}")
