"""pyrund inspect."""

import json
import sys

from foundation.errors import one_line
from pyrund.client.listing import one
from pyrund.client.server import flags, quoted
from pyrund.errors import ApiError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

_PLACES = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    kind, template = options.get("type", ""), options.get("format", "")
    if kind and kind not in _PLACES:
        raise Refused(f'"{kind}" is not a valid value for --type: {", ".join(_PLACES)}')
    found, errors = [], []
    for name in words:
        try:
            found.append(_inspect(server, name, [kind] if kind else list(_PLACES), options))
        except (ApiError, Refused) as error:
            text = one_line(str(error))
            errors.append(f"Error response from daemon: {text}" if isinstance(error, ApiError) else text)
    if not template:
        print(json.dumps(found, indent=4, ensure_ascii=False))
    for value in found if template else []:
        print(one(value, template))
    sys.stdout.flush()
    for text in errors:
        print(text, file=sys.stderr)
    return 1 if errors else 0


def _inspect(server: "Server", name: str, kinds: "list[str]", options: "Options") -> "Any":
    for kind in kinds:
        query = flags(size=options.get("size")) if kind == "container" else {}
        try:
            return server.call("GET", _PLACES[kind].format(quoted(name)), query)
        except ApiError as error:
            if error.status not in (404, 501) or len(kinds) == 1:
                raise
    raise Refused(f"Error: No such object: {name}")
