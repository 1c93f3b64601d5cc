"""The verbs and all options of the command line as tables, and their parser, which reads them as docker's does.

Help, the number of arguments, completion and the man page use the same tables.
"""

from foundation.errors import did_you_mean
from pyrund.creation_options import CREATION
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from foundation.help import Option

    Options = dict[str, Any]

_FORMAT: "Option" = ("f", "TEMPLATE", "show each by a template of Go, such as {{.Name}}; json for all of it")
_DETACH_KEYS: "Option" = ("", "KEYS", "keys that leave the container running, default: ctrl-p,ctrl-q")
_SIG_PROXY: "Option" = ("", "", "pass signals on to the program, unless =false is given; default: true")
_FILTER: "Option" = ("f", "NAME=VALUE...", "show only those that match")
_TIME: "dict[str, Option]" = {
    "signal": ("s", "SIGNAL", "signal to send"),
    "time": ("t", "SECONDS", "time to end, after which the container is killed"),
    "timeout": ("", "SECONDS", "the same"),
}
_SHOWN: "dict[str, Option]" = {
    "filter": _FILTER,
    "format": ("", *_FORMAT[1:]),
    "no-trunc": ("", "", "do not shorten ids and commands"),
    "quiet": ("q", "", "print the ids only"),
}

_TLS: "dict[str, Option]" = {
    "tls": ("", "", "encrypt TCP"),
    "tlsverify": ("", "", "encrypt TCP, and verify the certificate of the other side"),
    "tlscacert": ("", "FILE", "certificates of the authorities that are trusted"),
    "tlscert": ("", "FILE", "certificate of this side"),
    "tlskey": ("", "FILE", "its private key"),
}

# verb: (arguments, options, summary). "[X]" is optional; "[ARG...]" takes all following words, options included.
VERBS: "dict[str, tuple[str, dict[str, Option], str]]" = {
    "run": (
        "IMAGE [COMMAND] [ARG...]",
        {
            **CREATION,
            "detach": ("d", "", "do not wait, and print the container's id"),
            "detach-keys": _DETACH_KEYS,
            "sig-proxy": _SIG_PROXY,
        },
        "create a container from an image, and start it",
    ),
    "create": ("IMAGE [COMMAND] [ARG...]", CREATION, "create a container, and print its id"),
    "start": (
        "CONTAINER [CONTAINER...]",
        {
            "attach": ("a", "", "show its output, and wait for its end"),
            "checkpoint": ("", "NAME", "let the container go on from a checkpoint"),
            "checkpoint-dir": ("", "DIR", "directory of the daemon's machine that has the checkpoint"),
            "detach-keys": _DETACH_KEYS,
            "interactive": ("i", "", "attach standard input, too"),
            "sig-proxy": _SIG_PROXY,
        },
        "start containers",
    ),
    "stop": ("CONTAINER [CONTAINER...]", _TIME, "stop containers: SIGTERM, and SIGKILL after 10 seconds"),
    "restart": ("CONTAINER [CONTAINER...]", _TIME, "stop containers and start them again"),
    "kill": (
        "CONTAINER [CONTAINER...]",
        {"signal": ("s", "SIGNAL", "signal to send, default: KILL")},
        "signal containers",
    ),
    "rm": (
        "CONTAINER [CONTAINER...]",
        {
            "force": ("f", "", "kill a running one first; no error if there is none"),
            "link": ("l", "", "remove a link"),
            "volumes": ("v", "", "remove its anonymous volumes, too"),
        },
        "remove containers",
    ),
    "ps": (
        "",
        {
            "all": ("a", "", "show those that do not run, too"),
            **_SHOWN,
            "last": ("n", "N", "show the N created last, running or not"),
            "latest": ("l", "", "show the one created last"),
            "size": ("s", "", "show how much they have written"),
        },
        "list containers",
    ),
    "logs": (
        "CONTAINER",
        {
            "details": ("", "", "show labels and variables that the log has"),
            "follow": ("f", "", "go on with what is written later"),
            "since": ("", "TIME", "from this time on: 2026-01-31T12:00:00, seconds since the epoch, or 10m for ago"),
            "tail": ("n", "N", "the last N lines, default: all"),
            "timestamps": ("t", "", "show the times"),
            "until": ("", "TIME", "until this time"),
        },
        "show what a container has printed",
    ),
    "exec": (
        "CONTAINER COMMAND [ARG...]",
        {
            "detach": ("d", "", "do not wait"),
            "detach-keys": _DETACH_KEYS,
            "env": CREATION["env"],
            "env-file": CREATION["env-file"],
            "interactive": CREATION["interactive"],
            "privileged": CREATION["privileged"],
            "tty": CREATION["tty"],
            "user": CREATION["user"],
            "workdir": CREATION["workdir"],
        },
        "execute another program in a running container",
    ),
    "attach": (
        "CONTAINER",
        {
            "detach-keys": _DETACH_KEYS,
            "no-stdin": ("", "", "do not attach standard input"),
            "sig-proxy": _SIG_PROXY,
        },
        "connect to the standard streams of a running container",
    ),
    "wait": ("CONTAINER [CONTAINER...]", {}, "wait until containers end, and print their exit codes"),
    "inspect": (
        "NAME [NAME...]",
        {
            "format": _FORMAT,
            "size": ("s", "", "show how much a container has written"),
            "type": ("", "container|image|network|volume", "what NAME is"),
        },
        "show all about containers, images, networks or volumes, as JSON",
    ),
    "stats": (
        "[CONTAINER...]",
        {
            "all": ("a", "", "show those that do not run, too"),
            "format": ("", *_FORMAT[1:]),
            "no-stream": ("", "", "show one sample, and exit"),
            "no-trunc": ("", "", "do not shorten ids"),
        },
        "show what containers use, live",
    ),
    "cp": (
        "SOURCE DESTINATION",
        {
            "archive": ("a", "", "keep owners"),
            "follow-link": ("L", "", "follow a link that is the source"),
            "quiet": ("q", "", "do not say how much was copied"),
        },
        "copy files between a container, CONTAINER:PATH, and this machine; - is a tar archive",
    ),
    "top": ("CONTAINER [PS-OPTION...]", {}, "show the processes of a container"),
    "pull": (
        "NAME[:TAG|@DIGEST]",
        {
            "all-tags": ("a", "", "fetch all tags of the repository"),
            "disable-content-trust": CREATION["disable-content-trust"],
            "platform": CREATION["platform"],
            "quiet": ("q", "", "print the image's name only"),
        },
        "fetch an image from a registry",
    ),
    "push": (
        "NAME[:TAG]",
        {
            "all-tags": ("a", "", "send all tags of the repository"),
            "disable-content-trust": CREATION["disable-content-trust"],
            "platform": ("", "OS/ARCH", "send the manifest of this platform alone"),
            "quiet": ("q", "", "print the image's name only"),
        },
        "send an image to a registry",
    ),
    "login": (
        "[REGISTRY]",
        {
            "username": ("u", "NAME", "the user"),
            "password": ("p", "PASSWORD", "the password; other users can see it in the process list"),
            "password-stdin": ("", "", "read the password from standard input"),
        },
        "keep credentials for a registry, if it accepts them",
    ),
    "logout": ("[REGISTRY]", {}, "forget credentials for a registry"),
    "search": (
        "TERM",
        {
            "filter": _FILTER,
            "format": ("", *_FORMAT[1:]),
            "limit": ("", "N", "show at most N, default: 25"),
            "no-trunc": ("", "", "do not shorten descriptions"),
        },
        "search Docker Hub, or with HOST/TERM another registry",
    ),
    "images": (
        "[NAME[:TAG]]",
        {"all": ("a", "", "show all"), "digests": ("", "", "show the digests"), **_SHOWN},
        "list images",
    ),
    "rmi": (
        "IMAGE [IMAGE...]",
        {
            "force": ("f", "", "remove it in any case"),
            "no-prune": ("", "", "keep parents without a name"),
            "platform": ("", "OS/ARCH", "remove it only if it is for this platform"),
        },
        "remove images",
    ),
    "tag": ("SOURCE[:TAG] TARGET[:TAG]", {}, "give an image another name"),
    "info": ("", {"format": _FORMAT}, "show facts about the daemon"),
    "version": ("", {"format": _FORMAT}, "show the versions of client and daemon"),
    "events": (
        "",
        {
            "filter": _FILTER,
            "format": ("", *_FORMAT[1:]),
            "since": ("", "TIME", "begin with the events since this time"),
            "until": ("", "TIME", "end at this time"),
        },
        "show what happens, as it happens",
    ),
    "serve": (
        "",
        {
            "host": ("H", "ADDRESS...", "where it listens, default: unix:///var/run/docker.sock"),
            "read-only-host": ("", "unix:///PATH...", "a socket for clients that may only read"),
            "data-root": ("", "DIR", "images and containers, default: /var/lib/pyrund"),
            "exec-root": ("", "DIR", "what does not outlive a reboot, default: /run/pyrund"),
            "group": ("G", "NAME", "who may use the socket beside root, default: docker"),
            "config-file": ("", "FILE", "settings, default: /etc/docker/daemon.json"),
            "bridge": ("b", "NAME", "the default bridge, existing or new, or none; default: pyrund0"),
            "bip": ("", "ADDRESS/LENGTH", "the address of the default bridge, with the length of its network's prefix"),
            "ipv6": ("", "", "let the default bridge have addresses of IPv6, too"),
            "fixed-cidr-v6": ("", "NETWORK", "the default bridge's network of IPv6, instead of local addresses"),
            "userland-proxy": (
                "",
                "",
                "serve published ports by a process; default: only if the host's firewall forwards nothing; "
                "=false: never",
            ),
            "label": ("", "KEY=VALUE...", "label of the daemon, which info shows"),
            "debug": ("D", "", "show debug mode in `info`; nothing else changes"),
            "experimental": (
                "",
                "",
                "tell clients that experimental features are on; docker's CLI offers `checkpoint` only then",
            ),
            **_TLS,
            "insecure-tcp": (
                "",
                "",
                "accept other machines without certificates; they get the rights of root",
            ),
            "idle": ("", "SECONDS", "end after so much time without containers that run and without clients"),
        },
        "run the daemon in the foreground",
    ),
    "dial-stdio": ("", {}, "connect standard input and output with the daemon"),
    "completion": ("bash|zsh|fish", {}, "print a script that completes verbs, options and containers in a shell"),
    "help": ("[COMMAND]", {}, "explain a command, with an example"),
}

GLOBAL: "dict[str, Option]" = {
    "host": ("H", "ADDRESS...", "the daemon: unix://PATH, tcp://HOST:PORT, ssh://[USER@]HOST; default: $DOCKER_HOST"),
    **_TLS,
    "version": ("v", "", "print the version"),
    "help": ("", "", "print this help"),
}


def parse(
    words: "list[str]", known: "dict[str, Option]", stop_early: bool, way_out: str = ""
) -> "tuple[Options, list[str]]":
    """Return (options by keyword, other words). `stop_early` ends the options at the first other word.
    `way_out` ends the error about an unknown one that resembles none.

    As in Go's pflag: `--name value`, `--name=value`, `-itd`, `-eNAME`, `-e=NAME`; "--" ends the options.
    """
    options: Options = {}
    others: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, others + rest
        if not word.startswith("-") or word == "-":
            if stop_early:
                return options, [word, *rest]
            others.append(word)
        elif word.startswith("--"):
            _take_long(options, known, word, rest, way_out)
        else:
            _take_short(options, known, word, rest, way_out)
    return options, others


def _take_long(options: "Options", known: "dict[str, Option]", word: str, rest: "list[str]", way_out: str) -> None:
    given, equals, value = word[2:].partition("=")
    name = _ALIASES.get(given, given)
    if name not in known:
        raise Refused(f"unknown flag: --{given}{did_you_mean(given, known, '--') or way_out}", 125)
    if not equals and known[name][1]:
        if not rest:
            raise Refused(f"flag needs an argument: --{given}", 125)
        value = rest.pop(0)
    _set(options, known, name, value if equals or known[name][1] else "true")


def _take_short(options: "Options", known: "dict[str, Option]", word: str, rest: "list[str]", way_out: str) -> None:
    """Take a cluster of letters, the last of which may have a value behind it."""
    names = {short: name for name, (short, _, _) in known.items() if short}
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in names:
            meant = f": did you mean '--{word[1:]}'?" if word[1:] in known else way_out
            raise Refused(f"unknown shorthand flag: {letter!r} in {word}{meant}", 125)
        name = names[letter]
        if letters.startswith("="):
            value, letters = letters[1:], ""
        elif not known[name][1]:
            value = "true"
        elif letters:
            value, letters = letters, ""
        elif rest:
            value = rest.pop(0)
        else:
            raise Refused(f"flag needs an argument: {letter!r} in {word}", 125)
        _set(options, known, name, value)


# Older names that docker still takes.
_ALIASES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}
_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _set(options: "Options", known: "dict[str, Option]", name: str, value: str) -> None:
    keyword, takes = name.replace("-", "_"), known[name][1]
    if takes.endswith("..."):
        options.setdefault(keyword, []).append(value)
    elif takes:
        options[keyword] = value
    elif value.lower() in _WORDS:
        options[keyword] = _WORDS[value.lower()]
    else:
        raise Refused(f'invalid argument "{value}" for "--{name}" flag: true or false', 125)


def takes_all(usage: str) -> bool:
    """Return whether the first word that is no option ends the options."""
    return "[ARG...]" in usage or "[PS-OPTION...]" in usage


def check_count(verb: str, usage: str, count: int) -> None:
    """Raise Refused if `verb` takes more or fewer words than `count`."""
    words = usage.split()
    least = sum(1 for word in words if not word.startswith("["))
    most = count if "..." in usage else len(words)
    if not words and count:
        raise Refused(f"'pyrund {verb}' accepts no arguments: see `pyrund help {verb}`")
    if not least <= count <= most:
        kind = "" if least == most else "at least " if count < least else "at most "
        number = least if count < least else most
        plural = "" if number == 1 else "s"
        raise Refused(f"'pyrund {verb}' requires {kind}{number} argument{plural}: {usage}")


# Verbs that docker's client alone has.
OF_DOCKER = (
    "build builder buildx checkpoint commit compose config container context diff export history image import load "
    "manifest network node pause plugin port rename save secret service stack swarm system trust unpause update volume"
).split()


def check_verb(verb: str) -> None:
    """Raise Refused if there is no such verb."""
    if verb not in VERBS:
        raise Refused(f"unknown command: pyrund {verb}{did_you_mean(verb, VERBS) or ': see `pyrund help`'}")
