"""The engine itself: _ping, version, info."""

from foundation.linux import os, whole_file
from pyfetch.image.digest import digest_of
from pyrund import __version__
from pyrund.http.request import NEWEST, OLDEST, shown
from pyrund.http.response import Response
from pyrund.model.times import now
from pyrund.spec import log_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.settings import Settings

    Json = dict[str, Any]

_LIMITS = "MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit".split()
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_routes(router: "Router", engine: "Engine") -> None:
    system = System(engine)
    router.add("HEAD", "/_ping", system.ping)
    router.add("GET", "/_ping", system.ping)
    router.add("GET", "/version", system.version)
    router.add("GET", "/info", system.info)


class System:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def _experimental(self) -> str:
        return str(self._engine.settings.is_experimental).lower()

    async def ping(self, request: "Request") -> Response:
        headers = {
            "Builder-Version": "1",
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Content-Type": "text/plain; charset=utf-8",
            "Docker-Experimental": self._experimental(),
            "Pragma": "no-cache",
            "Swarm": "inactive",
        }
        response = Response(200, headers=headers)
        response.body = b"OK"
        return response

    async def version(self, request: "Request") -> Response:
        kernel = os.uname()
        own = {
            "ApiVersion": shown(NEWEST),
            "Arch": _ARCHITECTURES.get(kernel.machine, kernel.machine),
            "KernelVersion": kernel.release,
            "MinAPIVersion": shown(OLDEST),
            "Os": "linux",
        }
        components = [
            {"Name": "Engine", "Version": __version__, "Details": {**own, "Experimental": self._experimental()}}
        ]
        platform = {"Platform": {"Name": "pyrund"}, "Components": components}
        return Response(
            200, {**platform, "Version": __version__, "GitCommit": "", "GoVersion": "", "BuildTime": "", **own}
        )

    async def info(self, request: "Request") -> Response:
        v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        places = self._engine.places
        size, files = log_config.DEFAULTS["json-file"]
        warnings = [f"Logs of json-file are rotated by default: max-size {size >> 20}m, max-file {files}"]
        if not places.has_cgroups:
            warnings.append("WARNING: Running in rootless-mode without cgroups. Limits are not in force")
        own: Json = {
            "ID": _id(places.data),
            "Driver": "overlay2",
            "DriverStatus": [],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
                "Authorization": None,
                "Log": list(log_config.DEFAULTS),
            },
            **dict.fromkeys(_LIMITS, places.has_cgroups),
            "OomKillDisable": not v2 and places.has_cgroups,
            "IPv4Forwarding": True,
            "Debug": self._engine.settings.debug,
            "NFd": len(os.listdir("/proc/self/fd")),
            "NGoroutines": 1,
            "SystemTime": now(),
            "LoggingDriver": self._engine.settings.log_driver,
            "CgroupDriver": "systemd" if places.systemd else "cgroupfs" if places.has_cgroups else "none",
            "CgroupVersion": "2" if v2 else "1",
            "NEventsListener": 0,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registries(self._engine.settings),
            "GenericResources": None,
            "DockerRootDir": self._engine.places.data,
            "Labels": self._engine.settings.labels,
            "ExperimentalBuild": self._engine.settings.is_experimental,
            "ServerVersion": __version__,
            "Runtimes": {"pyrun": {"path": "pyrun"}},
            "DefaultRuntime": "pyrun",
            "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False},
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "",
            "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=rootless"] if places.is_rootless else [])],
            "Warnings": warnings,
        }
        return Response(200, {**own, **self._counts(), **_host()})

    def _counts(self) -> "Json":
        statuses = [container.status for container in self._engine.containers]
        running, paused = statuses.count("running"), statuses.count("paused")
        return {
            "Containers": len(statuses),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(statuses) - running - paused,
            "Images": len(self._engine.images.all()),
        }


def _id(data: str) -> str:
    """Return a UUID of the engine, which stays the same: of the machine and the data-root."""
    try:
        machine = whole_file.read("/etc/machine-id", 1 << 10)
    except OSError:  # a machine without systemd need not have it
        machine = os.fsencode(os.uname().nodename)
    found = digest_of(machine + os.fsencode(data)).partition(":")[2]
    return "-".join((found[:8], found[8:12], found[12:16], found[16:20], found[20:32]))


def _registries(settings: "Settings") -> "Json":
    insecure = ["127.0.0.0/8", *settings.insecure_registries]
    hub = {"Name": "docker.io", "Mirrors": settings.mirrors, "Secure": True, "Official": True}
    return {"IndexConfigs": {"docker.io": hub}, "InsecureRegistryCIDRs": insecure, "Mirrors": settings.mirrors}


def _host() -> "Json":
    kernel = os.uname()
    return {
        "KernelVersion": kernel.release,
        "OperatingSystem": _os_release("PRETTY_NAME") or "Linux",
        "OSVersion": _os_release("VERSION_ID"),
        "OSType": "linux",
        "Architecture": kernel.machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": kernel.nodename,
    }


def _os_release(wanted: str) -> str:
    """Return a value of os-release(5), "" if there is none."""
    try:
        text = whole_file.read("/etc/os-release", 1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = (line.partition("=") for line in text.splitlines())
    return next((value.strip('"') for name, _, value in lines if name == wanted), "")
