"""pyrund logs."""

from foundation.linux.whole_file import write_all
from pyrund.client.frames import Frames
from pyrund.client.moments import moment
from pyrund.client.server import flags, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    container = server.call("GET", f"/containers/{quoted(words[0])}/json")
    query = {
        **flags(stdout=True, stderr=True, follow=options.get("follow")),
        **flags(timestamps=options.get("timestamps"), details=options.get("details")),
        **flags(since=moment(options, "since"), until=moment(options, "until")),
        "tail": options.get("tail", "all"),
    }
    answer = server.ask("GET", f"/containers/{quoted(container['Id'])}/logs", query)
    frames = Frames(not container["Config"]["Tty"])
    for data in answer.pieces():
        for fd, piece in frames.pieces(data):
            write_all(fd, piece)
    return 0
