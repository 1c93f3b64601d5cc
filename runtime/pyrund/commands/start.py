"""pyrund start."""

from pyrund.client.attachment import check_terminal
from pyrund.client.output import each
from pyrund.client.running import Foreground
from pyrund.client.server import flags, quoted
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    if options.get("attach") or options.get("interactive"):
        if len(words) > 1:
            raise Refused("you cannot start and attach multiple containers at once")
        return _in_foreground(server, words[0], options)

    query = flags(checkpoint=options.get("checkpoint"))
    if query and len(words) > 1:
        raise Refused("you cannot restore multiple containers at once")
    if query:
        query.update(flags(**{"checkpoint-dir": options.get("checkpoint_dir")}))

    def start(name: str) -> str:
        server.call("POST", f"/containers/{quoted(name)}/start", query)
        return name

    return each(words, start)


def _in_foreground(server: "Server", name: str, options: "Options") -> int:
    container = server.call("GET", f"/containers/{quoted(name)}/json")
    config = container["Config"]
    takes_input = bool(options.get("interactive")) and config["OpenStdin"]
    check_terminal(config["Tty"], takes_input)
    streams = ["stdout", "stderr", *(["stdin"] if takes_input else [])]
    foreground = Foreground(server, container["Id"], config["Tty"], streams, options)
    foreground.passes_signals &= not config["Tty"]  # as docker, unlike `run`
    return foreground.start(bool(container["HostConfig"].get("AutoRemove")))
