"""pyrun ps: runs the host's ps, never a ps of the container (CVE-2022-1227)."""

from foundation.encode import encode
from foundation.errors import Error
from foundation.linux import os
from pyrun.container.state import load
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", id_: str, *options: str, format: str = "table") -> None:
    pids = load(settings.root, id_).processes()
    if format == "json":
        print(encode(pids))
        return
    words = list(options) or ["-ef"]
    status, text, errors = ps(words)
    if status:
        raise UsageError(f"ps {' '.join(words)}: {why(status, errors)}")
    for line in lines_of(text, pids, words):
        print(line)


def lines_of(text: str, pids: "list[int]", options: "list[str]") -> "list[str]":
    """Return the header and the lines of `pids` of the table `text`, which ps has printed with `options`."""
    header, *lines = text.splitlines()
    titles = header.split()
    if "PID" not in titles:
        raise UsageError(f"couldn't find PID field in ps output: {' '.join(options)} must show it")
    column, wanted = titles.index("PID"), set(map(str, pids))
    found, is_wanted = [header], False
    for line in lines:
        pid = line.split()[column]
        is_wanted = is_wanted if pid == "-" else pid in wanted  # that is a thread, which follows its process
        if is_wanted:
            found.append(line)
    return found


def ps(options: "list[str]") -> "tuple[int, str, str]":
    """Run the host's ps; return its exit status, and what it has printed to standard output and standard error."""
    files = [os.memfd_create("ps", os.MFD_CLOEXEC) for _ in range(2)]
    environment = {"PATH": os.defpath, **os.environment}
    try:
        actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files, 1)]
        pid = os.posix_spawnp("ps", ["ps", *options], environment, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        output, errors = map(_content, files)
        return status, output, errors
    except FileNotFoundError:
        raise Error("ps: not found: install procps, or use --format json") from None
    finally:
        for file in files:
            os.close(file)


def why(status: int, errors: str) -> str:
    """Return why ps has failed, in one line of its own if it has said so."""
    return errors.partition("\n")[0] or f"exit status {status}"


def _content(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", closefd=False) as content:
        return content.read().decode("utf-8", "replace")
