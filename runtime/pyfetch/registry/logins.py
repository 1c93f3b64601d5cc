"""Keeps the credentials of a login, and forgets them: in docker's or podman's files, or by helpers that these name."""

import json

from foundation.linux import os
from foundation.linux.whole_file import replace
from pyfetch.errors import translate
from pyfetch.image.document import Document, read_configuration
from pyfetch.registry.credential_helper import Helper
from pyfetch.registry.credentials import Credentials, default_files, parse, server_name, spellings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def forget(host: str, path: str) -> bool:
    """Forget the credentials for `host` in all files, or in that at `path`; return whether there were any."""
    return any([Logins(host, file).forget() for file in ([path] if path else default_files())])


class Logins:
    """The file `path`, or the one that is read first of those that know `host`, else docker's."""

    def __init__(self, host: str, path: str) -> None:
        self._host = host
        self._server = server_name(host)
        self.path, self._document = path, Document({}, path)
        for candidate in [path] if path else default_files():
            self.path, self._document = candidate, parse(read_configuration(candidate) or b"", candidate)
            if self._keys("auths") or self._keys("credHelpers"):
                break

    def keep(self, credentials: Credentials) -> bool:
        """Keep the credentials; return whether a helper does that, and not the file itself."""
        helper = self._helper()
        entry = {} if helper else {"auth": credentials.basic().partition(" ")[2]}
        if helper:
            Helper(helper).store(self._server, credentials.username, credentials.password)
        self._write({**self._others(), self._server: entry})
        return bool(helper)

    def forget(self) -> bool:
        """Forget the credentials; return whether there were any."""
        helper = self._helper()
        if helper:
            Helper(helper).erase(self._server)
        known = bool(self._keys("auths"))  # docker and we list those that a helper keeps, too
        if known:
            self._write(self._others())
        return known

    def _keys(self, name: str) -> "list[str]":
        return spellings(self._document.keys(name), self._host)

    def _helper(self) -> str:
        for key in self._keys("credHelpers"):
            return self._document.object("credHelpers").string(key)
        return self._document.string("credsStore")

    def _others(self) -> "dict[str, Any]":
        """Return the entries of other registries."""
        own = self._keys("auths")
        return {key: value for key, value in self._document.object("auths").properties.items() if key not in own}

    def _write(self, auths: "dict[str, Any]") -> None:
        path = os.path.realpath(self.path)  # a home may be full of links to a repository of settings
        text = json.dumps({**self._document.properties, "auths": auths}, indent="\t", ensure_ascii=False)
        try:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            replace(path, text.encode("utf-8", "surrogateescape") + b"\n", f"{path}.{os.getpid()}.part", soon=True)
        except OSError as error:
            raise translate(f"{self.path}: {error.strerror}: the credentials cannot be kept there", error) from error
