"""pyrun completion: a script for the shell, made from the tables of options.py."""

from foundation.errors import did_you_mean
from foundation.help import with_repetition
from pyrun.completion import Command, Option, Program, bash, fish, zsh
from pyrun.errors import UsageError
from pyrun.options import GLOBAL, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Option as Row
    from pyrun.options import Settings

_MADE = ("create", "run", "restore")  # verbs whose ID does not exist yet


def run(settings: "Settings", shell: str) -> None:
    writers = {"bash": bash, "zsh": zsh, "fish": fish}
    if shell not in writers:
        raise UsageError(f'no completion for the shell "{shell}"{did_you_mean(shell, writers)}: bash, zsh or fish')
    print(writers[shell].script(program()))


def program() -> Program:
    """Return the description of pyrun's command line."""
    verbs = {}
    for verb, (usage, options, summary) in VERBS.items():
        known = with_repetition({**options, "help": GLOBAL["help"]})
        verbs[verb] = Command(summary, _options(known), _takes(verb, usage))
    return Program("pyrun", verbs, _options(GLOBAL), "list -q")


def _options(options: "dict[str, Row]") -> "list[Option]":
    return [
        # An optional value can only be given with "=": such an option takes no following word.
        Option(f"-{short}" if short else "", f"--{name}", "", summary, takes)
        if takes.startswith("[")
        else Option(f"-{short}" if short else "", f"--{name}", takes.rstrip("."), summary)
        for name, (short, takes, summary) in options.items()
    ]


def _takes(verb: str, usage: str) -> str:
    """Return the kind of the verb's words: "ID" for one container, "ID..." for several, "a|b" for a choice, else ""."""
    word = usage.split(" ")[0].strip("[]")
    if word == "COMMAND":
        return "|".join(VERBS)
    return word if word.startswith("ID") and verb not in _MADE or "|" in word else ""
