"""Images that are fetched and sent, and shown while that happens."""

import base64
import json

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.whole_file import to_standard_error, write_all
from pyfetch.image.manifest import Descriptor
from pyfetch.image.reference import parse_reference
from pyfetch.progress import Progress, Quiet, Terminal
from pyfetch.registry.credentials import find_credentials
from pyrund.client.server import flags, quoted
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.reference import Reference
    from pyrund.client.server import Query, Server


def pull(server: "Server", name: str, platform: str, output: int, is_quiet: bool, is_all: bool = False) -> "Reference":
    """Fetch the image `name`, or all tags of the repository, and show that on the descriptor `output`. Raises ApiError
    and Refused."""
    reference = _reference(name)
    query = {
        "fromImage": f"{reference.host}/{reference.repository}",
        **flags(tag="" if is_all else reference.digest or reference.tag, platform=platform),
    }
    _transfer(server, "/images/create", query, reference, _display(output, is_quiet))
    return reference


def push(server: "Server", name: str, is_all: bool, platform: str, is_quiet: bool) -> "Reference":
    """Send the image `name`, or all tags of the repository, and show that on standard output."""
    reference = _reference(name)
    path = f"/images/{quoted(f'{reference.host}/{reference.repository}')}/push"
    query = flags(tag="" if is_all else reference.tag, platform=platform)
    _transfer(server, path, query, reference, _display(1, is_quiet))
    return reference


def login_for(host: str, repository: str = "") -> str:
    """Return the value of X-Registry-Auth: what a login has noted for the registry."""
    found = find_credentials(host, repository, "")
    login = {}
    if found:
        login = {"username": found.username, "password": found.password, "serveraddress": host}
        login.update({"identitytoken": found.token, "registrytoken": found.registry_token})
    return base64.urlsafe_b64encode(json.dumps(login).encode("utf-8", "surrogateescape")).decode()


def _transfer(server: "Server", path: str, query: "Query", reference: "Reference", display: Progress) -> None:
    login = login_for(reference.host, reference.repository)
    answer = server.ask("POST", path, query, headers={"X-Registry-Auth": login})
    try:
        for event in answer.values():
            if "errorDetail" in event or "error" in event:
                raise Refused(event.get("error") or event["errorDetail"]["message"])
            if "aux" not in event:  # it repeats for programs what a line says
                _show(display, event)
    finally:
        display.finish()


def familiar(name: str) -> str:
    """Return the name of an image with its tag, as docker calls it."""
    return _reference(name).familiar()


def _reference(name: str) -> "Reference":
    try:
        return parse_reference(name)
    except Error as error:
        raise Refused(str(error)) from None


def _display(output: int, is_quiet: bool) -> Progress:
    def write(text: str) -> None:
        write_all(output, text.encode("utf-8", "replace"))

    show = write if output == 1 else to_standard_error
    if is_quiet:
        return Quiet(show)
    is_terminal = os.isatty(output) and os.environment.get("TERM") != "dumb"
    return Terminal(show, output) if is_terminal else Progress(show)


def _show(display: Progress, event: "dict[str, Any]") -> None:
    status, id_ = str(event.get("status", "")), str(event.get("id", ""))
    if not id_:
        display.line(status)
    elif status.startswith("Pulling from "):
        display.pulling(id_, status.removeprefix("Pulling from "))
    else:
        detail = event.get("progressDetail") or {}
        layer = Descriptor("", f"sha256:{id_}", int(detail.get("total") or -1))
        display.layer(layer, status, int(detail.get("current") or 0))
