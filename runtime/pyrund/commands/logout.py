"""pyrund logout."""

from foundation.errors import Error
from pyfetch.commands.login import registry_in
from pyfetch.registry.logins import forget
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    try:
        host = registry_in(words)
        was_known = forget(host, "")
    except Error as error:
        raise Refused(str(error)) from None
    print(f"Removing login credentials for {host}" if was_known else f"Not logged in to {host}")
    return 0
