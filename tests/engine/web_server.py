"""A server of HTTP that also misbehaves, beside the registry of the hub.

It is this file: `python web_server.py PORT FOLDER [CERTIFICATE]`.
"""

import http.server
import ssl
import subprocess
import sys
import time
from pathlib import Path

from daemon import wait_until

HALF = 1 << 16


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_GET(self):
        _, kind, *rest = self.path.split("/", 2)
        getattr(self, f"send_{kind}", self.send_status)("".join(rest) or kind)

    def answer(self, status, data, *, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def send_status(self, number):
        self.answer(int(number), b"\nwhat the server says\n")

    def send_file(self, name):
        """Any path that begins with /file/ is that of a file, with all after the last slash as its name."""
        data = (self.folder / name.rpartition("/")[2].rpartition("%2F")[2]).read_bytes()
        self.answer(200, data, Last_Modified="Tue, 02 Jan 2001 03:04:05 GMT")

    def send_locked(self, name):
        if self.headers["Authorization"] == "Basic bWU6c2VjcmV0":  # me:secret
            self.send_file(name)
        else:
            self.send_status("401")

    def send_to(self, location):
        """/to/STATUS/URL redirects."""
        status, _, url = location.partition("/")
        self.answer(int(status), b"", Location=url)

    def send_chunks(self, name):
        """Chunks, of which /chunks/short lacks the last ones."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        data = (self.folder / "root.tar").read_bytes()
        end = b"" if name == "short" else b"0\r\n\r\n"
        self.wfile.write(b"%x\r\n%s\r\n%s" % (len(data), data, end))
        self.close_connection = True

    def send_short(self, _):
        self.answer(200, b"x" * HALF, length=2 * HALF)
        self.close_connection = True

    def send_slow(self, _):
        """A half, and no end: what is sent to a client that has gone ends this thread."""
        self.answer(200, b"x" * HALF, length=1 << 40)
        while True:
            self.wfile.write(b"x")
            time.sleep(0.1)

    def send_silent(self, _):
        """No answer until the client goes."""
        self.connection.recv(1)
        self.close_connection = True

    def log_message(self, *_):
        pass


class WebServer:
    """The server in the namespaces of `hub`, with the files of `folder`."""

    def __init__(self, hub, folder, port, certificate=""):
        self.folder = folder
        self.address = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        command = [*hub.inside, sys.executable, __file__, port, folder, *([certificate] if certificate else [])]
        self._process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        probe = f"echo > /dev/tcp/127.0.0.1/{port}"
        wait_until(lambda: hub.run("bash", "-c", probe).returncode == 0, "the server")

    def stop(self):
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[2])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    if sys.argv[3:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
