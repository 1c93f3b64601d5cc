"""pyrun completion: a script for the shell, made of the tables of cli.py."""

from pyrun.cli import GLOBAL, VERBS
from pyrun.completion import Command, Option, Program
from pyrun.errors import UsageError, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import cli

_MADE = ("create", "run", "restore")  # their ID is one that there is not yet


def run(settings: "cli.Settings", shell: str) -> None:
    from pyrun.completion import bash, fish, zsh

    writers = {"bash": bash, "zsh": zsh, "fish": fish}
    if shell not in writers:
        raise UsageError(f'no completion for the shell "{shell}"{did_you_mean(shell, writers)}: bash, zsh or fish')
    print(writers[shell].script(program()))


def program() -> Program:
    """Return what a shell must know of pyrun."""
    verbs = {}
    for verb, (usage, options, summary) in VERBS.items():
        verbs[verb] = Command(summary, _options({**options, "help": GLOBAL["help"]}), _takes(verb, usage))
    return Program("pyrun", verbs, _options(GLOBAL), "list -q")


def _options(options: "dict[str, cli.Option]") -> "list[Option]":
    return [
        # A value that may be left out is one with "=" only: for what comes next, such an option takes none.
        Option(f"-{short}" if short else "", f"--{name}", takes.rstrip(".") if takes[:1] != "[" else "", summary)
        for name, (short, takes, summary) in options.items()
    ]


def _takes(verb: str, usage: str) -> str:
    """Return what the verb's words are: "ID" for one container, "ID..." for several, "a|b" to choose, "" for others."""
    word = usage.split(" ")[0].strip("[]")
    if word == "COMMAND":
        return "|".join(VERBS)
    return word if word.startswith("ID") and verb not in _MADE or "|" in word else ""
