"""What the verbs print: tables as docker's, sizes, ids."""

import sys

from foundation.errors import one_line
from foundation.sizes import human
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_GAP, _LEAST = 3, 10  # between columns; the width of a narrow column with its gap
_SHORT_ID = 12


def table(header: "list[str]", rows: "Iterable[list[str]]", least: int = _LEAST) -> str:
    """Return lines of columns, each of which is at least so wide. The last one is not padded."""
    lines = [header, *rows]
    widths = [max(least, max(map(len, column)) + _GAP) for column in zip(*lines)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line[:-1], widths)) + line[-1] + "\n" for line in lines
    )


def short(id_: str, is_whole: bool = False) -> str:
    """Return the first digits of an id; `is_whole` keeps all of it."""
    return id_ if is_whole else id_.removeprefix("sha256:")[:_SHORT_ID]


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def size(count: int) -> str:
    """Return bytes with three digits, in units of 1000."""
    return human(count, digits=3)


def each(names: "list[str]", do: "Callable[[str], str | None]") -> int:
    """Do something for each name, and print its result or its error; return 1 if one has failed."""
    status = 0
    for name in names:
        try:
            line = do(name)
        except ApiError as error:
            print(f"Error response from daemon: {one_line(str(error))}", file=sys.stderr)
            status = 1
            continue
        if line is not None:
            print(line, flush=True)
    return status
