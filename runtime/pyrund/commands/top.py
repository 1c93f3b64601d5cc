"""pyrund top."""

from pyrund.client.output import table
from pyrund.client.server import flags, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    name, *arguments = words
    found = server.call("GET", f"/containers/{quoted(name)}/top", flags(ps_args=" ".join(arguments)))
    print(table(found["Titles"], found["Processes"], least=20), end="")
    return 0
