"""The command line: verbs, options, exit statuses; the only place that catches errors, and prints them.

pyrun run -b "$(pyfetch alpine)"        what `docker run alpine` does
"""

import argparse
import os
import sys

from pyfetch import __version__
from pyfetch.errors import Error, UsageError, exit_status, reason
from pyfetch.store import Store, default_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyfetch.runtime_config import IdMappings

VERBS = {
    "pull": "make BUNDLE from IMAGE, and print its path; without BUNDLE a new one in the store",
    "images": "list the images in the store",
    "inspect": "describe an image or a bundle, as JSON",
    "rm": "remove bundles, or the names of images",
    "prune": "remove what no image and no bundle needs",
    "save": "write an image of the store as an OCI archive",
}
_EPILOG = """exit status: 2 usage, 3 not found, 4 authentication, 5 network, 6 verification, 7 disk, 1 anything else"""


def main() -> "NoReturn":
    os.umask(0o022)
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except SystemExit as end:  # argparse's --help
        status = int(end.code or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        status = 1  # whoever reads our output has gone; nobody is left to tell
    os._exit(status)  # threads that wait for a network need not be waited for


def run(argv: "list[str]") -> int:
    """Do what the command line says; return the exit status."""
    try:
        arguments = _parse(argv)
        store = Store(arguments.store or default_path())
        return _as_user(arguments, store)
    except (Error, OSError) as error:
        return _fail(error)
    except KeyboardInterrupt:
        os.write(2, b"pyfetch: interrupted; what was downloaded is kept, and not fetched again\n")
        return 130


def _as_user(arguments: argparse.Namespace, store: Store) -> int:
    """Do it as root, or else in a user namespace, if the user has the ids that images need."""
    from pyfetch.runtime_config import IdMappings

    if os.geteuid() == 0:
        return _run_verb(arguments, store, IdMappings([], []))
    from pyfetch import rootless

    mappings = rootless.mappings()
    if not mappings.single:
        return rootless.run_inside(mappings, lambda: _run_inside(arguments, store, mappings))
    if arguments.verb == "pull":
        os.write(2, b"pyfetch: warning: no subordinate ids in /etc/subuid and /etc/subgid, or no newuidmap: ")
        os.write(2, b"all files will belong to you, and programs that change users will fail\n")
    return _run_verb(arguments, store, mappings)


def _run_inside(arguments: argparse.Namespace, store: Store, mappings: "IdMappings") -> int:
    """The same in the child: its errors are its own."""
    try:
        status = _run_verb(arguments, store, mappings)
        sys.stdout.flush()
        return status
    except (Error, OSError) as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130


def _run_verb(arguments: argparse.Namespace, store: Store, mappings: "IdMappings") -> int:
    from importlib import import_module

    store.open(exclusive=arguments.verb == "prune")
    return int(import_module(f"pyfetch.commands.{arguments.verb}").run(arguments, store, mappings))


def _fail(error: BaseException) -> int:
    status = exit_status(error)
    os.write(2, f"pyfetch: error: {reason(error)}\n".encode("utf-8", "replace"))
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> "NoReturn":
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parse(argv: "list[str]") -> argparse.Namespace:
    # `--` ends our part: what follows is the container's, options and all.
    ours, _, theirs = _partition(argv)
    if ours[:1] in (["-h"], ["--help"], ["--version"]) or not ours:
        _introduce(ours)
    verb = ours.pop(0) if ours[0] in VERBS else "pull"
    parser = _Parser(prog=f"pyfetch {verb}", description=VERBS[verb], epilog=_EPILOG)
    parser.add_argument("--store", default="", metavar="DIR", help="where images are kept (default: $PYFETCH_STORE)")
    _OPTIONS[verb](parser)
    arguments = parser.parse_intermixed_args(ours)  # BUNDLE may come after options
    arguments.verb = verb
    arguments.arguments = theirs
    if theirs and verb != "pull":
        raise UsageError("only pull takes arguments for the container")
    if verb == "pull":
        arguments.password = sys.stdin.readline().rstrip("\n") if arguments.password_stdin else ""
    return arguments


def _introduce(ours: "list[str]") -> "NoReturn":
    """Print what is asked for before any verb, and end."""
    if not ours:
        raise UsageError("an image is missing; see `pyfetch --help`")
    if ours == ["--version"]:
        print(f"pyfetch {__version__}")
    else:
        verbs = "".join(f"  {name:8} {summary}\n" for name, summary in VERBS.items())
        print(
            f"usage: pyfetch [pull] IMAGE [BUNDLE] [-- ARGUMENT...]\n       pyfetch VERB --help\n\n{verbs}\n{_EPILOG}"
        )
    raise SystemExit(0)


def _partition(argv: "list[str]") -> "tuple[list[str], bool, list[str]]":
    if "--" not in argv:
        return argv, False, []
    at = argv.index("--")
    return argv[:at], True, argv[at + 1 :]


def _pull(parser: _Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="NAME, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE, -")
    parser.add_argument("bundle", metavar="BUNDLE", nargs="?", default="", help="the folder to make")
    add = parser.add_argument
    add("--platform", default=os.environ.get("DOCKER_DEFAULT_PLATFORM", ""), metavar="OS/ARCH[/VARIANT]")
    add("--pull", choices=("always", "missing", "never"), default="always", help="when to ask for a newer image")
    add("--overlay", action="store_true", help="a writable layer over the store's layers, or fail")
    add("--copy", action="store_true", help="a tree of its own, in place of an overlay")
    add("-q", "--quiet", action="store_true", help="no progress")
    add("--json", action="store_true", help="progress as JSON, one event a line")
    group = parser.add_argument_group("the container")
    add = group.add_argument
    add("--entrypoint", metavar="PROGRAM", help="in place of the image's entrypoint and command")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]")
    add("-u", "--user", default="", metavar="USER[:GROUP]")
    add("-w", "--workdir", default="", metavar="DIR")
    add("--hostname", default="", metavar="NAME")
    add("--network", choices=("none", "host"), default="none", help="none: loopback only (default)")
    add("--read-only", action="store_true", help="the root file system cannot be written to")
    add("-t", "--tty", action="store_true", help="the container has a terminal")
    group = parser.add_argument_group("registries")
    add = group.add_argument
    add("--authfile", default="", metavar="FILE", help="credentials, as docker and podman keep them")
    add("--username", default="", metavar="NAME")
    add("--password-stdin", action="store_true", help="read the password from standard input")
    add("--insecure", action="store_true", help="allow this registry plain HTTP, or a certificate of nobody")
    add("--retries", type=_natural, default=5, metavar="N", help="attempts without progress before giving up")
    add("--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="silence after which a server is given up")
    add("--jobs", type=_natural, default=4, metavar="N", help="layers to fetch at the same time")
    group = parser.add_argument_group("limits")
    add = group.add_argument
    add("--max-size", type=_size, default=64 << 30, metavar="BYTES", help="of what an image unpacks to (64G)")
    add("--max-files", type=_natural, default=4_000_000, metavar="N")


def _images(_: _Parser) -> None:
    """No options of its own."""


def _inspect(parser: _Parser) -> None:
    parser.add_argument("image", metavar="IMAGE|BUNDLE")


def _rm(parser: _Parser) -> None:
    parser.add_argument("names", metavar="BUNDLE|IMAGE", nargs="+")


def _prune(parser: _Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also bundles and images that are not used")


def _save(parser: _Parser) -> None:
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="in place of standard output")


_OPTIONS = {"pull": _pull, "images": _images, "inspect": _inspect, "rm": _rm, "prune": _prune, "save": _save}


def _natural(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _size(text: str) -> int:
    number = text.rstrip("kKmMgGtT")
    unit = text[len(number) :].lower()
    if not number.isdigit() or len(unit) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, such as 500M or 64G")
    return int(number) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[unit]
