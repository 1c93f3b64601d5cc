"""A description of a program's command line, and a module for each shell that turns it into a completion script.

This package knows nothing of pyrun: build_zipapp.py also describes pyfetch with it.
"""


class Option:
    """`short` and `long` include their dashes, or are ""; `takes` is the value as shown by help, or "", and `may_take`
    one that may follow with "=", such as [=DIR]."""

    def __init__(self, short: str, long: str, takes: str, summary: str, may_take: str = "") -> None:
        self.names = [name for name in (short, long) if name]
        self.takes = takes
        self.summary = summary
        self.may_take = may_take


class Command:
    """`words` is the kind of the verb's arguments: "ID" for one id that the lister prints, "ID..." for several, "FILE",
    "a|b" for a choice, "" if they cannot be completed."""

    def __init__(self, summary: str, options: "list[Option]", words: str) -> None:
        self.summary = summary
        self.options = options
        self.words = words


class Program:
    """`options` come before the verb; the command `name lister` prints the existing ids, one per line."""

    def __init__(self, name: str, commands: "dict[str, Command]", options: "list[Option]", lister: str) -> None:
        self.name = name
        self.commands = commands
        self.options = options
        self.lister = lister

    def all_options(self) -> "list[tuple[str, Option]]":
        """Return (verb, or "" for a global option, option) for every option."""
        found = [("", option) for option in self.options]
        return found + [(verb, option) for verb, command in self.commands.items() for option in command.options]


def choices(takes: str) -> "list[str]":
    """Return the alternatives of "a|b", or [] for other values."""
    return takes.split("|") if "|" in takes else []
