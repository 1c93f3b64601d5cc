"""What a shell must know of a program to complete its command line, and a module for each shell that writes it down.

Nothing here knows pyrun: build_zipapp.py describes pyfetch with it too.
"""


class Option:
    """`short` and `long` with their dashes, "" where there is none; `takes` is its value as help shows it, or ""."""

    def __init__(self, short: str, long: str, takes: str, summary: str) -> None:
        self.names = [name for name in (short, long) if name]
        self.takes = takes
        self.summary = summary


class Command:
    """`words` says what the verb's words are: "ID" one of what the lister prints, "ID..." several of them, "FILE",
    "a|b" to choose, "" what nobody can know."""

    def __init__(self, summary: str, options: "list[Option]", words: str) -> None:
        self.summary = summary
        self.options = options
        self.words = words


class Program:
    """`options` stand before the verb; `name lister` prints the ids that there are, a line each."""

    def __init__(self, name: str, commands: "dict[str, Command]", options: "list[Option]", lister: str) -> None:
        self.name = name
        self.commands = commands
        self.options = options
        self.lister = lister

    def all_options(self) -> "list[tuple[str, Option]]":
        """Return (verb or "", option) of every option there is."""
        found = [("", option) for option in self.options]
        return found + [(verb, option) for verb, command in self.commands.items() for option in command.options]


def choices(takes: str) -> "list[str]":
    return takes.split("|") if "|" in takes else []
