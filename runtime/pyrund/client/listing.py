"""Lists: each row has named fields, and a template says which are shown."""

import json

from pyrund.client.output import table
from pyrund.client.template import Template, as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

_TABLE = "table"


def listed(rows: "list[Row]", headers: "Row", template: str, columns: str) -> str:
    """Return the lines for `rows`. `template` is the value of --format; "" and "table" stand for the `columns`."""
    if template == "json":
        return "".join(f"{as_json(row)}\n" for row in rows)
    if template in ("", _TABLE):
        template = f"{_TABLE} {columns}"
    is_table = template.startswith(f"{_TABLE} ")
    text = (template.removeprefix(f"{_TABLE} ") if is_table else template).replace("\\t", "\t").replace("\\n", "\n")
    filled = Template(text)
    if not is_table:
        return "".join(f"{filled.fill(row)}\n" for row in rows)
    cells = [filled.fill(row).split("\t") for row in rows]
    header = Template(text).fill({**dict.fromkeys(rows[0] if rows else (), ""), **headers}).split("\t")
    return table(header, cells)


def one(value: "Any", template: str) -> str:
    """Return a value by a template; "json" is all of it on one line."""
    if template == "json":
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Template(template.replace("\\t", "\t").replace("\\n", "\n")).fill(value)
