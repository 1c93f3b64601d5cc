"""pyrund create: the container, and the image that it needs."""

import sys

from foundation.linux import os, whole_file
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
    when, cidfile = options.get("pull", "missing"), options.get("cidfile", "")
    if when not in ("always", "missing", "never"):
        raise Refused(f'invalid pull option: \'{when}\': must be one of "always", "missing" or "never"', 125)
    if cidfile and os.path.exists(cidfile):
        raise Refused(f"container ID file found, make sure the other container isn't running or delete {cidfile}", 125)
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
    if cidfile:
        whole_file.create(cidfile, answer["Id"].encode())
    return str(answer["Id"])


def _create(server: "Server", body: "dict[str, Any]", options: "Options") -> "dict[str, Any]":
    query = flags(name=options.get("name"), platform=platform(options))
    answer: dict[str, Any] = server.call("POST", "/containers/create", query, body)
    return answer


def _pull(server: "Server", body: "dict[str, Any]", options: "Options") -> None:
    from pyrund.client.transfers import pull  # imported here because few containers need it

    pull(server, body["Image"], platform(options), 2, bool(options.get("quiet")))
