"""Credentials: where docker and podman keep them, in podman's order.

Sources: containers-auth.json(5); docker's config.json and its credential helpers' protocol. A file that names a helper
for a registry decides: if the helper fails, that is an error, and no other store or registry is asked (CVE-2021-41092).
"""

import base64
import binascii
import os
import re

from pyfetch.document import Document, parse
from pyfetch.errors import AuthError, UsageError, printable
from pyfetch.reference import DOCKER_HUB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_SECONDS = 60
_MAXIMUM_SIZE = 4 << 20
_NOT_FOUND = "credentials not found in native keychain"


class Credentials:
    """`token` is an identity token (a refresh token) where there is one; then the password says nothing."""

    def __init__(self, username: str, password: str, token: str = "", registry_token: str = "") -> None:
        for value in (username, password, token, registry_token):
            if any(c in value for c in "\0\r\n"):
                raise AuthError("credentials with a line break or a NUL in them cannot be sent")
        self.username = username
        self.password = password
        self.token = token
        self.registry_token = registry_token

    def basic(self) -> str:
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


def find_credentials(host: str, repository: str, authfile: str) -> "Credentials | None":
    """Return what the first file that knows `host` says; with `authfile`, only that one is read."""
    if not authfile and os.environ.get("DOCKER_AUTH_CONFIG"):
        document = parse(os.environ["DOCKER_AUTH_CONFIG"].encode(), "DOCKER_AUTH_CONFIG")
        found = _in_document(document, host, repository)
        if found is not None:
            return found
    for path in [authfile] if authfile else _default_files():
        document = _read(path, required=bool(authfile))
        found = _in_document(document, host, repository)
        if found is not None:
            return found
    return None


def _default_files() -> "list[str]":
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.environ.get("REGISTRY_AUTH_FILE"):
        return [os.environ["REGISTRY_AUTH_FILE"]]
    return [
        os.path.join(runtime, "containers/auth.json") if runtime else f"/run/containers/{os.getuid()}/auth.json",
        os.path.join(config, "containers/auth.json"),
        os.path.join(os.environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json"),
    ]


def _read(path: str, required: bool) -> Document:
    try:
        with open(path, "rb") as file:
            return parse(file.read(_MAXIMUM_SIZE), path)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError(f"{path}: no such file") from None
        return Document({}, path)


def _in_document(document: Document, host: str, repository: str) -> "Credentials | None":
    helper = document.object("credHelpers").string(host)
    if helper:
        return _ask_helper(helper, _HUB_KEY if host == DOCKER_HUB else host)
    store = document.string("credsStore")
    found = _in_auths(document.object("auths"), host, repository)
    if found is None and store:
        return _ask_helper(store, _HUB_KEY if host == DOCKER_HUB else host)
    return found


def _in_auths(auths: Document, host: str, repository: str) -> "Credentials | None":
    """Return the entry with the longest key that host/repository begins with (containers-auth.json(5))."""
    entries = {_normal(key): auths.object(key) for key in auths.properties}
    key = f"{host}/{repository}"
    while key:
        if key in entries:
            found = _decode(entries[key])
            if found is not None:
                return found
        key = key.rpartition("/")[0]
    return None


def _normal(key: str) -> str:
    key = key.partition("://")[2] or key
    for version in ("/v1/", "/v2/", "/v1", "/v2"):
        key = key[: -len(version)] if key.endswith(version) else key
    key = key.rstrip("/")
    return DOCKER_HUB if key in ("index.docker.io", "registry-1.docker.io") else key


def _decode(entry: Document) -> "Credentials | None":
    token, registry_token = entry.string("identitytoken"), entry.string("registrytoken")
    username, password = entry.string("username"), entry.string("password")
    if entry.string("auth"):
        try:
            # docker pads with NULs.
            text = base64.b64decode(entry.string("auth"), validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise entry.wrong("auth", "not base64 of user:password") from None
        username, colon, password = text.partition(":")
        if not colon:
            raise entry.wrong("auth", "not base64 of user:password")
    if not (username or token or registry_token):
        return None
    return Credentials(username, password, token, registry_token)


def _ask_helper(name: str, key: str) -> "Credentials | None":
    """Run `docker-credential-NAME get`, with the user's environment: it talks to his session."""
    import subprocess

    if not _HELPER_NAME.fullmatch(name):
        raise AuthError(f"credential helper {name!r}: not the name of a program")
    program = f"docker-credential-{name}"
    try:
        with subprocess.Popen(
            [program, "get"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            output = _talk(process, program, key.encode())
    except OSError as error:
        raise AuthError(f"{program}: {error.strerror}: no credentials for {key}") from error
    except subprocess.TimeoutExpired:
        raise AuthError(f"{program}: no answer within {_HELPER_SECONDS} seconds") from None
    if process.returncode != 0:
        # The protocol puts the error on standard output.
        text = printable(output.decode("utf-8", "replace"), 300)
        if _NOT_FOUND in text:
            return None
        raise AuthError(f"error getting credentials - {program}: {text or 'failed'}")
    document = parse(output, program)
    username, secret = document.string("Username"), document.string("Secret")
    return Credentials("", "", secret) if username == "<token>" else Credentials(username, secret)


def _talk(process: "Popen[bytes]", program: str, request: bytes) -> bytes:
    """Send the request and return the answer, limited in size and time: a helper that runs away is killed."""
    import select
    import time

    assert process.stdin is not None and process.stdout is not None
    output = bytearray()
    deadline = time.monotonic() + _HELPER_SECONDS
    try:
        try:
            process.stdin.write(request)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has answered without reading what is asked
        while len(output) < _MAXIMUM_SIZE:
            ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                break
            piece = os.read(process.stdout.fileno(), 64 << 10)
            if not piece:
                process.wait(max(0.1, deadline - time.monotonic()))
                return bytes(output)
            output += piece
        raise AuthError(f"{program}: gives too much, or nothing for {_HELPER_SECONDS} seconds")
    finally:
        process.kill()
