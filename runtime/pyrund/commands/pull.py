"""pyrund pull."""

from pyrund.client.transfers import pull
from pyrund.client.values import platform
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    is_quiet = bool(options.get("quiet"))
    has_tag = ":" in words[0].rpartition("/")[2] or "@" in words[0]
    if options.get("all_tags"):
        if has_tag:
            raise Refused("tag can't be used with --all-tags/-a")
        reference = pull(server, words[0], platform(options), 1, is_quiet, is_all=True)
        print(f"{reference.host}/{reference.repository}")
        return 0
    if not is_quiet and not has_tag:
        print("Using default tag: latest", flush=True)
    print(pull(server, words[0], platform(options), 1, is_quiet))
    return 0
