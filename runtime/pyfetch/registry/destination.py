"""The way back: sends blobs and manifests to a repository of a registry.

Source: distribution-spec 1.1, "Push". A blob goes in one request. It goes in chunks where a registry or a proxy before
it takes no more at once, and, after a cut, from where the registry's copy ends if that can be found out.
"""

from urllib.parse import quote

from pyfetch.errors import AuthError, NetworkError, VerificationError, translate
from pyfetch.image.manifest import Descriptor
from pyfetch.image.reference import Reference
from pyfetch.registry.access import Access, Options
from pyfetch.registry.auth import error_text
from pyfetch.registry.connection import Response, Unavailable
from pyfetch.registry.endpoints import endpoints_for
from pyfetch.registry.patience import PROGRESS, Patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyfetch.registry.connection import Body

_PIECE = 64 << 10  # bytes for each of which the timeout is allowed
_CHUNK = 16 << 20
_SMALLEST_CHUNK = 64 << 10
_TOO_MUCH = (405, 413, 501)  # what is said of a whole blob, by a proxy for example
_GONE = (404, 416)  # what is said of an upload that the registry does not know (any more), or where it has other bytes


class Destination:
    """The repository to which `reference` leads. Safe for several threads."""

    def __init__(self, reference: Reference, options: Options, note: "Callable[[str], None]") -> None:
        self.reference = reference
        self.endpoint = endpoints_for(reference, options.insecure)[-1]  # no mirror is written to
        self._access = Access(self.endpoint, "pull,push", options, note)
        self._retries = options.retries
        self._note = note

    def patience(self) -> Patience:
        return Patience(self._retries, self._note)

    def has(self, descriptor: Descriptor, kind: str = "blobs") -> bool:
        """Return whether the repository has the blob, or with `kind` "manifests" the manifest."""
        return self.patience().retry(lambda: self._has(descriptor, kind))

    def _has(self, descriptor: Descriptor, kind: str) -> bool:
        path = f"/{self.endpoint.repository}/{kind}/{descriptor.digest}"
        response = self.send("HEAD", path, {"Accept": descriptor.media_type} if kind == "manifests" else {})
        response.close()
        return response.status == 200

    def upload(self, descriptor: Descriptor) -> "Upload":
        return Upload(self, descriptor)

    def put(self, data: bytes, descriptor: Descriptor, version: str) -> None:
        """Send a manifest or an index, which gets the name `version`, a tag or its digest."""
        path = f"/{self.endpoint.repository}/manifests/{version}"
        response = self.patience().retry(lambda: self.send("PUT", path, {"Content-Type": descriptor.media_type}, data))
        self.check(response, descriptor, f"manifest {version}")

    def send(self, method: str, path: str, headers: "dict[str, str]", body: "Body" = None) -> Response:
        """Return the answer; raise Unavailable for a temporary failure."""
        return self._access.settled(self._access.send(method, path, headers, body))

    def check(self, response: Response, descriptor: Descriptor, what: str) -> None:
        """Raise the error that the status means, unless the registry has taken the thing, and under its digest."""
        if response.status not in (200, 201, 204):
            raise self.refused(response, what)
        response.close()
        digest = response.headers.get("Docker-Content-Digest", descriptor.digest)
        if digest.partition(":")[0] == descriptor.digest.partition(":")[0] and digest != descriptor.digest:
            raise VerificationError(f"{self.endpoint}: {what} is {digest[:80]} there")

    def refused(self, response: Response, what: str) -> Exception:
        """Return the error for an answer: those about access in the registry's words, as docker shows them."""
        said, name = error_text(response), self.reference.familiar_repository()
        if response.status in (401, 403):
            return AuthError(said or f"push access denied for {name}: {response.status}")
        return NetworkError(f"{self.endpoint}: {what} of {name}: {response.status} {said}".rstrip())


class Upload:
    """One blob on its way. `_address` changes with each answer; the registry has the first `_position` bytes."""

    def __init__(self, destination: Destination, descriptor: Descriptor) -> None:
        self._destination = destination
        self._descriptor = descriptor
        self._what = f"blob {descriptor.digest}"
        self._place = f"/{destination.endpoint.repository}/blobs/uploads/"
        self._address = ""
        self._position = 0
        self._chunk = 0  # bytes that are sent at once, or 0 for all
        self._least = _SMALLEST_CHUNK

    def mount(self, repository: str) -> bool:
        """Take the blob from another repository of the registry; return whether that worked."""
        query = f"?mount={quote(self._descriptor.digest)}&from={quote(repository)}"
        former = self._address
        try:
            response = self._destination.patience().retry(lambda: self._post(query))
        except AuthError:
            return False  # who may write here need not be one who may read there
        response.close()
        if former:
            self._cancel(former)
        return response.status == 201

    def run(self, pieces: "Callable[[int], Iterator[bytes]]", moved: "Callable[[int], None]") -> None:
        """Send what `pieces` gives from an offset on, and tell `moved` the position. Resumes after failures."""
        patience = self._destination.patience()
        since = 0
        while True:
            try:
                self._begin()
                self._send(_Content(pieces(self._position), self._descriptor, self._position, moved))
                return
            except _TooMuch as error:
                self._send_less(error)
            except Unavailable as error:
                patience.wait(error)
                self._find_position()
                if self._position - since >= PROGRESS:
                    patience, since = self._destination.patience(), self._position

    def _begin(self) -> None:
        if not self._address:
            response = self._post("")
            if response.status != 202:
                raise self._destination.refused(response, self._what)

    def _post(self, query: str) -> Response:
        """Ask for an address; the answer may also be that none is needed, or an error."""
        response = self._destination.send("POST", self._place + query, {"Content-Length": "0"})
        if response.status == 202:
            self._address, self._position = self._address_in(response), 0
            least = response.headers.get("OCI-Chunk-Min-Length", "")
            self._least = _number(least) or _SMALLEST_CHUNK
            response.close()
        return response

    def _send(self, content: "_Content") -> None:
        size = self._descriptor.size
        if not self._chunk and not self._position:
            response = self._request("PUT", self._completed(), content.take(size), {"Content-Length": str(size)})
        else:
            while self._position < size:
                self._send_chunk(content, min(self._chunk or size, size - self._position))
            response = self._request("PUT", self._completed(), None, {"Content-Length": "0"})
        self._destination.check(response, self._descriptor, self._what)

    def _send_chunk(self, content: "_Content", length: int) -> None:
        end = self._position + length
        headers = {"Content-Length": str(length), "Content-Range": f"{self._position}-{end - 1}"}
        response = self._request("PATCH", self._address, content.take(length), headers)
        if response.status != 202:
            raise self._destination.refused(response, self._what)
        response.close()
        self._address, self._position = self._address_in(response), end
        if _end_in(response) not in (None, end):
            raise Unavailable(f"{self._destination.endpoint}: took only a part of {self._what}", 0.1)

    def _request(
        self, method: str, address: str, body: "Iterator[memoryview] | None", headers: "dict[str, str]"
    ) -> Response:
        headers = {"Content-Type": "application/octet-stream", **headers}
        response = self._destination.send(method, address, headers, body)
        if response.status in _TOO_MUCH:
            raise _TooMuch(self._destination.refused(response, self._what))
        if response.status in _GONE:
            raise Unavailable(f"{self._destination.endpoint}: {response.status} {error_text(response)}", 0.1)
        return response

    def _send_less(self, error: "_TooMuch") -> None:
        """Begin again with smaller chunks; raise the error if there are none."""
        if self._chunk == self._least:
            raise error.cause
        self._chunk = max(self._chunk // 4 or _CHUNK, self._least)
        self._cancel(self._address)
        self._address, self._position = "", 0

    def _find_position(self) -> None:
        """Find out after a cut how much has arrived. If the registry does not tell, begin again, in chunks.

        A server that refuses a long body may close the connection so soon that its answer is lost.
        """
        end = 0
        try:
            if self._address:
                response = self._destination.send("GET", self._address, {})
                response.close()
                if response.status == 204:
                    self._address, end = self._address_in(response), _end_in(response) or 0
        except (NetworkError, AuthError, VerificationError):
            pass
        if 1 < end <= self._descriptor.size:  # `0-0` means one byte, or none
            self._position = end
            return
        self._address, self._position = "", 0
        self._chunk = self._chunk or max(_CHUNK, self._least)

    def _address_in(self, response: Response) -> str:
        location = response.headers.get("Location", "")
        if not location and not self._address:
            raise NetworkError(f"{self._destination.endpoint}: gives no address to send {self._what} to")
        return response.origin.join(location) if location else self._address

    def _completed(self) -> str:
        """Return the address, whose query is the registry's own, for the request that completes the blob."""
        return f"{self._address}{'&' if '?' in self._address else '?'}digest={quote(self._descriptor.digest)}"

    def _cancel(self, address: str) -> None:
        """Tell the registry that nothing follows; if that fails, it forgets the upload some day."""
        try:
            self._destination.send("DELETE", address, {}).close()
        except (NetworkError, AuthError, VerificationError):
            pass


class _TooMuch(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class _Content:
    """The blob from an offset on, as many bytes at a time as a request takes."""

    def __init__(
        self, pieces: "Iterator[bytes]", descriptor: Descriptor, position: int, moved: "Callable[[int], None]"
    ) -> None:
        self._pieces = pieces
        self._descriptor = descriptor
        self._position = position
        self._moved = moved
        self._rest = memoryview(b"")

    def take(self, length: int) -> "Iterator[memoryview]":
        """Yield `length` bytes. The last one of the blob is held back until the source has verified all of it."""
        end = self._position + length
        while self._position < end:
            self._rest = self._rest or self._next()
            if not self._rest:
                raise VerificationError(f"{self._descriptor.digest} ended too early")
            piece = self._rest[: min(_PIECE, end - self._position)]
            self._rest = self._rest[len(piece) :]
            if self._position + len(piece) == self._descriptor.size and (self._rest or self._next()):
                raise VerificationError(f"{self._descriptor.digest} is longer than announced")
            yield piece
            self._position += len(piece)
            self._moved(self._position)

    def _next(self) -> memoryview:
        try:
            return memoryview(next(self._pieces, b""))
        except OSError as error:  # of a disk; the connection would take it for its own
            raise translate(f"{self._descriptor.digest}: {error.strerror}", error) from error


def _end_in(response: Response) -> "int | None":
    """Return how many bytes the registry has, by the header Range: `0-N`, with the last byte's number."""
    first, _, last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")
    number = _number(last)
    return number + 1 if first == "0" and number is not None else None


def _number(text: str) -> "int | None":
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
