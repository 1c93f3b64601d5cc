"""A registry that does what it is told, the wrong things above all; it counts and keeps what it was asked."""

import http.server
import itertools
import json
import socket
import threading
import time

from images import digest_of


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
                try:
                    self.body = owner.receive(self, length)
                    owner.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do_GET

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

    def receive(self, handler, length):
        return handler.rfile.read(length)

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
        if kind == "tags":
            return handler.reply(200, json.dumps({"tags": list(self.tags)}).encode())
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


class Receiver(Registry):
    """Takes what is pushed to it into `blobs` and `tags`."""

    def __init__(self, *address):
        super().__init__(*address)
        self.uploads = {}
        self._numbers = itertools.count()  # of uploads; next() is one step, and requests come at the same time
        self.received = 0  # bytes of blobs
        self.losses = []  # after how many bytes of a blob's request to hang up, one per request
        self.resumes = True
        self.most = 1 << 40  # bytes of a request; a proxy says "too large" to more
        self.reads_too_much = True  # otherwise it answers and hangs up, as nginx does in the end
        self.least = None
        self.location = "/v2/test/blobs/uploads/{}?state=a%20b"

    def receive(self, handler, length):
        if handler.command not in ("PUT", "PATCH") or "/uploads/" not in handler.path:
            return super().receive(handler, length)
        if length > self.most:
            handler.close_connection = not self.reads_too_much
            return super().receive(handler, length) if self.reads_too_much else b""
        upload = self.uploads[self._number(handler)]
        loss = self.losses.pop(0) if self.losses and length else length
        data = handler.rfile.read(min(loss, length))
        upload += data
        self.received += len(data)
        if loss < length:
            handler.hang_up()
            raise ConnectionResetError
        return data

    def answer(self, handler):
        if not self.before(handler):
            method = getattr(self, f"_{handler.command.lower()}", None)
            if method is None or handler.command in ("GET", "HEAD") and "/uploads/" not in handler.path:
                return super().answer(handler)
            method(handler)

    def _post(self, handler):
        number = next(self._numbers)
        self.uploads[number] = bytearray()
        handler.reply(202, Location=self.location.format(number), OCI_Chunk_Min_Length=self.least, Range="0-0")

    def _get(self, handler):
        number = self._number(handler)
        if not self.resumes:
            self.uploads.pop(number, None)
        if number not in self.uploads:
            return handler.reply(404)
        handler.reply(204, Location=self.location.format(number), Range=f"0-{len(self.uploads[number]) - 1}")

    def _patch(self, handler):
        upload = self.uploads[self._number(handler)]
        if int(handler.headers["Content-Length"]) > self.most:
            return handler.reply(413, b"<html>too large</html>")
        first, last = map(int, handler.headers["Content-Range"].split("-"))
        assert (first, last) == (len(upload) - len(handler.body), len(upload) - 1)
        handler.reply(202, Location=self.location.format(self._number(handler)), Range=f"0-{last}")

    def _put(self, handler):
        if "/manifests/" in handler.path:
            digest = digest_of(handler.body)
            version = handler.path.rpartition("/")[2]
            self.blobs[digest] = handler.body
            self.tags[version] = {"digest": digest}
            return handler.reply(201, Docker_Content_Digest=digest)
        if int(handler.headers["Content-Length"]) > self.most:
            return handler.reply(413, b"<html>too large</html>")
        assert "state=a%20b" in handler.path
        data = bytes(self.uploads.pop(self._number(handler)))
        digest = handler.path.rpartition("digest=")[2].replace("%3A", ":")
        if digest_of(data) != digest:
            return handler.reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"wrong"}]}')
        self.blobs[digest] = data
        handler.reply(201, Docker_Content_Digest=digest)

    def _delete(self, handler):
        self.uploads.pop(self._number(handler), None)
        handler.reply(204)

    def _number(self, handler):
        return int(handler.path.partition("?")[0].rpartition("/")[2])
