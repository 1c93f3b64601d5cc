"""pyrund version."""

import sys

from foundation.linux import os
from pyrund import __version__
from pyrund.client.listing import one
from pyrund.errors import ApiError, Refused
from pyrund.http.request import NEWEST, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    daemon, failure = None, ""
    try:
        daemon = server.call("GET", "/version")
    except (ApiError, Refused) as error:
        failure = str(error)
    kernel = os.uname()
    client = {
        "Version": __version__,
        "ApiVersion": shown(server.version if daemon else NEWEST),
        "DefaultAPIVersion": shown(NEWEST),
        "PythonVersion": sys.version.split()[0],
        "Os": "linux",
        "Arch": _ARCHITECTURES.get(kernel.machine, kernel.machine),
    }
    template = options.get("format", "")
    print(one({"Client": client, "Server": daemon}, template) if template else _text(client, daemon), flush=True)
    if failure:
        raise Refused(failure)
    return 0


def _text(client: "dict[str, str]", daemon: "dict[str, Any] | None") -> str:
    lines = ["Client: pyrund", *_lines(client, 1)]
    if daemon:
        lines += ["", f"Server: {(daemon.get('Platform') or {}).get('Name') or 'Docker Engine'}"]
        for component in daemon.get("Components") or []:
            details = component.get("Details") or {}
            lines += [f" {component['Name']}:", *_lines({"Version": component["Version"], **details}, 2)]
    return "\n".join(lines)


_LABELS = {
    "ApiVersion": "API version",
    "PythonVersion": "Python version",
    "GoVersion": "Go version",
    "GitCommit": "Git commit",
    "MinAPIVersion": "Minimum API version",
    "KernelVersion": "Kernel version",
}
_LEFT_OUT = ("Os", "Arch", "DefaultAPIVersion", "BuildTime")


def _lines(facts: "dict[str, Any]", depth: int) -> "list[str]":
    rows = {_LABELS.get(name, name): value for name, value in facts.items() if name not in _LEFT_OUT and value}
    rows["OS/Arch"] = f"{facts['Os']}/{facts['Arch']}" if "Os" in facts and "Arch" in facts else ""
    return [f"{' ' * depth}{f'{name}:':20} {value}" for name, value in rows.items() if value]
