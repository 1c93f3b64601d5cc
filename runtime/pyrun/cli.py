"""The command line: verbs, options, exit codes. The only `except` that prints.

Every verb is a module in commands/, imported only when the verb is typed, with one function

    run(settings, *arguments, **options)

which returns the exit code, None for 0.
"""

import _signal
import sys
from io import TextIOWrapper

from foundation.errors import Error, reason
from foundation.linux import os
from pyrun import __version__, log
from pyrun.container.state import OCI_VERSION, default_root
from pyrun.errors import UsageError
from pyrun.options import GLOBAL, VERBS, Settings, check_count, check_verb, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    """Run the command line of this process, and exit."""
    status = 0
    try:
        if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:  # as pack/compiler.py has it
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        _open_standard_streams()
        _use_utf8()
        # We inherit an ignored SIGCHLD, with which waiting for a child fails: wait(2), NOTES.
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        status = run(sys.argv[1:])
        if sys.stdout:
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        log.error("interrupted")
        status = 128 + (interrupt.args[0] if interrupt.args else _signal.SIGINT)
    except (Error, OSError, ImportError, MemoryError) as error:
        if not (isinstance(error, BrokenPipeError) and _has_no_reader()):
            log.error(reason(error))
            status = error.status if isinstance(error, Error) else 1
    os._exit(status)  # skips the interpreter's finalization, which takes 1.3 ms and has nothing to do


def _has_no_reader() -> bool:
    """Return whether standard output is a pipe without a reader: `pyrun help | head -1` is not an error."""
    from select import POLLERR, poll  # imported here because this is rare

    output = poll()
    output.register(1, 0)
    return any(events & POLLERR for _, events in output.poll(0))


def _use_utf8() -> None:
    """Restart with UTF-8 for file names, as in config.json, if the locale has another encoding; C has not (PEP 540)."""
    if sys.getfilesystemencoding() != "utf-8":
        from pyrun.stub.interpreter import restart  # imported here because few machines have such a locale

        restart(sys.executable, "-X", "utf8")


def _open_standard_streams() -> None:
    """Open /dev/null at 0, 1 and 2 if the caller closed them: otherwise the next opened file would take their place."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)  # gets the lowest free number, `fd`
    if isinstance(sys.stdout, TextIOWrapper):  # it is None if it was closed: print() then does nothing
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # for JSON, and for paths of any bytes


def run(arguments: "list[str]") -> int:
    """Execute the command line `arguments` and return the exit code."""
    options, rest = parse(arguments, GLOBAL, stop_early=True)
    if options.get("version"):
        # As in runc: docker parses "commit:", and the word before "version".
        print(
            f"pyrun version {__version__}\ncommit: {__version__}\nspec: {OCI_VERSION}\npython: {sys.version.split()[0]}"
        )
        return 0
    if options.get("help") or not rest:
        return _help("")
    verb, *rest = rest
    check_verb(verb)
    settings = _settings(options)
    usage, known, _ = VERBS[verb]
    takes_command = usage.endswith("...]") and "ID..." not in usage and "--" not in usage
    verb_options, positional = parse(rest, {**known, "help": GLOBAL["help"]}, stop_early=takes_command)
    if verb_options.pop("help", False):
        return _help(verb)
    if "--" not in usage and positional[:1] == ["--"]:
        del positional[0]
    check_count(verb, usage, positional)
    command = __import__(f"pyrun.commands.{verb}", fromlist=["run"])
    status = command.run(settings, *positional, **verb_options)
    return status or 0


def _settings(options: "dict[str, Any]") -> Settings:
    log.configure(options.get("log"), options.get("log_format", "text"), options.get("debug", False))
    root = options.get("root", default_root())
    if root in ("", "/"):
        raise UsageError(f'invalid root "{root}": name a directory for the containers\' states')
    manager = "systemd" if options.get("systemd_cgroup") else options.get("cgroup_manager", "cgroupfs")
    root = os.path.abspath(root) if not root.startswith("/") else root
    return Settings(root, "root" in options, manager, options.get("criu", ""))


def _help(verb: str) -> int:
    from pyrun.commands import help  # imported here because its texts are large

    help.run(None, verb)
    return 0
