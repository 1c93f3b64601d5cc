"""pyrund info."""

import sys

from foundation.sizes import human_binary
from pyrund.client.listing import one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    info = server.call("GET", "/info")
    if options.get("format"):
        print(one(info, options["format"]))
        return 0
    print("\n".join(_lines(info)), flush=True)
    for warning in info.get("Warnings") or []:
        print(warning, file=sys.stderr)
    return 0


def _lines(info: "dict[str, Any]") -> "list[str]":
    rows: list[tuple[str, object]] = [
        ("Containers", info["Containers"]),
        (" Running", info["ContainersRunning"]),
        (" Paused", info["ContainersPaused"]),
        (" Stopped", info["ContainersStopped"]),
        ("Images", info["Images"]),
        ("Server Version", info["ServerVersion"]),
        ("Storage Driver", info["Driver"]),
        *((f" {name}", value) for name, value in info.get("DriverStatus") or []),
        ("Logging Driver", info["LoggingDriver"]),
        ("Cgroup Driver", info["CgroupDriver"]),
        ("Cgroup Version", info.get("CgroupVersion", "")),
        *((f"{name} plugins", " ".join(values)) for name, values in info["Plugins"].items() if values),
        ("Runtimes", " ".join(info.get("Runtimes") or {})),
        ("Default Runtime", info.get("DefaultRuntime", "")),
        ("Security Options", " ".join(info.get("SecurityOptions") or [])),
        ("Kernel Version", info["KernelVersion"]),
        ("Operating System", info["OperatingSystem"]),
        ("OSType", info["OSType"]),
        ("Architecture", info["Architecture"]),
        ("CPUs", info["NCPU"]),
        ("Total Memory", human_binary(info["MemTotal"])),
        ("Name", info["Name"]),
        ("Docker Root Dir", info["DockerRootDir"]),
        ("Debug Mode", "true" if info["Debug"] else "false"),
        ("Labels", " ".join(info.get("Labels") or [])),
        ("Live Restore Enabled", "true" if info["LiveRestoreEnabled"] else "false"),
    ]
    return [f"{name}: {value}" for name, value in rows if value != ""]
