"""Credential helpers: programs `docker-credential-NAME` that keep passwords (docker-credential-helpers, README.md).

They are run with the user's environment, since they need his session.
"""

import re
import select
import time

from foundation.encode import encode
from foundation.errors import one_line
from foundation.linux import os
from pyfetch.errors import AuthError
from pyfetch.image.document import Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_SECONDS = 60
_MAXIMUM_SIZE = 4 << 20
_DOING = {"get": "getting", "store": "storing", "erase": "erasing"}
_NOT_FOUND = "credentials not found in native keychain"


class Helper:
    """The helper `name`, a word of a configuration file."""

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise AuthError(f"credential helper {name!r}: not the name of a program")
        self._program = f"docker-credential-{name}"

    def get(self, server: str) -> "tuple[str, str] | None":
        """Return the user's name and the secret for `server`, or None if the helper has none."""
        output = self._run("get", server.encode())
        if output is None:
            return None
        document = Document.decode(output, self._program)
        return document.string("Username"), document.string("Secret")

    def store(self, server: str, username: str, secret: str) -> None:
        entry = {"ServerURL": server, "Username": username, "Secret": secret}
        self._run("store", encode(entry).encode("utf-8", "surrogateescape"))

    def erase(self, server: str) -> None:
        self._run("erase", server.encode())

    def _run(self, action: str, request: bytes) -> "bytes | None":
        """Return what the helper writes, or None if it knows nothing of the server; raise AuthError if it fails."""
        import subprocess

        try:
            with subprocess.Popen(
                [self._program, action], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                output = _talk(process, self._program, request)
        except OSError as error:
            raise AuthError(f"{self._program}: {error.strerror}: cannot {action} credentials") from error
        except subprocess.TimeoutExpired:
            raise AuthError(f"{self._program}: no answer within {_SECONDS} seconds") from None
        if process.returncode == 0:
            return output
        # The protocol puts the error on standard output.
        text = one_line(output.decode("utf-8", "replace"), 300)
        if _NOT_FOUND in text:
            return None
        raise AuthError(f"error {_DOING[action]} credentials - {self._program}: {text or 'failed'}")


def _talk(process: "Popen[bytes]", program: str, request: bytes) -> bytes:
    """Send the request and return the answer; kill a helper that takes too long or writes too much."""
    assert process.stdin is not None and process.stdout is not None
    output = bytearray()
    deadline = time.monotonic() + _SECONDS
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
        raise AuthError(f"{program}: gives too much, or nothing for {_SECONDS} seconds")
    finally:
        process.kill()
