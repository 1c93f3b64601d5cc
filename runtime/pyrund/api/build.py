"""Builds: what a client may ask of one."""

from pyrund.daemon.building import Build
from pyrund.errors import ApiError, missing
from pyrund.http.connection import Gone
from pyrund.http.request import parse_json
from pyrund.launch.launcher import WorkerLost
from pyrund.model import names
from pyrund.model.images import new_name
from pyrund.spec import host_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router

    Json = dict[str, Any]

_NUMBERS = {
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CpuShares",
    "cpuperiod": "CpuPeriod",
    "cpuquota": "CpuQuota",
    "shmsize": "ShmSize",
}
_TEXTS = {"cpusetcpus": "CpusetCpus", "cpusetmems": "CpusetMems", "cgroupparent": "CgroupParent"}


def add_routes(router: "Router", engine: "Engine") -> None:
    router.add("POST", "/build", BuildApi(engine).build, streams_body=True)


class BuildApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def build(self, request: "Exchange") -> None:
        engine = self._engine
        _refuse(request)
        id_ = names.new_id()
        message = {"do": "build", "id": id_, **_options(request)}
        host_config.checked(message["host"], engine.settings)  # before anything is read
        message["body"] = await request.connection.stream_body(request)
        build = Build(engine, id_, message["host"])
        port = await engine.launcher.ask(engine.loop, message, (request.connection.fd,))
        try:
            await build.serve(port)
        except (WorkerLost, OSError):
            await build.undo()
            raise Gone from None  # the client has gone, or has a half of the response
        finally:
            engine.loop.close(port.detach())
            request.connection.take_back()


def _refuse(request: "Request") -> None:
    """Raise ApiError for what only BuildKit can do, or this engine cannot yet."""
    query = request.query
    if query.get("version", "1") not in ("", "1") or query.get("session"):
        raise missing("BuildKit (set DOCKER_BUILDKIT=0)")
    if query.get("isolation", "").lower() not in ("", "default"):
        raise ApiError(400, f'Unsupported isolation: "{query["isolation"][:80]}"')
    if request.flag("squash"):
        raise missing("--squash of a build")
    if query.get("remote"):
        raise missing("a build of a remote context (send the files instead)")
    if query.get("outputs") not in (None, "", "[]", "null"):
        raise missing("--output of a build")
    if query.get("securityopt") not in (None, "", "[]", "null"):
        raise missing("--security-opt of a build")


def _options(request: "Request") -> "Json":
    query = request.query
    host: Json = {"LogConfig": {"Type": "none"}, "NetworkMode": query.get("networkmode") or "default"}
    for name, field in _NUMBERS.items():
        if number := request.number(name, 0):
            host[field] = number
    host.update({field: query[name] for name, field in _TEXTS.items() if query.get(name)})
    if ulimits := _json(request, "ulimits", list):
        host["Ulimits"] = ulimits
    if hosts := [one for one in request.values_of("extrahosts") if one]:
        host["ExtraHosts"] = hosts
    return {
        "host": host,
        "names": [str(new_name(name)) for name in request.values_of("t") if name],
        "dockerfile": query.get("dockerfile") or "Dockerfile",
        "arguments": _json(request, "buildargs", dict),
        "labels": _json(request, "labels", dict),
        "target": query.get("target", ""),
        "platform": query.get("platform", ""),
        "uses_cache": not request.flag("nocache"),
        "cache_from": [str(one) for one in _json(request, "cachefrom", list)],
        "pulls": request.flag("pull"),
        "is_quiet": request.flag("q"),
        "removes": "rm" not in query or request.flag("rm"),
        "removes_failed": request.flag("forcerm"),
        "logins": request.headers.get("x-registry-config", ""),
    }


def _json(request: "Request", name: str, kind: type) -> "Any":
    text = request.query.get(name) or "null"
    try:
        value = parse_json(text)
    except ValueError:
        value = text
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ApiError(400, f"invalid {name}: expected JSON")
    if isinstance(value, dict) and not all(one is None or isinstance(one, str) for one in value.values()):
        raise ApiError(400, f"invalid {name}: expected strings")
    if isinstance(value, dict) and any("\0" in one for item in value.items() for one in item if one):
        raise ApiError(400, f"invalid {name}: a text cannot hold a zero byte")
    return value
