"""pyfetch logout [REGISTRY]: forget the credentials for a registry."""

from pyfetch.commands.login import registry_in
from pyfetch.image.store import Store
from pyfetch.registry.credentials import default_files
from pyfetch.registry.logins import Logins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    host = registry_in(arguments.words)
    files = [arguments.authfile] if arguments.authfile else default_files()
    known = [file for file in files if Logins(host, file).forget()]
    print(f"Removing login credentials for {host}" if known else f"Not logged in to {host}")
    return 0
