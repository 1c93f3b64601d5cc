"""Requests that a worker answers itself, on the client's connection."""

from pyrund.http.connection import Gone
from pyrund.launch.launcher import WorkerLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.messages import Message


async def let_answer(engine: "Engine", request: "Exchange", message: "Message") -> "Message":
    """Have a worker do what `message` says and answer the request; return what it tells us.

    Raises ApiError if it has not begun the response, and Gone if it was killed or has ended with the client.
    """
    try:
        return await engine.launcher.do(engine.loop, message, (request.connection.fd,))
    except WorkerLost:
        raise Gone from None  # the client may have a half of the response: it must not get another one
    finally:
        request.connection.take_back()
