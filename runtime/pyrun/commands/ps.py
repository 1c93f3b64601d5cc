"""pyrun ps: the host's ps, never one that is in the container (CVE-2022-1227)."""

import os

from pyrun.container.state import load
from pyrun.errors import Error, UsageError
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, *options: str, format: str = "table") -> None:
    if format not in ("table", "json"):
        raise UsageError(f'invalid format option "{format}": table or json')
    pids = load(settings.root, id_).processes()
    if format == "json":
        print(encode(pids))
        return
    header, *lines = _ps(list(options) or ["-ef"]).splitlines()
    titles = header.split()
    if "PID" not in titles:
        raise UsageError(f"couldn't find PID field in ps output: {' '.join(options)} must show it")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    print(header)
    for line in lines:
        if line.split()[column] in wanted:
            print(line)


def _ps(options: "list[str]") -> str:
    output = os.memfd_create("ps", os.MFD_CLOEXEC)
    environment = {"PATH": os.defpath, **os.environ}
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
