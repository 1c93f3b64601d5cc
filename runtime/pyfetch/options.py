"""The options of every verb as tables, and their parser.

Not argparse: with what it imports and builds it takes 15 of the 40 ms that a pull may take when all is in the store.
"""

import os

from pyfetch.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERBS = {
    "pull": ("IMAGE [BUNDLE] [-- ARGUMENT...]", "make BUNDLE from IMAGE, and print its path; without BUNDLE a new one"),
    "images": ("", "list the images in the store"),
    "inspect": ("IMAGE|BUNDLE", "describe an image or a bundle, as JSON"),
    "rm": ("BUNDLE|IMAGE...", "remove bundles, or the names of images"),
    "prune": ("", "remove what no image and no bundle needs"),
    "save": ("IMAGE", "write an image of the store as an OCI archive"),
}
EXIT_STATUS = "exit status: 2 usage, 3 not found, 4 authentication, 5 network, 6 verification, 7 disk, 1 anything else"


class Option:
    """`value` is what the option takes, as help shows it, or "" for a switch; `read` turns text into the value."""

    def __init__(
        self, names: str, value: str, summary: str, default: "Any" = "", read: "Callable[[str], Any]" = str
    ) -> None:
        self.names = names.split(", ")
        self.key = self.names[-1].lstrip("-").replace("-", "_")
        self.value = value
        self.summary = summary
        self.default = default if value else False
        self.read = read


class Arguments:
    """What was typed: an attribute for each option of the verb, `words` that are no options, what follows `--`."""

    def __init__(self, verb: str, arguments: "list[str]") -> None:
        self.verb = verb
        self.words: list[str] = []
        self.arguments = arguments
        for option in options_of(verb):
            setattr(self, option.key, list(option.default) if option.default == [] else option.default)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> "Any": ...


def natural(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def positive(text: str) -> int:
    value = natural(text)
    if value == 0:
        raise ValueError("at least 1")
    return value


def existing_file(text: str) -> str:
    if not os.path.isfile(text):
        raise ValueError(f"{text}: no such file")
    return text


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 86400:
        raise ValueError(f"{text!r} is not a number of seconds")
    return value


def size(text: str) -> int:
    number = text.rstrip("kKmMgGtT")
    unit = text[len(number) :].lower()
    if not number.isdigit() or len(unit) > 1:
        raise ValueError(f"{text!r} is not a size, such as 500M or 64G")
    return int(number) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[unit]


def one_of(*choices: str) -> "Callable[[str], str]":
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return read


_STORE = Option("--store", "DIR", "where images are kept (default: $PYFETCH_STORE, or /var/lib/pyfetch as root)")
_PLATFORM = os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
_WHEN = ("always", "missing", "never")
_OPTIONS = {
    "pull": [
        Option("--platform", "OS/ARCH[/VARIANT]", "in place of this machine's", _PLATFORM),
        Option("--pull", "always|missing|never", "when to ask for a newer image", "always", one_of(*_WHEN)),
        Option("--overlay", "", "a writable layer over the store's layers, or fail"),
        Option("--copy", "", "a tree of its own, in place of an overlay"),
        Option("-q, --quiet", "", "no progress"),
        Option("--json", "", "progress as JSON, one event a line"),
        Option("--entrypoint", "PROGRAM", "in place of the image's entrypoint and command", None),
        Option("-e, --env", "NAME[=VALUE]", "set a variable; may be repeated", []),
        Option("-u, --user", "USER[:GROUP]", "in place of the image's"),
        Option("-w, --workdir", "DIR", "in place of the image's"),
        Option("--hostname", "NAME", "the container's name"),
        Option("--network", "none|host", "none has loopback only (default)", "none", one_of("none", "host")),
        Option("--read-only", "", "the root file system cannot be written to"),
        Option("-t, --tty", "", "the container has a terminal"),
        Option("--authfile", "FILE", "credentials, as docker and podman keep them", "", existing_file),
        Option("--username", "NAME", "log in, with the password from --password-stdin"),
        Option("--password-stdin", "", "read the password from standard input"),
        Option("--insecure", "", "allow this registry plain HTTP, or a certificate of nobody"),
        Option("--retries", "N", "attempts without progress before giving up (5)", 5, natural),
        Option("--timeout", "SECONDS", "silence after which a server is given up (60)", 60.0, seconds),
        Option("--jobs", "N", "layers to fetch at the same time (4)", 4, positive),
        Option("--max-size", "BYTES", "of what an image unpacks to (64G)", 64 << 30, size),
        Option("--max-files", "N", "of what an image unpacks to (4000000)", 4_000_000, natural),
    ],
    "prune": [Option("-a, --all", "", "also bundles and images that are not used")],
    "save": [Option("-o, --output", "FILE", "in place of standard output")],
}


def options_of(verb: str) -> "list[Option]":
    return [*_OPTIONS.get(verb, []), _STORE]


def parse(argv: "list[str]") -> Arguments:
    """Return what `argv` says. Without a verb it is pull; `--` ends our part, the rest is the container's."""
    end = argv.index("--") if "--" in argv else len(argv)
    ours = argv[:end]
    first = _after_store(ours)
    verb = ours.pop(first) if ours[first : first + 1] and ours[first] in VERBS else "pull"
    arguments = Arguments(verb, argv[end + 1 :])
    by_name = {name: option for option in options_of(verb) for name in option.names}
    while ours:
        word = ours.pop(0)
        if word.startswith("-") and word != "-":
            _take(arguments, by_name, word, ours)
        else:
            arguments.words.append(word)
    least, most = {"pull": (1, 2), "rm": (1, 1 << 16), "inspect": (1, 1), "save": (1, 1)}.get(verb, (0, 0))
    if not least <= len(arguments.words) <= most or (arguments.arguments and verb != "pull"):
        raise UsageError(f"expected: pyfetch {verb} {VERBS[verb][0]}".rstrip() + f"; see `pyfetch {verb} --help`")
    return arguments


def _after_store(words: "list[str]") -> int:
    """Return where the verb would be: --store, which every verb has, may stand before it."""
    index = 0
    while index < len(words) and words[index].partition("=")[0] == "--store":
        index += 1 if "=" in words[index] else 2
    return index


def _take(arguments: Arguments, by_name: "dict[str, Option]", word: str, rest: "list[str]") -> None:
    """Take an option, with its value from the word itself (`--name=value`) or from the next one."""
    name, equals, text = word.partition("=")
    option = by_name.get(name)
    if option is None:
        from pyfetch.help import did_you_mean  # only for who mistypes

        raise UsageError(f"unknown option {name}; see `pyfetch {arguments.verb} --help`{did_you_mean(name, by_name)}")
    if not option.value:
        if equals:
            raise UsageError(f"{name} takes no value")
        setattr(arguments, option.key, True)
        return
    if not equals:
        if not rest:
            raise UsageError(f"{name}: a value is missing: {option.value}")
        text = rest.pop(0)
    try:
        value = option.read(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    if option.default == []:
        getattr(arguments, option.key).append(value)
    else:
        setattr(arguments, option.key, value)
