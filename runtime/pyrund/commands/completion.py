"""pyrund completion: a script for the shell, made from the tables of options.py."""

from foundation.errors import did_you_mean
from foundation.help import with_repetition
from pyrun.completion import Command, Option, Program, bash, fish, zsh
from pyrund.errors import Refused
from pyrund.options import GLOBAL, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.help import Option as Row
    from pyrund.client.server import Server
    from pyrund.options import Options


_CONTAINERS = "containers"  # what the scripts call: the names of all, without starting a daemon


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    writers = {"bash": bash, "zsh": zsh, "fish": fish}
    shell = words[0]
    if shell == _CONTAINERS:
        for container in server.call("GET", "/containers/json", {"all": 1}):
            print(container["Names"][0].lstrip("/"))
        return 0
    if shell not in writers:
        raise Refused(f'no completion for the shell "{shell}"{did_you_mean(shell, writers)}: bash, zsh or fish')
    print(writers[shell].script(program()))
    return 0


def program() -> Program:
    """Return the description of pyrund's command line."""
    verbs = {}
    for verb, (usage, options, summary) in VERBS.items():
        known = with_repetition({**options, "help": GLOBAL["help"]})
        verbs[verb] = Command(summary, _options(known), _takes(usage))
    return Program("pyrund", verbs, _options(GLOBAL), f"completion {_CONTAINERS}")


def _options(options: "dict[str, Row]") -> "list[Option]":
    return [
        Option(f"-{short}" if short else "", f"--{name}", takes.removesuffix("..."), summary)
        for name, (short, takes, summary) in options.items()
    ]


def _takes(usage: str) -> str:
    """Return the kind of the verb's words: "ID" for one container, "ID..." for several, "a|b" for a choice, else ""."""
    first = usage.split(" ")[0].strip("[]")
    if first == "COMMAND":
        return "|".join(VERBS)
    if first == "CONTAINER":
        return "ID..." if "[CONTAINER...]" in usage else "ID"
    return first if first.replace("|", "").isalpha() and "|" in first else ""
