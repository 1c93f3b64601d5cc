"""Finds credentials where docker and podman keep them, in podman's order.

Sources: containers-auth.json(5); docker's config.json and its credential helpers' protocol. If a file names a helper
for a registry, only the helper is asked, and its failure is an error (CVE-2021-41092).
"""

import base64

from foundation.linux import os
from pyfetch.errors import AuthError, UsageError
from pyfetch.image.document import Document, read_configuration
from pyfetch.image.reference import DOCKER_HUB, HUB_ALIASES
from pyfetch.registry.credential_helper import Helper

_HUB_KEY = "https://index.docker.io/v1/"


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
        found = _in_document(parse(os.fsencode(config), "DOCKER_AUTH_CONFIG"), host, repository)
        if found is not None:
            return found
    for path in [authfile] if authfile else default_files():
        data = read_configuration(path)
        if data is None and authfile:
            raise UsageError(f"{path}: no such file")
        found = _in_document(parse(data or b"", path), host, repository)
        if found is not None:
            return found
    return None


def default_files() -> "list[str]":
    """Return the files in the order in which they are read, docker's last."""
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


def parse(data: bytes, source: str) -> Document:
    """Return the content of a file of credentials."""
    return Document.decode(data, source) if data.strip() else Document({}, source)  # as docker, ignore an empty file


def server_name(host: str) -> str:
    """Return the key that docker uses for a registry, in files and for helpers."""
    return _HUB_KEY if host == DOCKER_HUB else host


def _in_document(document: Document, host: str, repository: str) -> "Credentials | None":
    server = server_name(host)
    for key in spellings(document.keys("credHelpers"), host):
        helper = document.object("credHelpers").string(key)
        if helper:
            return _asked(helper, server)
    store = document.string("credsStore")
    found = _in_auths(document, host, repository)
    if found is None and store:
        return _asked(store, server)
    return found


def _in_auths(document: Document, host: str, repository: str) -> "Credentials | None":
    """Return the entry with the longest key that host/repository begins with (containers-auth.json(5))."""
    auths = document.object("auths")
    place = f"{host}/{repository}"
    while place:
        for key in spellings(document.keys("auths"), place):
            found = _decode(auths.object(key))
            if found is not None:
                return found
        place = place.rpartition("/")[0]
    return None


def spellings(keys: "list[str]", place: str) -> "list[str]":
    """Return those of `keys` that mean `place`, an exact match first."""
    return sorted((key for key in keys if normal_registry(key) == place), key=lambda key: key != place)


def normal_registry(key: str) -> str:
    """Return what a key of a credentials file, or a user, calls a registry, as references call it."""
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


def _asked(helper: str, server: str) -> "Credentials | None":
    found = Helper(helper).get(server)
    if found is None:
        return None
    username, secret = found
    return Credentials("", "", secret) if username == "<token>" else Credentials(username, secret)
