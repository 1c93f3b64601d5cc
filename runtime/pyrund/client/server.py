"""The daemon as its client sees it: requests of the API, errors in its words, the version that both speak."""

import json

from pyrund.client.connection import Answer, Connection, Lost, parsed
from pyrund.errors import ApiError, Refused
from pyrund.http.request import NEWEST, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterable
    from typing import Any

    from pyrund.client.address import Address

    Query = dict[str, Any]

_NOBODY = (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError, Lost)  # no daemon
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class Server:
    """The daemon at `address`, to which the first request connects; `begin` starts one if none listens there."""

    def __init__(self, address: "Address", begin: "Callable[[], None] | None" = None) -> None:
        self.address = address
        self._begin = begin
        self._kept: Connection | None = None
        self._prefix = ""
        self.version = (0, 0)

    # Requests.

    def call(self, method: str, path: str, query: "Query | None" = None, body: "Any" = None) -> "Any":
        """Return the JSON of the answer, None if it has none. Raises ApiError with the daemon's own sentence."""
        answer = self.ask(method, path, query, body)
        text = answer.body()
        return parsed(text) if text.strip() else None

    def ask(
        self,
        method: str,
        path: str,
        query: "Query | None" = None,
        body: "Any" = None,
        headers: "dict[str, str] | None" = None,
    ) -> Answer:
        """Return the answer, whose body is still to be read. Raises ApiError."""
        return self.answer(self.request(method, path, query, body, headers))

    def request(
        self,
        method: str,
        path: str,
        query: "Query | None" = None,
        body: "Any" = None,
        headers: "dict[str, str] | None" = None,
    ) -> Connection:
        """Return the connection on which the request was sent; several may be under way."""
        connection = self._connection()
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.send(method, self._target(path, query), content, headers or {})
        except OSError as error:
            raise self._failed(error) from None
        return connection

    def send(self, method: str, path: str, query: "Query", chunks: "Iterable[bytes]") -> None:
        """Send a body of unknown length. Raises ApiError."""
        connection = self._connection()
        try:
            connection.send_chunks(method, self._target(path, query), chunks)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon does not want the rest, and has said why
        self.answer(connection).body()

    def answer(self, connection: Connection) -> Answer:
        """Return the answer to what was sent. Raises ApiError."""
        try:
            answer = connection.answer()
        except OSError as error:
            raise self._failed(error) from None
        if answer.status >= 400:
            raise ApiError(answer.status, _message(answer))
        return answer

    def _target(self, path: str, query: "Query | None") -> str:
        return f"{self._prefix}{path}{_query(query or {})}"

    def _failed(self, error: OSError) -> Refused:
        return Refused(f"error during connect: {self.address.text}: {error.strerror or error}")

    def hijack(self, path: str, query: "Query | None" = None, body: "Any" = None) -> Connection:
        """Return a connection that has become a stream of bytes. Raises ApiError."""
        answer = self.ask("POST", path, query, body, {"Connection": "Upgrade", "Upgrade": "tcp"})
        return answer.connection

    def check_version(self, option: str, least: "tuple[int, int]") -> None:
        """Raise Refused if the daemon's API is older than the option: it would be ignored."""
        if not self._prefix:
            self._negotiate()
        if self.version < least:
            raise Refused(
                f'"--{option}" requires API version {shown(least)}, but the Docker daemon API version is '
                f"{shown(self.version)}"
            )

    # The connection.

    def connect(self) -> "socket":
        """Return a connection for others. Raises Refused."""
        self._first().close()
        return self.address.connect()

    def _connection(self) -> Connection:
        if not self._prefix:
            self._negotiate()
        if self._kept and self._kept.is_free:
            return self._kept
        self._kept = Connection(self.address.connect())
        return self._kept

    def _negotiate(self) -> None:
        """Connect, and take the newest version of the API that both sides know."""
        self._kept = self._first()
        answer = self._kept.answer()
        answer.body()
        newest = _version(answer.headers.get("api-version", ""))
        self.version = min(NEWEST, newest or (1, 24))
        self._prefix = f"/v{shown(self.version)}"

    def _first(self) -> Connection:
        """Return a connection on which a ping was sent. Raises Refused if no daemon listens and none can be started."""
        try:
            return self._ping()
        except PermissionError:
            raise Refused(
                f"permission denied while trying to connect to the Docker daemon socket at {self.address.text}"
            ) from None
        except _NOBODY:
            begin = self._begin
            if begin is None:
                raise Refused(
                    f"Cannot connect to the Docker daemon at {self.address.text}. Is the docker daemon running?"
                ) from None
        except OSError as error:
            raise self._failed(error) from None
        begin()
        return self._ping()

    def _ping(self) -> Connection:
        connection = Connection(self.address.connect())
        connection.send("GET", "/_ping", None, {})
        connection.ahead = connection.some()
        if not connection.ahead:
            raise Lost("the daemon ends")
        return connection


def quoted(text: str) -> str:
    """Return `text` for a path or a query."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def flags(**given: object) -> "Query":
    """Return a query of those that are given: 1 for True."""
    return {name: 1 if value is True else value for name, value in given.items() if value not in (None, False, "")}


def filters(given: "list[str]") -> "Query":
    """Return the query of --filter NAME=VALUE. Raises Refused."""
    found: dict[str, dict[str, bool]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise Refused(f'invalid argument "{text}" for "-f, --filter" flag: expected NAME=VALUE', 125)
        found.setdefault(name.strip().lower(), {})[value.strip()] = True
    return {"filters": json.dumps(found)} if found else {}


def _query(query: "Query") -> str:
    text = "&".join(f"{quoted(name)}={quoted(str(value))}" for name, value in query.items())
    return f"?{text}" if text else ""


def _message(answer: Answer) -> str:
    text = answer.body().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip() or f"status {answer.status}"


def _version(text: str) -> "tuple[int, int] | None":
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
