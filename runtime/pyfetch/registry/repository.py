"""What can be fetched from one repository at one endpoint.

Source: distribution-spec 1.1, "Pull".
"""

from pyfetch.errors import AuthError, NetworkError, NotFound, VerificationError
from pyfetch.image.digest import digest_of, is_digest
from pyfetch.image.document import Document
from pyfetch.image.manifest import ACCEPT, MAXIMUM_SIZE, Descriptor
from pyfetch.image.reference import Reference
from pyfetch.registry.access import Access, Options
from pyfetch.registry.auth import error_text
from pyfetch.registry.connection import Origin, Response, Unavailable
from pyfetch.registry.endpoints import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 256 << 10
_MAXIMUM_PAGES = 1000
_MAXIMUM_PAGE = 4 << 20  # bytes


class Repository:
    """The manifests and blobs of the endpoint's repository, in which `reference` is."""

    def __init__(
        self, endpoint: Endpoint, reference: Reference, options: Options, note: "Callable[[str], None]"
    ) -> None:
        self._access = Access(endpoint, "pull", options, note)
        self._endpoint = endpoint
        self._reference = reference
        self._manifest_name = f"manifest for {reference.familiar()}"

    def __str__(self) -> str:
        return str(self._endpoint)

    def head(self, tag: str) -> "tuple[Descriptor, bytes | None]":
        response = self._access.send("HEAD", self._path("manifests", tag), {"Accept": ACCEPT})
        response.close()
        digest = response.headers.get("Docker-Content-Digest", "")
        if response.status == 200 and is_digest(digest):  # Content-Length is not used: proxies set it to 0
            return Descriptor(_media_type(response), digest, -1), None
        if response.status == 401:
            self._check(response, self._manifest_name)
        # Some registries do not support HEAD, limit it more than GET, omit the digest, or redirect to an address that
        # is signed for GET (GitLab, S3). So any other answer is followed by a GET of the document.
        data, media_type = self._manifest(tag)
        descriptor = Descriptor(media_type, digest_of(data), len(data))
        return descriptor, data

    def manifest(self, descriptor: Descriptor) -> bytes:
        data, media_type = self._manifest(descriptor.digest)
        if descriptor.size not in (-1, len(data)):
            raise VerificationError(f"{self._endpoint}: {descriptor.digest} has another size than announced")
        if digest_of(data, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise VerificationError(f"{self._endpoint}: {descriptor.digest}: the content is not what the digest says")
        descriptor.media_type = descriptor.media_type or media_type
        descriptor.size = len(data)
        return data

    def _manifest(self, version: str) -> "tuple[bytes, str]":
        response = self._access.get(self._path("manifests", version), {"Accept": ACCEPT})
        self._check(response, self._manifest_name)
        data = response.read_all(MAXIMUM_SIZE)
        if len(data) > MAXIMUM_SIZE:
            raise VerificationError(f"{self._endpoint}: a manifest of more than {MAXIMUM_SIZE} bytes")
        return data, _media_type(response)

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        """Yield the blob from `offset` on, even if the server does not support ranges, but no more than its size."""
        path = self._path("blobs", descriptor.digest)
        response = self._access.get(path, {"Range": f"bytes={offset}-"} if offset else {})
        if response.status == 416 or (response.status == 206 and not _is_rest(response, descriptor, offset)):
            response.close()
            response = self._access.get(path)
        self._check(response, f"blob {descriptor.digest} of {self._reference.familiar()}")
        return self._pieces(response, descriptor, 0 if response.status == 206 else offset, offset)

    def _pieces(self, response: Response, descriptor: Descriptor, skip: int, offset: int) -> "Iterator[bytes]":
        left = descriptor.size - offset + skip
        try:
            if response.length == left:
                response.encoding = ""  # this is the blob as it is: object stores label it as encoded
            elif response.length is not None and not response.encoding:
                raise VerificationError(
                    f"{self._endpoint}: {descriptor.digest} has {response.length} bytes where {left} were announced"
                )
            while left:
                piece = response.read(min(_CHUNK, left))
                if not piece:
                    raise Unavailable(f"{self._endpoint}: {descriptor.digest} ended {left} bytes too early")
                left -= len(piece)
                piece, skip = piece[skip:], max(0, skip - len(piece))
                if piece:
                    yield piece
            if response.read(1):
                raise VerificationError(f"{self._endpoint}: {descriptor.digest} is longer than announced")
        finally:
            response.close()

    def tags(self) -> "Iterator[str]":
        """Yield the names of the repository's tags, page by page (distribution-spec, "Listing Tags")."""
        path = self._path("tags", "list")
        for _ in range(_MAXIMUM_PAGES):
            response = self._access.get(path)
            self._check(response, f"repository {self._reference.familiar_repository()}")
            origin, following = response.origin, _next_page(response)
            data = response.read_all(_MAXIMUM_PAGE)
            yield from Document.decode(data, f"{self._endpoint}: tags").strings("tags")
            if not following:
                return
            path = origin.join(following)
            if Origin(path).key != origin.key:
                raise VerificationError(f"{self._endpoint}: the list of tags goes on at {Origin(path)}: refused")
        raise VerificationError(f"{self._endpoint}: more than {_MAXIMUM_PAGES} pages of tags")

    def _path(self, kind: str, version: str) -> str:
        return f"/{self._endpoint.repository}/{kind}/{version}"

    def _check(self, response: Response, what: str) -> None:
        """Raise the error that the status means for the request of `what`."""
        status = response.status
        if status in (200, 206):
            return
        said = error_text(response)
        text = said or str(status)
        name = self._reference.familiar()
        if status in (401, 403):
            raise AuthError(
                f"pull access denied for {name}, repository does not exist or may require 'docker login': {text}"
            )
        if status == 404:
            raise NotFound(f"{what} not found: {text}")
        raise NetworkError(f"{self._endpoint}: {what}: {status} {said}".rstrip())


def _next_page(response: Response) -> str:
    """Return the address in the header Link (RFC 8288) that is the next page, or ""."""
    for link in response.headers.get_all("Link") or []:
        address, _, parameters = link.partition(">")
        if "rel=next" in parameters.replace('"', "").replace(" ", ""):
            return str(address.strip().removeprefix("<"))
    return ""


def _is_rest(response: Response, descriptor: Descriptor, offset: int) -> bool:
    """Return whether a 206 is what was asked for, by what it says: some servers count otherwise than we do."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    is_rest = unit == "bytes" and span == f"{offset}-{descriptor.size - 1}" and total in ("*", str(descriptor.size))
    return is_rest and (not response.encoding or response.length == descriptor.size - offset)


def _media_type(response: Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()
