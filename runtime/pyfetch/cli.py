"""The command line: verbs, options, exit statuses; the only place that catches errors, and prints them.

pyrun run -b "$(pyfetch alpine)"        what `docker run alpine` does
"""

import os
import sys

from pyfetch import __version__
from pyfetch.errors import Error, exit_status, reason, translate
from pyfetch.options import VERBS, Arguments, parse
from pyfetch.store import Store, default_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyfetch.runtime_config import IdMappings


def main() -> "NoReturn":
    os.umask(0o022)
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        status = 1  # whoever reads our output has gone; nobody is left to tell
    except OSError as error:
        status = _fail(translate(f"standard output: {error.strerror}", error))
    os._exit(status)  # threads that wait for a network need not be waited for


def run(argv: "list[str]") -> int:
    """Do what the command line says; return the exit status."""
    try:
        if argv == ["--version"]:
            print(f"pyfetch {__version__}")
            return 0
        words = argv[: argv.index("--")] if "--" in argv else argv
        if "--help" in words or "-h" in words or words[:1] == ["help"]:
            from pyfetch.help import help_text

            print(help_text(next((word for word in words if word in VERBS), "")))
            return 0
        arguments = parse(argv)
        store = Store(arguments.store or default_path())
        return _as_user(arguments, store)
    except (Error, OSError) as error:
        from pyfetch.help import mistaken_verb

        return _fail(error, mistaken_verb(argv))
    except KeyboardInterrupt:
        os.write(2, b"pyfetch: interrupted; what was downloaded is kept, and not fetched again\n")
        return 130


def _as_user(arguments: Arguments, store: Store) -> int:
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


def _run_inside(arguments: Arguments, store: Store, mappings: "IdMappings") -> int:
    """The same in the child: its errors are its own."""
    try:
        status = _run_verb(arguments, store, mappings)
        sys.stdout.flush()
        return status
    except (Error, OSError) as error:
        return _fail(error)
    except KeyboardInterrupt:
        return 130


def _run_verb(arguments: Arguments, store: Store, mappings: "IdMappings") -> int:
    store.open(exclusive=arguments.verb == "prune")
    command = __import__(f"pyfetch.commands.{arguments.verb}", fromlist=["run"])  # importlib takes a millisecond
    return int(command.run(arguments, store, mappings))


def _fail(error: BaseException, suggestion: str = "") -> int:
    status = exit_status(error)
    os.write(2, f"pyfetch: error: {reason(error)}{suggestion}\n".encode("utf-8", "replace"))
    return status
