"""pyrund push."""

from pyrund.client.transfers import push
from pyrund.client.values import stored_platform
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    is_quiet, is_all = bool(options.get("quiet")), bool(options.get("all_tags"))
    has_tag = ":" in words[0].rpartition("/")[2] or "@" in words[0]
    if is_all and has_tag:
        raise Refused("tag can't be used with --all-tags/-a")
    platform = stored_platform(server, options, (1, 46))
    if not is_quiet and not is_all and not has_tag:
        print("Using default tag: latest", flush=True)
    pushed = push(server, words[0], is_all, platform, is_quiet)
    if is_quiet:
        print(pushed)
    return 0
