"""pyrund wait."""

from pyrund.client.output import each
from pyrund.client.server import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    return each(words, lambda name: str(server.call("POST", f"/containers/{quoted(name)}/wait")["StatusCode"]))
