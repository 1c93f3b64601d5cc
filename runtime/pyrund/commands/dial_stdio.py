"""pyrund dial-stdio: connect standard input and output with the daemon, for a client at the other end of ssh."""

import _socket
import select

from foundation.linux import os
from foundation.linux.whole_file import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options

_READ = 64 << 10


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    socket = server.connect()
    fd = socket.fileno()
    waiting = select.poll()
    for one in (0, fd):
        waiting.register(one, select.POLLIN)
    while True:
        for one, _ in waiting.poll():
            data = os.read(one, _READ)
            if data:
                write_all(1 if one == fd else fd, data)
            elif one == fd:
                return 0
            else:
                waiting.unregister(0)
                socket.shutdown(_socket.SHUT_WR)
