"""The name servers of all containers, as the daemon tells of them."""

from pyrund.dns.names import Names
from pyrund.dns.others import Others
from pyrund.dns.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop
    from pyrund.messages import Message

VERBS = ("place", "resolve", "forget")


class Service:
    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._names = Names()
        self._others = Others(loop)
        self._servers: dict[str, Server] = {}

    def do(self, message: "Message", descriptors: "list[int]") -> None:
        """Do what the daemon says of the container `id`; `descriptors` belong to this object from now on.

        place     others in `network` find it by `names` at `addresses`
        resolve   serve it on the two sockets (dns/server.py)
        forget    it has ended, or is in no network with names any more
        """
        id_ = message["id"]
        if message["do"] == "place":
            self._names.put(message["network"], id_, message["names"], message["addresses"])
            return
        former = self._servers.pop(id_, None)
        if former:
            former.close()
        if message["do"] == "resolve":
            self._servers[id_] = Server(self._loop, self._names, self._others, message["wanted"], *descriptors)
        else:
            self._names.remove(id_)
