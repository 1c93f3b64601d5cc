"""The command line: verbs, options, exit codes. The only `except` that prints.

Every verb is a module in commands/, imported only when the verb is typed, with one function

    run(server, words, options)

which returns the exit code. `server` is the daemon, to which a verb connects by its first request.
"""

import sys
from _signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal

from foundation.errors import Error, one_line, reason
from foundation.linux import os
from pyrund import __version__
from pyrund.errors import ApiError, Refused
from pyrund.options import GLOBAL, OF_DOCKER, VERBS, check_count, check_verb, parse, takes_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyrund.client.server import Server
    from pyrund.options import Options

_LOCAL = ("serve", "help")  # verbs that ask no daemon
_SHOW_ONLY = ("version", "info", "events", "completion")  # verbs that start no daemon
_WITH_NAME = ("run",)  # as docker, these put the program's name before their errors


def main() -> "NoReturn":
    """Run the command line of this process, and end it with the exit status."""
    _open_standard_streams()
    os._exit(run(sys.argv[1:]))


def run(words: "list[str]") -> int:
    """Execute the command line; return the exit status."""
    try:
        if getsignal(SIGINT) == SIG_DFL:  # as pack/compiler.py has it
            signal(SIGINT, default_int_handler)
        status = _run(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        return 128 + int(interrupt.args[0] if interrupt.args else SIGINT)
    except BrokenPipeError:
        return 141  # as if SIGPIPE had ended us
    except ApiError as error:
        return _fail(f"Error response from daemon: {error}", words, 1)
    except (Error, OSError) as error:
        return _fail(reason(error), words, getattr(error, "status", 1))


def _run(words: "list[str]") -> int:
    options, rest = parse(words, GLOBAL, stop_early=True, way_out=": see `pyrund help`")
    if options.get("version"):
        print(f"pyrund version {__version__}")
        return 0
    if options.get("help") or not rest:
        return _help([])
    verb, *rest = rest
    if verb in OF_DOCKER:
        raise Refused(f"pyrund has no {verb}: docker's client has, with DOCKER_HOST={_host(options)}")
    check_verb(verb)
    usage, known, _ = VERBS[verb]
    way_out = f": see `pyrund help {verb}`"
    given, others = parse(rest, {**known, "help": GLOBAL["help"]}, takes_all(usage), way_out)
    if given.pop("help", False):
        return _help([verb])
    check_count(verb, usage, len(others))
    if others[:1] == [""]:
        raise Refused(f"'pyrund {verb}': the first argument is empty: {usage}")
    command = __import__(f"pyrund.commands.{verb.replace('-', '_')}", fromlist=["run"])
    return int(command.run(None if verb in _LOCAL else _server(verb, options), others, given))


def _server(verb: str, options: "Options") -> "Server":
    from pyrund.client import daemon
    from pyrund.client.address import Address
    from pyrund.client.server import Server

    is_named = "host" in options or os.environment.get("DOCKER_HOST")
    begin = None if is_named or verb in _SHOW_ONLY else daemon.begin
    return Server(Address(_host(options), options), begin)


def _host(options: "Options") -> str:
    """Return the address of the daemon. Raises Refused."""
    from pyrund.client.address import default

    hosts = options.get("host", [])
    if len(hosts) > 1:
        raise Refused("specify only one -H")
    return str(hosts[0] if hosts else os.environment.get("DOCKER_HOST") or default())


def _help(words: "list[str]") -> int:
    from pyrund.commands import help  # imported here because its texts are large

    return help.run(None, words, {})


def _fail(text: str, words: "list[str]", status: int) -> int:
    name = "pyrund: " if not text.startswith("Error response") or set(_WITH_NAME) & set(words[:3]) else ""
    try:
        print(f"{name}{one_line(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass  # standard error is closed, or full
    return status


def _open_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams: the next file opened would otherwise get our output."""
    while (null := os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
