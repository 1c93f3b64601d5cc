"""pyfetch logout [REGISTRY]: forget the credentials for a registry."""

from pyfetch.commands.login import registry_in
from pyfetch.image.store import Store
from pyfetch.registry.logins import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    host = registry_in(arguments.words)
    was_known = forget(host, arguments.authfile)
    print(f"Removing login credentials for {host}" if was_known else f"Not logged in to {host}")
    return 0
