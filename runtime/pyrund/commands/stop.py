"""pyrund stop."""

from pyrund.client.output import each
from pyrund.client.server import quoted
from pyrund.client.values import patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    query = patience(options)

    def stop(name: str) -> str:
        server.call("POST", f"/containers/{quoted(name)}/stop", query)
        return name

    return each(words, stop)
