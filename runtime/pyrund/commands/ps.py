"""pyrund ps."""

import json
import time

from pyrund.client import values
from pyrund.client.listing import listed
from pyrund.client.output import short, shortened, size
from pyrund.client.server import filters, flags
from pyrund.model.times import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

    Json = dict[str, Any]

_COLUMNS = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}"
_HEADERS = {
    "ID": "CONTAINER ID",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "LocalVolumes": "LOCAL VOLUMES",
    "Label": lambda name: name.rpartition(".")[2],
    **{name: name.upper() for name in "Image Command Status State Ports Names Size Labels Mounts Networks".split()},
}
_COMMAND = 20  # characters


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    template = options.get("format", "")
    last = 1 if options.get("latest") else values.number(options, "last", -1)
    shows_size = bool(options.get("size")) or ".Size" in template or "json" in template
    query = {
        **flags(all=options.get("all"), size=shows_size),
        **({"limit": last} if last > 0 else {}),
        **filters(options.get("filter", [])),
    }
    containers = server.call("GET", "/containers/json", query)
    is_whole = bool(options.get("no_trunc"))
    if options.get("quiet"):
        print("".join(f"{short(one['Id'], is_whole)}\n" for one in containers), end="")
        return 0
    columns = _COLUMNS + ("\t{{.Size}}" if options.get("size") else "")
    rows = [_row(container, is_whole) for container in containers]
    print(listed(rows, _HEADERS, template, columns), end="")
    return 0


def _row(container: "Json", is_whole: bool) -> "Json":
    command, labels = container["Command"], container["Labels"] or {}
    mounts = [one.get("Name") or one["Source"] for one in container["Mounts"]]
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    names = [name.lstrip("/") for name in container["Names"]]
    if not is_whole:
        names = [name for name in names if "/" not in name]
        mounts = [shortened(mount, 15) for mount in mounts]
    return {
        "Command": json.dumps(command if is_whole else shortened(command, _COMMAND), ensure_ascii=False),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(container["Created"])),
        "ID": short(container["Id"], is_whole),
        "Image": _image(container, is_whole),
        "Labels": ",".join(f"{name}={value}" for name, value in labels.items()),
        "LocalVolumes": str(sum(1 for one in container["Mounts"] if one.get("Driver") == "local")),
        "Mounts": ",".join(mounts),
        "Names": ",".join(names),
        "Networks": ",".join(networks),
        "Ports": _ports(container["Ports"] or []),
        "RunningFor": f"{duration(time.time() - container['Created'])} ago",
        "Size": _size(container),
        "State": container["State"],
        "Status": container["Status"],
        "Label": lambda name: labels.get(name, ""),
    }


def _image(container: "Json", is_whole: bool) -> str:
    name: str = container["Image"] or "<no image>"
    if not is_whole and name.partition(":")[2] and name.startswith("sha256:"):
        return short(name)
    return name


def _size(container: "Json") -> str:
    if "SizeRw" not in container and "SizeRootFs" not in container:
        return "0B"
    text = size(container.get("SizeRw", 0))
    whole = container.get("SizeRootFs", 0)
    return f"{text} (virtual {size(whole)})" if whole > 0 else text


def _ports(ports: "list[Json]") -> str:
    """Return the ports as docker joins them: ranges of ports that follow each other become one entry."""
    groups: list[tuple[str, int, int, int, str]] = []  # address, first published, first, last, protocol
    for port in sorted(ports, key=_order):
        address, published = port.get("IP") or "", port.get("PublicPort") or 0
        private, protocol = port["PrivatePort"], port["Type"]
        if groups:
            at, begin, first, last, kind = groups[-1]
            follows = private == last + 1 and (at, kind) == (address, protocol)
            if follows and (published == begin + (private - first) if published else not begin):
                groups[-1] = at, begin, first, private, kind
                continue
        groups.append((address, published, private, private, protocol))
    return ", ".join(_group(*group) for group in groups)


def _order(port: "Json") -> "tuple[object, ...]":
    return bool(port.get("PublicPort")), port.get("IP") or "", port["Type"], port["PrivatePort"]


def _group(address: str, published: int, first: int, last: int, protocol: str) -> str:
    text = f"{first}/{protocol}" if first == last else f"{first}-{last}/{protocol}"
    if not published:
        return text
    shown = f"[{address}]" if ":" in address else address
    outside = str(published) if first == last else f"{published}-{published + last - first}"
    return f"{shown}:{outside}->{text}"
