"""The engine itself: _ping, version, info, events."""

import time

from foundation.linux import os, whole_file
from pyrund import __version__
from pyrund.errors import ApiError
from pyrund.http.request import NEWEST, OLDEST, shown
from pyrund.http.response import JSON, Response
from pyrund.loop import first
from pyrund.model.times import now
from pyrund.spec import log_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.settings import Settings

    Json = dict[str, Any]

_FILTERS = frozenset(("container", "event", "image", "label", "type", "scope", "network", "volume", "daemon"))
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_routes(router: "Router", engine: "Engine") -> None:
    system = System(engine)
    router.add("HEAD", "/_ping", system.ping)
    router.add("GET", "/_ping", system.ping)
    router.add("GET", "/version", system.version)
    router.add("GET", "/info", system.info)
    router.add("GET", "/events", system.events)


class System:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def ping(self, request: "Request") -> Response:
        headers = {
            "Builder-Version": "1",
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Content-Type": "text/plain; charset=utf-8",
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
        components = [{"Name": "Engine", "Version": __version__, "Details": {**own, "Experimental": "false"}}]
        platform = {"Platform": {"Name": "pyrund"}, "Components": components}
        return Response(
            200, {**platform, "Version": __version__, "GitCommit": "", "GoVersion": "", "BuildTime": "", **own}
        )

    async def info(self, request: "Request") -> Response:
        v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        size, files = log_config.DEFAULTS["json-file"]
        warnings = [f"Logs of json-file are rotated by default: max-size {size >> 20}m, max-file {files}"]
        own: Json = {
            "ID": "",
            "Driver": "overlay2",
            "DriverStatus": [],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": None,
                "Log": list(log_config.DEFAULTS),
            },
            **dict.fromkeys("MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet PidsLimit".split(), True),
            "OomKillDisable": not v2,
            "IPv4Forwarding": True,
            "Debug": self._engine.settings.debug,
            "NFd": len(os.listdir("/proc/self/fd")),
            "NGoroutines": 1,
            "SystemTime": now(),
            "LoggingDriver": self._engine.settings.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if v2 else "1",
            "NEventsListener": 0,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registries(self._engine.settings),
            "GenericResources": None,
            "DockerRootDir": self._engine.places.data,
            "Labels": self._engine.settings.labels,
            "ExperimentalBuild": False,
            "ServerVersion": __version__,
            "Runtimes": {"pyrun": {"path": "pyrun"}},
            "DefaultRuntime": "pyrun",
            "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False},
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "",
            "SecurityOptions": ["name=seccomp,profile=builtin"],
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

    async def events(self, request: "Exchange") -> None:
        """Send the events from `since` on, until `until` or until the client goes."""
        events, connection = self._engine.events, request.connection
        filters = request.filters(_FILTERS)
        since, until = _seconds(request, "since"), _seconds(request, "until")
        connection.close_after_this()
        await connection.begin(200, {"Content-Type": JSON})
        closed = self._engine.loop.spawn(connection.is_closed())
        end = self._engine.loop.sleep(max(0.0, until - time.time())) if until else closed
        last = 0 if "since" in request.query else events.last
        while True:
            following = events.next
            for number, event in events.after(last):
                last = number
                is_then = since * 1e9 <= event["timeNano"] <= (until * 1e9 or event["timeNano"])
                if is_then and _is_wanted(event, filters):
                    await connection.send(event)
            if closed.is_done or end.is_done:
                break
            await first(following, closed, end)
        await connection.end()


def _registries(settings: "Settings") -> "Json":
    insecure = ["127.0.0.0/8", *settings.insecure_registries]
    hub = {"Name": "docker.io", "Mirrors": settings.mirrors, "Secure": True, "Official": True}
    return {"IndexConfigs": {"docker.io": hub}, "InsecureRegistryCIDRs": insecure, "Mirrors": settings.mirrors}


def _host() -> "Json":
    kernel = os.uname()
    return {
        "KernelVersion": kernel.release,
        "OperatingSystem": _operating_system(),
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": kernel.machine,
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "Name": kernel.nodename,
    }


def _seconds(request: "Request", name: str) -> float:
    try:
        return float(request.query.get(name) or 0)
    except ValueError:
        raise ApiError(400, f"failed to parse value as time or duration: {request.query[name][:80]!r}") from None


def _is_wanted(event: "Json", filters: "dict[str, list[str]]") -> bool:
    attributes = event["Actor"]["Attributes"]
    found = {
        "type": [event["Type"]],
        "event": [event["Action"], event["Action"].partition(":")[0]],
        "scope": ["local"],
        event["Type"]: [event["Actor"]["ID"], attributes.get("name", "")],
        "image": [attributes.get("image", "")],
    }
    for name, wanted in filters.items():
        if name == "label":
            labels = (one.partition("=") for one in wanted)
            if not all(key in attributes and (not equals or attributes[key] == value) for key, equals, value in labels):
                return False
        elif not set(found.get(name, [])) & set(wanted):
            return False
    return True


def _operating_system() -> str:
    try:
        text = whole_file.read("/etc/os-release", 1 << 16).decode("utf-8", "replace")
    except OSError:
        return "Linux"
    lines = (line.partition("=") for line in text.splitlines())
    return next((value.strip('"') for name, _, value in lines if name == "PRETTY_NAME"), "Linux")
