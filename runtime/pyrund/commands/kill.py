"""pyrund kill."""

from pyrund.client.output import each
from pyrund.client.server import flags, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    query = flags(signal=options.get("signal"))

    def kill(name: str) -> str:
        server.call("POST", f"/containers/{quoted(name)}/kill", query)
        return name

    return each(words, kill)
