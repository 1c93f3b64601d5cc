"""pyrund images."""

import time

from pyrund.client.listing import listed
from pyrund.client.output import short, size
from pyrund.client.server import filters, flags
from pyrund.model.times import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

    Json = dict[str, Any]

_COLUMNS = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
_WITH_DIGESTS = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
_HEADERS = {
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    **{name: name.upper() for name in "Repository Tag Digest Size Containers".split()},
}
_NONE = "<none>"


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    wanted = [*options.get("filter", []), *(f"reference={name}" for name in words)]
    images = server.call("GET", "/images/json", {**flags(all=options.get("all")), **filters(wanted)})
    is_whole, digests = bool(options.get("no_trunc")), bool(options.get("digests"))
    rows = [row for image in images for row in _rows(image, is_whole, digests)]
    if options.get("quiet"):
        print("".join(f"{row['ID']}\n" for row in rows), end="")
        return 0
    print(listed(rows, _HEADERS, options.get("format", ""), _WITH_DIGESTS if digests else _COLUMNS), end="")
    return 0


def _rows(image: "Json", is_whole: bool, shows_digests: bool) -> "list[Json]":
    """Return a row for each name of the image, or one without a name."""
    digests = dict(text.partition("@")[::2] for text in image["RepoDigests"] or [])
    tags = [text.rpartition(":")[::2] for text in image["RepoTags"] or [] if text != f"{_NONE}:{_NONE}"]
    names = [(repository, tag, digests.get(repository, _NONE)) for repository, tag in tags]
    if not names:
        names = [(repository, _NONE, digest) for repository, digest in digests.items()] or [(_NONE, _NONE, _NONE)]
    return [_row(image, *name, is_whole) for name in names]


def _row(image: "Json", repository: str, tag: str, digest: str, is_whole: bool) -> "Json":
    containers = image.get("Containers", -1)
    return {
        "Containers": "N/A" if containers < 0 else str(containers),
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(image["Created"])),
        "CreatedSince": f"{duration(time.time() - image['Created'])} ago",
        "Digest": digest,
        "ID": short(image["Id"], is_whole),
        "Repository": repository,
        "SharedSize": "N/A",
        "Size": size(image["Size"]),
        "Tag": tag,
        "UniqueSize": "N/A",
        "VirtualSize": size(image.get("VirtualSize") or image["Size"]),
    }
