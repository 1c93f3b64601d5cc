"""pyrun list"""

import pwd

from foundation.encode import encode
from foundation.errors import printable
from foundation.linux import os
from pyrun import log
from pyrun.container.state import Container, load_all
from pyrun.container.summary import summary
from pyrun.errors import NoContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrun.options import Settings


def run(settings: "Settings", format: str = "table", quiet: bool = False) -> None:
    found = _containers(settings)
    if quiet:
        print("".join(f"{container.id}\n" for container in found), end="")
        return
    summaries = list(_summaries(found))
    if format == "json":
        print(encode(summaries) if summaries else "null")  # as Go encodes a nil slice
        return
    columns = ["id", "pid", "status", "bundle", "created", "owner"]
    if any("exitCode" in one for one in summaries):
        columns += ["exitCode", "finished", "oomKilled"]  # after runc's columns
    rows = [[column.upper() for column in columns]]
    rows += [[_text(one.get(column, "-")) for column in columns] for one in summaries]
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(columns))]
    for row in rows:
        print("".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def _summaries(found: "list[Container]") -> "Iterator[dict[str, Any]]":
    for container in found:
        try:
            yield {**summary(container), "owner": _owner(container)}
        except (NoContainer, FileNotFoundError):
            pass  # another command has just deleted it


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else printable(str(value))


def _containers(settings: "Settings") -> "list[Container]":
    try:
        return load_all(settings.root, lambda id_, error: log.warning(f"load container {id_}: {error}"))
    except FileNotFoundError:
        if settings.root_given:
            raise
        return []


def _owner(container: Container) -> str:
    uid = os.stat(container.directory).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
