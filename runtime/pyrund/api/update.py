"""Change of a container's limits and of its restart policy."""

from pyrund.errors import ApiError, missing
from pyrund.http.response import Response
from pyrund.model import restart
from pyrund.spec import host_config
from pyrund.spec.resources import discarded, resources
from pyrund.spec.shape import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router

    Json = dict[str, Any]

_UNSET = (("MemorySwappiness", -1),)


def add_routes(router: "Router", engine: "Engine") -> None:
    router.add("POST", "/containers/{}/update", UpdateApi(engine).update)


class UpdateApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def update(self, request: "Request") -> Response:
        engine = self._engine
        container = engine.containers.find(request.values[0])
        given = request.json()
        async with container.turns:
            if container.is_removing:
                raise ApiError(409, f"container {container.id} is marked for removal and cannot be updated")
            changed = _changed(container.host_config, given)
            limits = resources({**container.host_config, **changed})
            if container.is_running and set(changed) - {"RestartPolicy"} and engine.places.has_cgroups:
                if "PidsLimit" in changed:
                    limits["pids"] = {"limit": changed["PidsLimit"]}
                message = {"do": "update", "id": container.id, "resources": limits}
                await engine.launcher.do(engine.loop, message)
            container.host_config.update(changed)
            container.save()
        engine.events.of_container(container, "update")
        return Response(200, {"Warnings": None if engine.places.has_cgroups else discarded(changed)})


def _changed(host: "Json", given: "Json") -> "Json":
    """Return the options to change: zero and null stand for those that stay as they are. Raises ApiError."""
    check(given, host_config.SHAPE, "")
    policy = given.get("RestartPolicy") or {}
    given = {name: value for name, value in given.items() if name != "RestartPolicy"}
    changed = {name: value for name, value in given.items() if value and (name, value) not in _UNSET}
    for name in changed:
        if name not in host_config.LIMITS:
            raise missing(f"a change of {name[:80]}")
    if given.get("PidsLimit") is not None:
        changed["PidsLimit"] = given["PidsLimit"] or -1
    _check(host, changed)
    if policy.get("Name"):
        if policy["Name"] != "no" and host.get("AutoRemove"):
            raise ApiError(400, "Restart policy cannot be updated because AutoRemove is enabled for the container")
        changed["RestartPolicy"] = restart.checked(policy, False)
    return changed


def _check(host: "Json", changed: "Json") -> None:
    swap = host.get("MemorySwap") or 0
    if changed.get("Memory", 0) > swap > 0 and "MemorySwap" not in changed:
        raise ApiError(
            409,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        )
    if host.get("NanoCpus") and {"CpuQuota", "CpuPeriod"} & changed.keys():
        raise ApiError(409, "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
    host_config.check_resources({**host, "MemoryReservation": 0, **changed})  # a lower limit makes the former one void
