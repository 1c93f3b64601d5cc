"""pyrund rmi."""

import sys

from pyrund.client.output import each
from pyrund.client.server import flags, quoted
from pyrund.client.values import stored_platform
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    platform = stored_platform(server, options, (1, 50))
    query = flags(force=options.get("force"), noprune=options.get("no_prune"), platforms=platform)

    def remove(name: str) -> "str | None":
        try:
            removed = server.call("DELETE", f"/images/{quoted(name)}", query)
        except ApiError as error:
            if error.status != 404 or not options.get("force"):
                raise
            print(f"Error response from daemon: {error}", file=sys.stderr)
            return None
        return "\n".join(f"{what}: {id_}" for one in removed for what, id_ in one.items())

    return each(words, remove)
