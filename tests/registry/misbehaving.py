"""A registry that does what it is told, the wrong things above all; it counts and keeps what it was asked."""

import http.server
import json
import socket
import threading
import time


class Request:
    def __init__(self, handler):
        self.method = handler.command
        self.path = handler.path
        self.headers = {key.lower(): value for key, value in handler.headers.items()}


class Server:
    """An HTTP server on loopback; `answer(handler)` may be replaced, and returns whether it has answered."""

    def __init__(self, address="127.0.0.1", port=0):
        self.requests = []
        self.sent = 0  # bytes of blobs
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self):
                owner.requests.append(Request(self))
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length)
                try:
                    owner.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_POST = do_CONNECT = do_GET

            def log_message(self, *_):
                pass

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                if body is not None:  # None: the test writes it
                    headers.setdefault("Content_Length", str(len(body)))
                for name, value in headers.items():
                    if value is not None:
                        for one in value if isinstance(value, list) else [value]:
                            self.send_header(name.replace("_", "-"), one)
                self.end_headers()
                if self.command != "HEAD" and body is not None:
                    self.wfile.write(body)

            def hang_up(self):
                self.close_connection = True
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

            def handle_error(self, *_):
                pass

        self._server = Quiet((address, port), Handler)
        self.port = self._server.server_address[1]
        self.host = f"{address}:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, handler):
        handler.reply(404)

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def count(self, method, part):
        return sum(1 for r in self.requests if r.method == method and part in r.path)

    def authorizations(self):
        return [r.headers.get("authorization") for r in self.requests]


class Registry(Server):
    """Serves images by name and tag. A test sets `before` (called first; true if it has answered) or a switch."""

    def __init__(self, *address):
        super().__init__(*address)
        self.blobs = {}
        self.tags = {}
        self.before = lambda handler: False
        self.ranges = True
        self.cut = {}  # digest: list of how many bytes to send before hanging up, one per request
        self.delay = 0.0  # seconds after each piece of a blob
        self.head = True

    def add(self, image, tag="1"):
        self.blobs.update(image.blobs)
        self.tags[tag] = image.descriptor
        return f"{self.host}/test:{tag}"

    def answer(self, handler):
        if self.before(handler):
            return
        path = handler.path.partition("?")[0]
        if path == "/v2/":
            handler.reply(200, b"{}")
            return
        _, _, _, kind, version = (path.split("/", 4) + [""] * 5)[:5]
        digest = self.tags[version]["digest"] if version in self.tags else version
        if digest not in self.blobs or kind not in ("manifests", "blobs"):
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            handler.reply(404, json.dumps(error).encode())
        elif kind == "manifests":
            self._manifest(handler, digest)
        else:
            self._blob(handler, digest)

    def _manifest(self, handler, digest):
        if handler.command == "HEAD" and not self.head:
            handler.reply(405)
            return
        data = self.blobs[digest]
        media_type = json.loads(data).get("mediaType", "application/octet-stream")
        handler.reply(200, data, Content_Type=media_type, Docker_Content_Digest=digest)

    def _blob(self, handler, digest):
        data = self.blobs[digest]
        start = 0
        if self.ranges and "Range" in handler.headers:
            start = int(handler.headers["Range"].partition("=")[2].partition("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        cuts = self.cut.get(digest)
        stop = cuts.pop(0) if cuts else len(data)
        self._send(handler, data[start:stop])
        if stop < len(data):
            handler.hang_up()

    def _send(self, handler, data):
        for position in range(0, len(data), 64 << 10):
            piece = data[position : position + (64 << 10)]
            handler.wfile.write(piece)
            self.sent += len(piece)
            if self.delay:
                time.sleep(self.delay)
