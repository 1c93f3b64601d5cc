"""The command line. Errors are printed here and nowhere else.

pyrun run -b "$(pyfetch alpine)"        what `docker run alpine` does
"""

import sys
from _signal import SIGINT

from foundation.errors import Error, did_you_mean, one_line, reason
from foundation.interrupts import hold, interrupt_once
from foundation.linux import os
from foundation.linux.whole_file import to_standard_error
from pyfetch import __version__
from pyfetch.errors import UsageError, exit_status, translate
from pyfetch.image.store import Store, default_path
from pyfetch.options import VERBS, WITHOUT_STORE, Arguments, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pyfetch.bundle.runtime_config import IdMappings


def main() -> "NoReturn":
    """Run the command line of this process, and end it with the exit status."""
    os._exit(run(sys.argv[1:]))  # do not wait for threads that wait for the network


def _open_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams: the next file opened would otherwise get our output."""
    while (null := os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) <= 2:
        pass
    os.close(null)
    sys.stdin = sys.stdin or open(0, closefd=False)
    # A path can be any bytes; print it as the user typed it.
    sys.stdout = open(1, "w", encoding=sys.getfilesystemencoding(), errors="surrogateescape", closefd=False)


def _flushed(status: int) -> int:
    """Flush standard output if `status` is 0; return `status`, or the status of an error of the flush."""
    try:
        if status == 0:
            sys.stdout.flush()
    except BrokenPipeError as error:
        return _fail(error)
    except OSError as error:
        return _fail(translate(f"standard output: {error.strerror}", error))
    return status


def run(argv: "list[str]") -> int:
    """Execute the command line; return the exit status."""
    try:
        status = _flushed(_reported(lambda: _run(argv)))
        hold()  # an interruption after this would be told as a failure, although all is done
        return status
    except KeyboardInterrupt as interrupt:
        _say("interrupted; what was downloaded is kept for the next time")
        return _interrupted(interrupt)


def _run(argv: "list[str]") -> int:
    interrupt_once()
    os.umask(0o022)
    _open_standard_streams()
    words = argv[: argv.index("--")] if "--" in argv else argv
    if "--version" in words:
        print(f"pyfetch {__version__}")
        return 0
    if words[:1] == ["help"] and words[1:] and words[1] not in VERBS:
        raise UsageError(f'"{words[1]}" is not a verb{did_you_mean(words[1], VERBS) or ": see `pyfetch help`"}')
    if "--help" in words or "-h" in words or words[:1] == ["help"]:
        from pyfetch.help import help_text

        print(help_text(next((word for word in words if word in VERBS), "")))
        return 0
    arguments = parse(argv)
    store = Store(arguments.store or default_path())
    return _as_user(arguments, store)


def _reported(action: "Callable[[], int]") -> int:
    """Return the status of `action`, or that of its error, which is printed."""
    try:
        return action()
    except (Error, OSError) as error:
        from pyfetch.help import mistaken_verb

        return _fail(error, mistaken_verb(sys.argv[1:]))
    except (ImportError, MemoryError) as error:  # too few descriptors, or too little memory
        return _fail(error)
    except AttributeError as error:
        module = getattr(error, "obj", None)
        # If stat(2) of __init__.py fails, importlib takes the directory for a package without one (PEP 420).
        if not hasattr(module, "__path__") or getattr(module, "__file__", None):
            raise
        return _fail(Error(f"Python's package {getattr(module, '__name__', '')} cannot be read"))
    except LookupError as error:
        if not str(error).startswith("unknown encoding"):  # the module of an encoding cannot be read
            raise
        return _fail(error)
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        return _fail(Error("cannot start a thread: too many processes (ulimit -u, pids.max), or too little memory"))


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    return 128 + int(interrupt.args[0] if interrupt.args else SIGINT)


def _as_user(arguments: Arguments, store: Store) -> int:
    """Run the verb: directly as root, else in a user namespace if the user has enough subordinate ids."""
    from pyfetch.bundle.runtime_config import IdMappings

    if arguments.verb in WITHOUT_STORE:
        return _command(arguments, store, IdMappings([], []))
    if os.geteuid() == 0:
        return _run_verb(arguments, store, IdMappings([], []))
    from pyfetch.bundle import rootless

    mappings = rootless.mappings()
    if not mappings.single:
        return rootless.run_inside(mappings, lambda: _run_inside(arguments, store, mappings))
    if arguments.verb == "pull":
        _say(
            "warning: no subordinate ids in /etc/subuid and /etc/subgid, or no newuidmap: "
            "all files will belong to you, and programs that change users will fail"
        )
    return _run_verb(arguments, store, mappings)


def _run_inside(arguments: Arguments, store: Store, mappings: "IdMappings") -> int:
    """Run the verb in the child that rootless.run_inside() makes, and print its errors there."""
    try:
        return _flushed(_reported(lambda: _run_verb(arguments, store, mappings)))
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)


def _run_verb(arguments: Arguments, store: Store, mappings: "IdMappings") -> int:
    store.open(exclusive=arguments.verb == "prune")
    return _command(arguments, store, mappings)


def _command(arguments: Arguments, store: Store, mappings: "IdMappings") -> int:
    command = __import__(f"pyfetch.commands.{arguments.verb}", fromlist=["run"])  # importlib takes a millisecond
    return int(command.run(arguments, store, mappings))


def _fail(error: BaseException, suggestion: str = "") -> int:
    if not isinstance(error, BrokenPipeError):  # nobody reads our output any more
        _say(f"error: {one_line(reason(error))}{suggestion}")
    return exit_status(error)


def _say(text: str) -> None:
    to_standard_error(f"pyfetch: {text}\n")
