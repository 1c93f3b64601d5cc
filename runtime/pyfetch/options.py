"""The options of every verb as tables, and their parser.

argparse is not used: importing it and building a parser takes 15 of the 40 ms that a pull from the store may take.
"""

from foundation.errors import did_you_mean
from foundation.linux import os
from pyfetch.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERBS = {
    "pull": ("IMAGE [BUNDLE] [-- ARGUMENT...]", "make BUNDLE from IMAGE, and print its path; without BUNDLE a new one"),
    "images": ("", "list the images in the store"),
    "inspect": (
        "IMAGE|BUNDLE",
        "describe an image or a bundle, as JSON; docker://NAME is read at its registry, without its layers",
    ),
    "rm": ("BUNDLE|IMAGE...", "remove bundles, or the names of images"),
    "prune": ("", "remove what no image and no bundle needs"),
    "save": ("IMAGE", "write an image of the store as an OCI archive"),
    "push": ("IMAGE [NAME]", "send an image of the store, or of a file, to a registry"),
    "copy": ("IMAGE NAME", "send an image from one registry to another, for all platforms, without storing it"),
    "tags": ("REPOSITORY", "list the tags of a registry's repository"),
    "tag": ("IMAGE NAME", "give an image of the store another name"),
    "login": ("[REGISTRY]", "keep credentials for a registry, Docker Hub by default, where docker keeps them"),
    "logout": ("[REGISTRY]", "forget credentials for a registry, Docker Hub by default"),
}
WITHOUT_STORE = ("tags", "login", "logout")
EXIT_STATUS = (
    "exit status: 0 success, 2 usage, 3 not found, 4 authentication, 5 network, 6 verification, 7 disk,\n"
    "             1 any other error, 128+N after signal N"
)


class Option:
    """An option. `value` is its argument in help, "" for a switch; `read` converts the text or raises ValueError."""

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
    """The command line: an attribute for each option, `words`, and `arguments`, which follow `--`."""

    def __init__(self, verb: str, arguments: "list[str]") -> None:
        self.verb = verb
        self.words: list[str] = []
        self.arguments = arguments
        for option in options_of(verb):
            setattr(self, option.key, [] if option.default == [] else option.default)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> "Any": ...


# Converters of options' values. Each raises ValueError with the reason.


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
    """Return a converter that accepts only the `choices`."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text

    return read


_STORE = Option("--store", "DIR", "where images are kept (default: $PYFETCH_STORE, or /var/lib/pyfetch as root)")
_QUIET = Option("-q, --quiet", "", "no progress")
_PLATFORM = os.environment.get("DOCKER_DEFAULT_PLATFORM", "")
_WHEN = ("always", "missing", "never")
_PASSWORD = Option("--password-stdin", "", "read the password from standard input")
_KEPT = Option("--authfile", "FILE", "keep credentials in FILE (default: where they are, or docker's config.json)")
_CONNECTION = [
    Option("--insecure", "", "allow plain HTTP or an unverified certificate"),
    Option("--retries", "N", "attempts without progress before giving up (5)", 5, natural),
    Option("--timeout", "SECONDS", "give up a server after so much silence (60)", 60.0, seconds),
]
_REGISTRY = [
    Option("--authfile", "FILE", "read credentials from FILE, docker's or podman's", "", existing_file),
    Option("--username", "NAME", "log in, with the password from --password-stdin"),
    _PASSWORD,
    *_CONNECTION,
]
_POLICY = Option("--insecure-policy", "", "accept images that containers-policy.json(5) rejects or wants signed")
_SENDING = [
    Option("--platform", "OS/ARCH[/VARIANT]", "send the image for one platform only"),
    Option("--json", "", "progress as JSON, one event a line"),
    *_REGISTRY,
    Option("--jobs", "N", "layers to send at the same time (4)", 4, positive),
]
_OPTIONS = {
    "pull": [
        Option("--platform", "OS/ARCH[/VARIANT]", "the platform of the image (default: this machine's)", _PLATFORM),
        Option("--pull", "always|missing|never", "when to ask for a newer image (always)", "always", one_of(*_WHEN)),
        Option("--no-bundle", "", "only fetch, and print the name; IMAGEs may follow"),
        Option("--overlay", "", "make an overlay over the store's layers, or fail"),
        Option("--copy", "", "make a flat tree instead of an overlay"),
        Option("--json", "", "progress as JSON, one event a line"),
        Option("--entrypoint", "PROGRAM", "replace the image's entrypoint and command", None),
        Option("-e, --env", "NAME[=VALUE]", "set a variable; may be repeated", []),
        Option("-u, --user", "USER[:GROUP]", "the user (default: the image's)"),
        Option("-w, --workdir", "DIR", "the working directory (default: the image's)"),
        Option("--hostname", "NAME", "the container's name"),
        Option("--network", "none|host", "none has loopback only (default)", "none", one_of("none", "host")),
        Option("--read-only", "", "make the root file system read-only"),
        Option("-t, --tty", "", "give the container a terminal"),
        *_REGISTRY,
        _POLICY,
        Option("--jobs", "N", "layers to fetch at the same time (4)", 4, positive),
        Option("--max-size", "BYTES", "limit of an image's unpacked size (64G)", 64 << 30, size),
        Option("--max-files", "N", "limit of an image's files (4000000)", 4_000_000, natural),
    ],
    "inspect": [
        Option("--platform", "OS/ARCH[/VARIANT]", "the platform of an image that is elsewhere", _PLATFORM),
        *_REGISTRY,
    ],
    "prune": [
        Option("-a, --all", "", "also remove unused images and bundles"),
        Option("--check", "", "only compare blobs and layers with their digests, and mend or remove what is damaged"),
    ],
    "save": [
        Option("-o, --output", "FILE", "write to FILE instead of standard output"),
        Option("--all-platforms", "", "write the image for all its platforms, and fetch what the store lacks"),
        *_REGISTRY,
        Option("--jobs", "N", "layers to fetch at the same time (4)", 4, positive),
    ],
    "push": _SENDING,
    "copy": [*_SENDING, _POLICY],
    "tags": _REGISTRY,
    "login": [Option("-u, --username", "NAME", "the user (asked for on a terminal)"), _PASSWORD, _KEPT, *_CONNECTION],
    "logout": [Option("--authfile", "FILE", "forget those in FILE (default: in all files that are read)")],
}


_MANY = 1 << 16
_WORDS = {  # the least and the most
    "pull": (1, 2),
    "inspect": (1, 1),
    "rm": (1, _MANY),
    "save": (1, 1),
    "push": (1, 2),
    "copy": (2, 2),
    "tags": (1, 1),
    "tag": (2, 2),
    "login": (0, 1),
    "logout": (0, 1),
}


def options_of(verb: str) -> "list[Option]":
    return [*_OPTIONS.get(verb, []), _QUIET, _STORE]


def parse(argv: "list[str]") -> Arguments:
    """Parse `argv`; raise UsageError. The default verb is pull, and words after `--` are the container's."""
    end = argv.index("--") if "--" in argv else len(argv)
    ours = argv[:end]
    first = _first_word(ours)
    verb = ours.pop(first) if ours[first : first + 1] and ours[first] in VERBS else "pull"
    arguments = Arguments(verb, argv[end + 1 :])
    by_name = {name: option for option in options_of(verb) for name in option.names}
    while ours:
        word = ours.pop(0)
        if word.startswith("-") and word != "-":
            _take(arguments, by_name, word, ours)
        else:
            arguments.words.append(word)
    if verb == "pull" and arguments.overlay and arguments.copy:
        raise UsageError("--overlay and --copy exclude each other")
    least, most = _WORDS.get(verb, (0, 0))
    if verb == "pull" and arguments.no_bundle:
        most = _MANY
    if not least <= len(arguments.words) <= most or (arguments.arguments and verb != "pull"):
        raise UsageError(f"expected: pyfetch {verb} {VERBS[verb][0]}".rstrip() + f"; see `pyfetch {verb} --help`")
    if "--password-stdin" in by_name and verb != "login" and bool(arguments.username) != arguments.password_stdin:
        raise UsageError("--username and --password-stdin go together: the password is read from standard input")
    return arguments


def _first_word(words: "list[str]") -> int:
    """Return the index of the first word that is not an option: a verb, perhaps."""
    with_value = {name for verb in VERBS for option in options_of(verb) if option.value for name in option.names}
    index = 0
    while index < len(words) and words[index].startswith("-") and words[index] != "-":
        index += 2 if words[index] in with_value else 1
    return index


def _take(arguments: Arguments, by_name: "dict[str, Option]", word: str, rest: "list[str]") -> None:
    """Set the option `word`. Its value is in the word itself (`--name=value`) or in the next one."""
    name, equals, text = word.partition("=")
    option = by_name.get(name)
    if option is None:
        known = [one[2:] for one in by_name if one.startswith("--")]
        way_out = did_you_mean(name.lstrip("-"), known, "--") or f"; see `pyfetch {arguments.verb} --help`"
        raise UsageError(f"unknown option {name}{way_out}")
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
