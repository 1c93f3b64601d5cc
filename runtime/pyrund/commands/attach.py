"""pyrund attach."""

from pyrund.client.attachment import check_terminal
from pyrund.client.running import Foreground
from pyrund.client.server import quoted
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    container = server.call("GET", f"/containers/{quoted(words[0])}/json")
    state, config = container["State"], container["Config"]
    if not state["Running"]:
        raise Refused("You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Refused("You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Refused("You cannot attach to a restarting container, wait until it is running")
    takes_input = config["OpenStdin"] and not options.get("no_stdin")
    check_terminal(config["Tty"], takes_input)
    streams = ["stdout", "stderr", *(["stdin"] if takes_input else [])]
    foreground = Foreground(server, container["Id"], config["Tty"], streams, options)
    foreground.passes_signals &= not config["Tty"]  # as docker, unlike `run`
    return foreground.attach()
