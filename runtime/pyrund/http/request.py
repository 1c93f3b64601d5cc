"""Requests: the request line, headers, the query, and the body as JSON."""

import base64
import json

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEWEST, OLDEST = (1, 51), (1, 24)

_LONGEST_NUMBER = 20  # digits of 64 bits, with a sign
_FALSE = ("", "0", "no", "false", "none")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CONTROLS = frozenset(map(chr, (*range(9), *range(10, 32), 127)))


class BadRequest(ApiError):
    """The bytes are not HTTP, so nothing that follows them on the connection can be trusted."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(status, message)


class Request:
    """A request. `path` has no version prefix and is decoded, as are the values of `query`.

    version      the API's version that the client wants, as (major, minor)
    values       what the router has found in the path in place of {}
    body         the body as bytes
    """

    def __init__(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        try:
            self.method, target, protocol = lines[0].decode("ascii").split(" ")
        except ValueError:
            raise BadRequest("malformed HTTP request") from None
        if protocol not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequest("HTTP version not supported", 505)
        self.headers = _headers(lines[1:])
        self.is_old = protocol == "HTTP/1.0"
        path, _, query = target.partition("?")
        self.query_text = query
        self.query = parse_query(query)
        self.prefix, self.path = _split_version(unquote(path))
        self.version = NEWEST
        self.values: list[str] = []
        self.body = b""

    def check_version(self) -> None:
        """Take the version from the path's prefix; raise ApiError if it is not supported."""
        if not self.prefix:
            return
        major, _, minor = self.prefix[2:].partition(".")
        self.version = int(major), int(minor)
        if self.version > NEWEST:
            newest = shown(NEWEST)
            raise ApiError(
                400, f"client version {self.prefix[2:]} is too new. Maximum supported API version is {newest}"
            )
        if self.version < OLDEST:
            raise ApiError(
                400,
                f"client version {self.prefix[2:]} is too old. Minimum supported API version is {shown(OLDEST)}, "
                "please upgrade your client to a newer version",
            )

    @property
    def upgrades(self) -> bool:
        """Whether the client wants 101 and bytes both ways instead of a response."""
        return "upgrade" in self.headers.get("connection", "").lower() and "upgrade" in self.headers

    @property
    def keeps_connection(self) -> bool:
        wanted = self.headers.get("connection", "").lower()
        return "keep-alive" in wanted if self.is_old else "close" not in wanted

    def flag(self, name: str) -> bool:
        """Return a boolean of the query as docker reads it: anything but a word for no."""
        return self.query.get(name, "").strip().lower() not in _FALSE

    def values_of(self, name: str) -> "list[str]":
        """Return all values of the query's `name`, which may occur several times."""
        found = (parse_query(item) for item in self.query_text.split("&"))
        return [one[name] for one in found if name in one]

    def number(self, name: str, default: int) -> int:
        text = self.query.get(name, "")
        if not text:
            return default
        digits = text[1:] if text[0] in "+-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise ApiError(400, f'strconv.Atoi: parsing "{text[:80]}": invalid syntax')
        return int(text)

    def json(self) -> "dict[str, Any]":
        """Return the body as an object; an empty body is {}. Raises ApiError."""
        if not self.body.strip():
            return {}
        try:
            found = parse_json(self.body.decode("utf-8", "replace"))
        except ValueError as error:
            raise ApiError(400, f"invalid JSON: {error}") from None
        if not isinstance(found, dict):
            raise ApiError(400, "invalid JSON: expected an object")
        return found

    def moment(self, name: str) -> "int | None":
        """Return the time that the query has in seconds since the epoch, in nanoseconds; None if it has none."""
        text = self.query.get(name, "")
        whole, _, fraction = text.partition(".")
        if not text:
            return None
        if not (whole + fraction).isdigit() or not text.isascii() or len(whole) > 11:
            raise ApiError(400, f'invalid value for "{name}": failed to parse value as time or duration: "{text[:80]}"')
        return int(whole or 0) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))

    def filters(self, known: "frozenset[str] | None" = None) -> "dict[str, list[str]]":
        """Return the filters as {name: values}, from either of docker's forms: {"a": ["b"]} and {"a": {"b": true}}.

        Raises ApiError for one that is not among the `known`.
        """
        text = self.query.get("filters", "")
        if not text:
            return {}
        try:
            filters = {key: [str(one) for one in values] for key, values in parse_json(text).items()}
        except (ValueError, AttributeError, TypeError):
            raise ApiError(400, f"invalid filter '{text[:80]}'") from None
        for key in filters:
            if known is not None and key not in known:
                raise ApiError(400, f"invalid filter '{key}'")
        return filters


def shown(version: "tuple[int, int]") -> str:
    return f"{version[0]}.{version[1]}"


def parse_query(text: str) -> "dict[str, str]":
    """Return the query; of a name that occurs twice, the first value, as Go's url.Values.Get() does."""
    query: dict[str, str] = {}
    for item in text.split("&"):
        name, _, value = item.partition("=")
        if name:
            query.setdefault(unquote(name.replace("+", " ")), unquote(value.replace("+", " ")))
    return query


def parse_json(text: str) -> "Any":
    """Return a value of JSON. Raises ValueError.

    As for Go, a number is one of 64 bits, and half of a pair of surrogates is U+FFFD: no file, no program and no client
    could take it.
    """
    try:
        found = json.loads(text, parse_int=_integer, parse_constant=_refuse_constant)
        if "\\ud" in text.lower():
            whole = json.dumps(found, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            found = json.loads(whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def decode_header(text: str) -> "dict[str, Any]":
    """Return the JSON object that a header has in base64url. Raises ValueError."""
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    found = parse_json(data.decode("utf-8", "replace"))
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER or not -(1 << 63) <= int(digits) < 1 << 63:
        raise ValueError(f"{digits[:80]} is not a number of 64 bits")
    return int(digits)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def unquote(text: str) -> str:
    """Decode %XX. Raises BadRequest if that is not hexadecimal, or not UTF-8."""
    first, *others = text.split("%")
    data = first.encode()
    try:
        for one in others:
            if len(one) < 2 or not _HEXADECIMAL.issuperset(one[:2]):
                raise ValueError  # bytes.fromhex() would skip spaces
            data += bytes.fromhex(one[:2]) + one[2:].encode()
        return data.decode()
    except ValueError:
        raise BadRequest(f'invalid URL escape in "{text[:80]}"') from None


def _headers(lines: "list[bytes]") -> "dict[str, str]":
    """Return the headers with names in lower case. Of those that say where the body ends, there may be only one."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or not _TOKEN.issuperset(name):
            raise BadRequest("malformed HTTP header")
        name, value = name.lower(), value.strip(" \t")
        if not _CONTROLS.isdisjoint(value):
            raise BadRequest("malformed HTTP header")  # a proxy may take a line feed alone for the end of the line
        if name in headers and name in ("content-length", "transfer-encoding", "host"):
            raise BadRequest(f"more than one {name} header")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _split_version(path: str) -> "tuple[str, str]":
    """Return ("/v1.41", "/info") of "/v1.41/info", or ("", path)."""
    prefix, slash, rest = path[1:].partition("/")
    major, dot, minor = prefix[1:].partition(".")
    numbers = major + minor
    if prefix[:1] == "v" and dot and major and minor and numbers.isascii() and numbers.isdigit() and len(numbers) < 9:
        return f"/{prefix}", f"/{rest}" if slash else "/"
    return "", path
