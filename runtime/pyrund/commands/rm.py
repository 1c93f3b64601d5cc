"""pyrund rm."""

import sys

from pyrund.client.output import each
from pyrund.client.server import flags, quoted
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    query = flags(force=options.get("force"), v=options.get("volumes"), link=options.get("link"))

    def remove(name: str) -> "str | None":
        try:
            server.call("DELETE", f"/containers/{quoted(name.strip('/'))}", query)
        except ApiError as error:
            if error.status != 404 or not options.get("force"):
                raise
            print(f"Error response from daemon: {error}", file=sys.stderr)
            return None
        return name

    return each(words, remove)
