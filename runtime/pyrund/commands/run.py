"""pyrund run: create a container, start it, and be its standard streams until it ends."""

from pyrund.client import creation
from pyrund.client.attachment import check_terminal
from pyrund.client.running import Foreground, start
from pyrund.commands.create import create
from pyrund.errors import ApiError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

_STREAMS = ("stdin", "stdout", "stderr")


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    image, *command = words
    body = creation.body(image, command, options, bool(options.get("detach")))
    check_terminal(body["Tty"], body["AttachStdin"])
    try:
        return _run(server, body, options)
    except ApiError as error:
        raise Refused(f"Error response from daemon: {error}", 125) from None
    except Refused as error:
        raise Refused(str(error), max(error.status, 125)) from None


def _run(server: "Server", body: "dict[str, Any]", options: "Options") -> int:
    id_ = create(server, body, options)
    streams = [stream for stream in _STREAMS if body[f"Attach{stream.capitalize()}"]]
    if not body["AttachStdout"] and not body["AttachStderr"]:
        print(id_, flush=True)
    if not streams:
        start(server, id_)
        return 0
    return Foreground(server, id_, body["Tty"], streams, options).start(bool(options.get("rm")))
