"""pyrun list"""

import os

from pyrun.container.state import Container, load_all
from pyrun.errors import UsageError
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", format: str = "table", quiet: bool = False) -> None:
    if format not in ("table", "json"):
        raise UsageError(f'invalid format option "{format}": table or json')
    found = _containers(settings)
    if quiet:
        print("".join(f"{container.id}\n" for container in found), end="")
        return
    summaries = [{**container.summary(), "owner": _owner(container)} for container in found]
    if format == "json":
        print(encode(summaries) if summaries else "null")  # as Go writes an empty slice
        return
    columns = ["id", "pid", "status", "bundle", "created", "owner"]
    if any("exitCode" in one for one in summaries):
        columns += ["exitCode", "finished", "oomKilled"]  # behind what runc prints
    rows = [[column.upper() for column in columns]]
    rows += [[_text(one.get(column, "-")) for column in columns] for one in summaries]
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(columns))]
    for row in rows:
        print("".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _containers(settings: "Settings") -> "list[Container]":
    try:
        return load_all(settings.root)
    except FileNotFoundError:
        if settings.root_given:
            raise
        return []


def _owner(container: Container) -> str:
    import pwd  # only here: it loads the host's name services

    uid = os.stat(container.directory).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
