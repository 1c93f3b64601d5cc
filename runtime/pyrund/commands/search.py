"""pyrund search."""

from pyfetch.image.reference import DOCKER_HUB, has_host
from pyrund.client.connection import parsed
from pyrund.client.listing import listed
from pyrund.client.server import filters, flags
from pyrund.client.transfers import login_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

    Json = dict[str, Any]

_COLUMNS = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}\t{{.IsAutomated}}"
_HEADERS = {
    "Name": "NAME",
    "Description": "DESCRIPTION",
    "StarCount": "STARS",
    "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}
_LONGEST = 45  # characters of a description, as docker's client cuts it


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    term = words[0]
    query = {"term": term, **flags(limit=options.get("limit")), **filters(options.get("filter", []))}
    host = term.partition("/")[0] if has_host(term) else DOCKER_HUB
    found = parsed(server.ask("GET", "/images/search", query, headers={"X-Registry-Auth": login_for(host)}).body())
    found.sort(key=lambda one: -one["star_count"])
    rows = [_row(one, bool(options.get("no_trunc"))) for one in found]
    print(listed(rows, _HEADERS, options.get("format", ""), _COLUMNS), end="")
    return 0


def _row(found: "Json", is_whole: bool) -> "Json":
    text = found["description"].replace("\n", " ").replace("\r", " ")
    is_long = len(text) > _LONGEST and not is_whole
    return {
        "Name": found["name"],
        "Description": f"{text[: _LONGEST - 1]}\u2026" if is_long else text,
        "StarCount": str(found["star_count"]),
        "IsOfficial": "[OK]" if found["is_official"] else "",
        "IsAutomated": "[OK]" if found["is_automated"] else "",
    }
