"""pyrund login: the daemon asks the registry, and the client keeps the credentials."""

import sys

from foundation.errors import Error
from foundation.linux.whole_file import to_standard_error
from pyfetch.commands.login import entered, registry_in
from pyfetch.registry.access import password_on_standard_input
from pyfetch.registry.credentials import Credentials, server_name
from pyfetch.registry.logins import Logins
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    try:
        host = registry_in(words)
        credentials = _credentials(options)
        login = {"username": credentials.username, "password": credentials.password}
        answer = server.call("POST", "/auth", body={**login, "serveraddress": server_name(host)})
        logins = Logins(host, "")
        if not logins.keep(credentials):
            to_standard_error(f"WARNING! Your password is stored unencrypted in {logins.path}.\n")
    except Error as error:
        raise Refused(str(error)) from None
    print(answer["Status"])
    return 0


def _credentials(options: "Options") -> Credentials:
    username, password = options.get("username", ""), options.get("password", "")
    if options.get("password_stdin"):
        if password:
            raise Refused("--password and --password-stdin are mutually exclusive")
        if not username:
            raise Refused("Must provide --username with --password-stdin")
        return Credentials(username, password_on_standard_input())
    if password:
        to_standard_error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
    if not (username and password) and not sys.stdin.isatty():
        raise Refused("Cannot perform an interactive login from a non TTY device")
    return entered(username, password)
