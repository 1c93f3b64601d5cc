"""pyrund create: the container, and the image that it needs."""

import sys

from foundation.errors import reason
from foundation.linux import os, whole_file
from foundation.linux.opened import opened
from pyrund.client import creation
from pyrund.client.server import flags
from pyrund.client.values import platform
from pyrund.errors import ApiError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    image, *command = words
    print(create(server, creation.body(image, command, options, is_detached=False), options))
    return 0


def create(server: "Server", body: "dict[str, Any]", options: "Options") -> str:
    """Return the id of the container that `body` describes. A missing image is fetched."""
    path = options.get("cidfile", "")
    if not path:
        return _made(server, body, options)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Refused(
            f"container ID file found, make sure the other container isn't running or delete {path}", 125
        ) from None
    except OSError as error:
        raise Refused(f"failed to create the container ID file: {reason(error)}", 125) from None
    with opened(file):
        try:
            id_ = _made(server, body, options)
        except BaseException:
            os.unlink(path)
            raise
        whole_file.write_all(file, id_.encode())
    return id_


def _made(server: "Server", body: "dict[str, Any]", options: "Options") -> str:
    when = options.get("pull", "missing")
    if when not in ("always", "missing", "never"):
        raise Refused(f'invalid pull option: \'{when}\': must be one of "always", "missing" or "never"', 125)
    if when == "always":
        _pull(server, body, options)
    try:
        answer = _create(server, body, options)
    except ApiError as error:
        if error.status != 404 or when != "missing" or "No such image" not in str(error):
            raise
        from pyrund.client.transfers import familiar

        if not options.get("quiet"):
            print(f"Unable to find image '{familiar(body['Image'])}' locally", file=sys.stderr)
        _pull(server, body, options)
        answer = _create(server, body, options)
    for warning in answer.get("Warnings") or []:
        print(f"WARNING: {warning}", file=sys.stderr)
    return str(answer["Id"])


def _create(server: "Server", body: "dict[str, Any]", options: "Options") -> "dict[str, Any]":
    query = flags(name=options.get("name"), platform=platform(options))
    answer: dict[str, Any] = server.call("POST", "/containers/create", query, body)
    return answer


def _pull(server: "Server", body: "dict[str, Any]", options: "Options") -> None:
    from pyrund.client.transfers import pull  # imported here because few containers need it

    pull(server, body["Image"], platform(options), 2, bool(options.get("quiet")))
