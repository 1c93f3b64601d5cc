"""pyfetch login [REGISTRY]: check credentials at a registry, and keep them where docker and podman find them too."""

import sys

from pyfetch.errors import AuthError, NetworkError, UsageError
from pyfetch.image.reference import DOCKER_HUB, Reference, is_registry
from pyfetch.image.store import Store
from pyfetch.progress import open_progress
from pyfetch.registry.access import Access, Options, password_on_standard_input
from pyfetch.registry.auth import error_text
from pyfetch.registry.credentials import Credentials, normal_registry
from pyfetch.registry.endpoints import endpoints_for
from pyfetch.registry.logins import Logins
from pyfetch.registry.patience import Patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    host = registry_in(arguments.words)
    progress = open_progress(arguments.quiet, as_json=False)
    options = Options()
    options.insecure, options.timeout, options.retries = arguments.insecure, arguments.timeout, arguments.retries
    options.login = _credentials(arguments)
    logins = Logins(host, arguments.authfile)
    log_in(host, options, progress.note)
    if not logins.keep(options.login):
        progress.note(f"WARNING! Your password is stored unencrypted in {logins.path}.")
    print("Login Succeeded")
    return 0


def registry_in(words: "list[str]") -> str:
    """Return the registry that the command line names."""
    host = normal_registry(words[0]) if words else DOCKER_HUB
    if not is_registry(host):
        raise UsageError(f"{words[0] or repr('')}: expected a registry, HOST or HOST:PORT")
    return host


def log_in(host: str, options: Options, note: "Callable[[str], None]") -> None:
    """Ask the registry whether it accepts the login of `options`; raise AuthError if not."""
    endpoint = endpoints_for(Reference(host, "", "", ""), options.insecure)[-1]
    access = Access(endpoint, "", options, note)
    response = Patience(options.retries, note).retry(lambda: access.get("/"))
    if response.status in (401, 403):
        raise AuthError(f"{endpoint}: {error_text(response) or response.status}")
    if response.status != 200:
        raise NetworkError(f"{endpoint}: login attempt failed with status: {response.status} {error_text(response)}")
    response.close()


def _credentials(arguments: "Arguments") -> Credentials:
    username, is_terminal = arguments.username, sys.stdin is not None and sys.stdin.isatty()
    if arguments.password_stdin and not username:
        raise UsageError("--password-stdin needs --username")
    if arguments.password_stdin:
        return Credentials(username, password_on_standard_input())
    if not is_terminal:
        raise UsageError("Cannot perform an interactive login from a non TTY device: use --password-stdin")
    return entered(username, "")


def entered(username: str, password: str) -> Credentials:
    """Return the credentials; what is missing is asked for on the terminal."""
    from getpass import getpass

    try:
        return Credentials(username or input("Username: "), password or getpass("Password: "))
    except EOFError:
        raise UsageError("no user name, or no password, was entered") from None
