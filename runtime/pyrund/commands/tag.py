"""pyrund tag."""

from foundation.errors import Error
from pyfetch.image.reference import parse_reference
from pyrund.client.server import quoted
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    source, target = words
    try:
        reference = parse_reference(target)
    except Error as error:
        raise Refused(str(error)) from None
    if reference.digest:
        raise Refused("refusing to create a tag with a digest reference")
    query = {"repo": f"{reference.host}/{reference.repository}", "tag": reference.tag}
    server.call("POST", f"/images/{quoted(source)}/tag", query)
    return 0
