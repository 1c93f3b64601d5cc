"""pyrund pull."""

from pyrund.client.transfers import pull
from pyrund.client.values import platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    is_quiet = bool(options.get("quiet"))
    if not is_quiet and ":" not in words[0].rpartition("/")[2] and "@" not in words[0]:
        print("Using default tag: latest", flush=True)
    print(pull(server, words[0], platform(options), 1, is_quiet))
    return 0
