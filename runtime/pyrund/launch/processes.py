"""A worker that lists the processes of a container, with the host's ps."""

import re

from pyrun.commands.ps import lines_of, ps, why
from pyrun.container.state import load
from pyrund.errors import ApiError
from pyrund.launch.answer import send_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_LONGEST = 1 << 17  # bytes of an argument: MAX_ARG_STRLEN, execve(2)
_RENAMED = re.compile(r"\s+(\S*)=\s*(PID\S*)")  # another column that is called as the one that we read


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer the request on the connection `descriptors[0]` by a table; its last column has the rest of a line."""
    options = message["options"]
    if renamed := _RENAMED.search(f" {options}"):
        raise ApiError(400, f'specifying "{"=".join(renamed.groups())[:80]}" is not allowed')
    pids = load(places.states, message["id"]).processes()
    header, *lines = lines_of(_table(pids, options.split()), pids, options.split())
    titles = header.split()
    table = {"Titles": titles, "Processes": [line.split(None, len(titles) - 1) for line in lines]}
    send_json(descriptors[0], table)


def _table(pids: "list[int]", options: "list[str]") -> str:
    """Return a table that has the processes. Many options choose processes, and then ps takes no list of them; those
    that do not would choose the ones of our terminal."""
    chosen = f"-q{','.join(map(str, pids))}"
    for words in ([*options, chosen], options) if len(chosen) < _LONGEST else (options,):
        status, text, errors = ps(words)
        if not status:
            return text
    raise ApiError(400, f"ps: {why(status, errors)}")
