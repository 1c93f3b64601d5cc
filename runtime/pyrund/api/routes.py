"""All routes of the API, and those that this engine does not have yet."""

from foundation.errors import Error, reason
from pyrund.api import (
    archive,
    attach,
    build,
    checkpoints,
    commit,
    containers,
    disk,
    events,
    execs,
    images,
    networks,
    prune,
    registries,
    running,
    system,
    update,
    volumes,
)
from pyrund.api.networks import NO_SWARM
from pyrund.errors import ApiError
from pyrund.http.router import Router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange, Handler
    from pyrund.http.response import Response

# What a client may ask that may only read (--read-only-host). None of it changes anything, and none has what containers
# read, write or keep in memory: with options of its client, `top` shows the environments of processes.
_OPEN_TO_READERS = frozenset(
    (
        "HEAD /_ping",
        "GET /_ping",
        "GET /version",
        "GET /info",
        "GET /events",
        "GET /system/df",
        "GET /containers/json",
        "GET /containers/{}/json",
        "GET /containers/{}/stats",
        "GET /containers/{}/changes",
        "GET /exec/{}/json",
        "GET /images/json",
        "GET /images/{}/json",
        "GET /images/{}/history",
        "GET /networks",
        "GET /networks/{}",
        "GET /volumes",
        "GET /volumes/{}",
        "GET /plugins",
        "GET /plugins/{}/json",
        *(f"GET /{name}{after}" for name in NO_SWARM for after in ("", "/{}")),
    )
)
_MISSING = {
    "POST /session": "BuildKit (set DOCKER_BUILDKIT=0)",
    "POST /grpc": "BuildKit (set DOCKER_BUILDKIT=0)",
    "POST /swarm/init": "swarm mode",
    "POST /swarm/join": "swarm mode",
    **dict.fromkeys(("GET /plugins/privileges", "POST /plugins/pull", "POST /plugins/create"), "managed plugins"),
}


def handler(engine: "Engine") -> "Handler":
    """Return the function that answers all requests."""
    router = _router(engine)

    async def handle(request: "Exchange") -> "Response | None":
        try:
            return await router.handle(request)
        except Error as error:  # an image with a strange config, a state that cannot be read
            raise ApiError(500, reason(error)) from error
        except OSError as error:
            if isinstance(error, (BrokenPipeError, ConnectionResetError)):
                raise  # the client has gone
            raise ApiError(500, reason(error)) from error

    return handle


def _router(engine: "Engine") -> Router:
    made = Router(_OPEN_TO_READERS)
    for module in (
        system,
        events,
        containers,
        commit,
        running,
        checkpoints,
        attach,
        execs,
        images,
        registries,
        build,
        networks,
        volumes,
        update,
        archive,
        disk,
        prune,
    ):
        module.add_routes(made, engine)
    for route, what in _MISSING.items():
        method, _, pattern = route.partition(" ")
        made.add_missing(method, pattern, what)
    return made
