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
    for line in lines_of(pids, list(options) or ["-ef"]):
        print(line)


def lines_of(pids: "list[int]", options: "list[str]") -> "list[str]":
    """Return what the host's ps prints with `options`, of which only the header and the lines of `pids`."""
    header, *lines = _ps(options).splitlines()
    titles = header.split()
    if "PID" not in titles:
        raise UsageError(f"couldn't find PID field in ps output: {' '.join(options)} must show it")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    return [header, *(line for line in lines if line.split()[column] in wanted)]


def _ps(options: "list[str]") -> str:
    output = os.memfd_create("ps", os.MFD_CLOEXEC)
    environment = {"PATH": os.defpath, **os.environment}
    try:
        actions = [(os.POSIX_SPAWN_DUP2, output, 1)]
        pid = os.posix_spawnp("ps", ["ps", *options], environment, file_actions=actions)
    except FileNotFoundError:
        raise Error("ps: not found: install procps, or use --format json") from None
    if os.waitpid(pid, 0)[1] != 0:
        raise UsageError(f"ps {' '.join(options)} failed")
    with open(output, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")
