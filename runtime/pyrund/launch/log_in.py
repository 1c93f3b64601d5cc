"""A worker that asks a registry whether it accepts a login."""

from foundation.errors import Error, reason
from pyfetch.commands.login import log_in, registry_in
from pyfetch.errors import AuthError, UsageError
from pyfetch.registry import endpoints
from pyfetch.registry.access import Options
from pyfetch.registry.credentials import Credentials
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    endpoints.daemon_json = places.daemon_json
    options = Options()
    options.retries = 0  # no retries, because a user waits for the answer
    try:
        host = registry_in([message["serveraddress"]] if message["serveraddress"] else [])
        options.login = Credentials(message["username"], message["password"], message["identitytoken"])
        log_in(host, options, lambda note: None)
    except (Error, OSError) as error:
        status = 401 if isinstance(error, AuthError) else 400 if isinstance(error, UsageError) else 500
        raise ApiError(status, reason(error)) from error
