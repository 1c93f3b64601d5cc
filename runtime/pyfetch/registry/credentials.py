"""Finds credentials where docker and podman keep them, in podman's order.

Sources: containers-auth.json(5); docker's config.json and its credential helpers' protocol. If a file names a helper
for a registry, only the helper is asked, and its failure is an error (CVE-2021-41092).
"""

import base64
import re
import select
import time

from foundation.errors import one_line
from foundation.linux import os
from pyfetch.errors import AuthError, UsageError
from pyfetch.image.document import Document, read_configuration
from pyfetch.image.reference import DOCKER_HUB, HUB_ALIASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_SECONDS = 60
_MAXIMUM_SIZE = 4 << 20
_NOT_FOUND = "credentials not found in native keychain"


class Credentials:
    """`token` is an identity token (a refresh token), or ""; with one, the password is not used."""

    def __init__(self, username: str, password: str, token: str = "", registry_token: str = "") -> None:
        for value in (username, password, token, registry_token):
            if any(c in value for c in "\0\r\n"):
                raise AuthError("credentials with a line break or a NUL in them cannot be sent")
        if not registry_token.isascii():
            raise AuthError("a registry token that is not ASCII cannot be sent")
        self.username = username
        self.password = password
        self.token = token
        self.registry_token = registry_token

    def basic(self) -> str:
        """Return the value of a header Authorization: Basic."""
        # A password may be any bytes.
        login = f"{self.username}:{self.password}".encode("utf-8", "surrogateescape")
        return f"Basic {base64.b64encode(login).decode()}"


def find_credentials(host: str, repository: str, authfile: str) -> "Credentials | None":
    """Return the credentials in the first file that has some for `host`; with `authfile`, only that file is read."""
    config = os.environment.get("DOCKER_AUTH_CONFIG")
    if config and not authfile:
        found = _in_document(_parse(os.fsencode(config), "DOCKER_AUTH_CONFIG"), host, repository)
        if found is not None:
            return found
    for path in [authfile] if authfile else _default_files():
        data = read_configuration(path)
        if data is None and authfile:
            raise UsageError(f"{path}: no such file")
        found = _in_document(_parse(data or b"", path), host, repository)
        if found is not None:
            return found
    return None


def _default_files() -> "list[str]":
    home = os.home()
    config = os.environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    runtime = os.environment.get("XDG_RUNTIME_DIR")
    if os.environment.get("REGISTRY_AUTH_FILE"):
        return [os.environment["REGISTRY_AUTH_FILE"]]
    return [
        os.path.join(runtime, "containers/auth.json") if runtime else f"/run/containers/{os.getuid()}/auth.json",
        os.path.join(config, "containers/auth.json"),
        os.path.join(os.environment.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json"),
    ]


def _parse(data: bytes, source: str) -> Document:
    return Document.decode(data, source) if data.strip() else Document({}, source)  # as docker, ignore an empty file


def _in_document(document: Document, host: str, repository: str) -> "Credentials | None":
    server = _HUB_KEY if host == DOCKER_HUB else host
    for key in _spellings(document.keys("credHelpers"), host):
        helper = document.object("credHelpers").string(key)
        if helper:
            return _ask_helper(helper, server)
    store = document.string("credsStore")
    found = _in_auths(document, host, repository)
    if found is None and store:
        return _ask_helper(store, server)
    return found


def _in_auths(document: Document, host: str, repository: str) -> "Credentials | None":
    """Return the entry with the longest key that host/repository begins with (containers-auth.json(5))."""
    auths = document.object("auths")
    place = f"{host}/{repository}"
    while place:
        for key in _spellings(document.keys("auths"), place):
            found = _decode(auths.object(key))
            if found is not None:
                return found
        place = place.rpartition("/")[0]
    return None


def _spellings(keys: "list[str]", place: str) -> "list[str]":
    """Return those of `keys` that mean `place`, an exact match first."""
    return sorted((key for key in keys if _normal(key) == place), key=lambda key: key != place)


def _normal(key: str) -> str:
    key = key.partition("://")[2] or key
    for version in ("/v1/", "/v2/", "/v1", "/v2"):
        key = key.removesuffix(version)
    host, slash, path = key.rstrip("/").partition("/")
    return (DOCKER_HUB if host in HUB_ALIASES else host) + slash + path


def _decode(entry: Document) -> "Credentials | None":
    token, registry_token = entry.string("identitytoken"), entry.string("registrytoken")
    username, password = entry.string("username"), entry.string("password")
    if entry.string("auth"):
        try:
            # docker pads with NULs.
            text = base64.b64decode(entry.string("auth"), validate=True).decode("utf-8", "surrogateescape").rstrip("\0")
        except ValueError:
            raise entry.error("auth", "not base64 of user:password") from None
        username, colon, password = text.partition(":")
        if not colon:
            raise entry.error("auth", "not base64 of user:password")
    if not (username or token or registry_token):
        return None
    return Credentials(username, password, token, registry_token)


def _ask_helper(name: str, key: str) -> "Credentials | None":
    """Run `docker-credential-NAME get` with the user's environment: the helper needs his session."""
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
        text = one_line(output.decode("utf-8", "replace"), 300)
        if _NOT_FOUND in text:
            return None
        raise AuthError(f"error getting credentials - {program}: {text or 'failed'}")
    document = Document.decode(output, program)
    username, secret = document.string("Username"), document.string("Secret")
    return Credentials("", "", secret) if username == "<token>" else Credentials(username, secret)


def _talk(process: "Popen[bytes]", program: str, request: bytes) -> bytes:
    """Send the request and return the answer; kill a helper that takes too long or writes too much."""
    assert process.stdin is not None and process.stdout is not None
    output = bytearray()
    deadline = time.monotonic() + _HELPER_SECONDS
    try:
        try:
            process.stdin.write(request)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has answered without reading the request
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
