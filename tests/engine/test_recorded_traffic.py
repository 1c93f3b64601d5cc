"""What docker's CLI 28 asked a real dockerd is asked of pyrund: statuses, and the keys and types of the JSON, agree.

recorded_traffic.json has the requests in the order in which they are made here, each with dockerd's status and the
shape of its JSON: "", 0, true and null for values, "*" for the names in a map, "?" before those that may be missing.
Both may differ only as doc/engine.md says.
"""

import json
import re
from pathlib import Path

from daemon import REPOSITORY

RECORDED = json.loads((Path(__file__).parent / "recorded_traffic.json").read_text())
DIFFERENCE = re.compile(r"^\| `(\S+ \S+)` \| (.+?) \| .+ \|$", re.MULTILINE)


def known_differences():
    """Return the pairs of request and difference that doc/engine.md has in its table."""
    rows = DIFFERENCE.findall((REPOSITORY / "doc/engine.md").read_text())
    return {(asked, found) for asked, names in rows for found in re.findall(r"`([^`]+)`", names)}


def differences(theirs, ours, where=""):
    """Yield the places at which `ours` has not the `theirs` shape. A null of either side stands for anything."""
    if theirs is None or ours is None:
        return
    if isinstance(theirs, dict) and isinstance(ours, dict):
        known = {key.lstrip("?"): value for key, value in theirs.items()}
        for key in theirs.keys() - ours.keys():
            if key != "*" and not key.startswith("?"):
                yield f"-{where}{key}"
        for key, value in ours.items() if theirs else ():
            if key not in known and "*" not in known:
                yield f"+{where}{key}"
            else:
                yield from differences(known.get(key, known.get("*")), value, f"{where}{key}.")
    elif isinstance(theirs, list) and isinstance(ours, list):
        for value in ours if theirs else ():
            yield from differences(theirs[0], value, where)
    elif kind(theirs) != kind(ours):
        yield f"{where[:-1]}: {kind(ours)}"


def kind(value):
    return (
        "number"
        if isinstance(value, float)
        else {bool: "boolean", int: "number"}.get(type(value), type(value).__name__)
    )


def test_recorded_requests_get_answers_of_the_same_shape(engine):
    found, exec_id = [], ""
    for step in RECORDED:
        method, path = step["ask"].split()
        status, answer = engine.call(method, path.replace("{exec}", exec_id), step.get("sent"))
        if path.endswith("/web/exec"):
            exec_id = answer["Id"]
        name = f"{method} {path.partition('?')[0].replace('/v1.50', '')}"
        if status != step["status"]:
            found.append((name, str(status), answer))
        elif "shape" in step:
            found += [(name, one, "") for one in sorted(set(differences(step["shape"], answer)))]

    known = known_differences()
    assert [one for one in found if one[:2] not in known] == []
    assert known - {one[:2] for one in found} == set()  # otherwise the table is out of date
    engine.call("DELETE", "/volumes/v1")
    engine.call("DELETE", "/networks/n1")
