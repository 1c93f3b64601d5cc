"""The registry's API: manifests and blobs of one repository, from the first endpoint that has them.

Source: distribution-spec 1.1, "Pull". Redirects are followed here, since every hop needs a decision: credentials stay
with the registry's own scheme, host and port, and the rest is refused or not (CVE-2020-15157 and its many relatives).
"""

import random
import threading
import time
from urllib.parse import urljoin

from pyfetch.auth import Authenticator, error_text, refuse_local
from pyfetch.connection import Client, Origin, Response, Unavailable
from pyfetch.credentials import Credentials, find_credentials
from pyfetch.digest import digest_of, is_digest
from pyfetch.endpoints import Endpoint, endpoints_for
from pyfetch.errors import AuthError, NetworkError, NotFound, VerificationError, printable
from pyfetch.manifest import ACCEPT, MAXIMUM_SIZE, Descriptor
from pyfetch.reference import DOCKER_HUB, Reference
from pyfetch.tls import certificates_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

_REDIRECTS = (301, 302, 303, 307, 308)
_MAXIMUM_REDIRECTS = 10
# 520 to 530 are a well-known CDN's own words for "the server behind me does not answer".
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504, *range(520, 531)))
_LONGEST_WAIT = 60  # seconds: for Retry-After, and for our own pauses
_PROGRESS = 64 << 10  # bytes that make an attempt a success, so that a server that drips is given up at last
_CHUNK = 256 << 10


class Options:
    """What the command line says about registries."""

    def __init__(self) -> None:
        self.authfile = ""
        self.login: Credentials | None = None
        self.insecure = False
        self.timeout = 60.0
        self.retries = 5


class Registry:
    """One image at its endpoints. A source, as layout.py describes it; safe for several threads."""

    def __init__(self, reference: Reference, options: Options, note: "Callable[[str], None]") -> None:
        self.name = str(reference)
        self.reference = reference
        self._options = options
        self._note = note
        self._repositories = [
            _Repository(endpoint, reference, options, note) for endpoint in endpoints_for(reference, options.insecure)
        ]

    def top(self) -> "tuple[Descriptor, bytes | None]":
        """Return what the reference means now, and the document itself if it came along.

        Of a tag only the head is asked for: Docker Hub counts each GET of a manifest, but no HEAD.
        """
        if self.reference.digest:
            return Descriptor("", self.reference.digest, -1), None
        return self._retrying(lambda: self._anywhere(lambda repository: repository.head(self.reference.tag)))

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the manifest or index, verified."""
        if descriptor.data is not None:
            return descriptor.data
        return self._retrying(lambda: self._anywhere(lambda repository: repository.manifest(descriptor)))

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        """Give the blob from `offset` on, in pieces; the caller verifies the whole. Resumes by itself."""
        patience = _Patience(self._options.retries, self._note)
        since = offset
        while offset < descriptor.size:
            try:
                for piece in self._anywhere(lambda r, at=offset: r.blob(descriptor, at)):  # type: ignore[misc]
                    offset += len(piece)
                    yield piece
            except Unavailable as error:
                if offset - since >= _PROGRESS:
                    patience = _Patience(self._options.retries, self._note)
                since = offset
                patience.wait(error)

    def distrust(self) -> bool:
        """Leave the mirrors out from now on, since one of them gave wrong content; tell whether there were any."""
        found = len(self._repositories) > 1
        del self._repositories[:-1]
        return found

    def _retrying(self, attempt: "Callable[[], T]") -> "T":
        patience = _Patience(self._options.retries, self._note)
        while True:
            try:
                return attempt()
            except Unavailable as error:
                patience.wait(error)

    def _anywhere(self, attempt: "Callable[[_Repository], T]") -> "T":
        """Return what the first endpoint gives: a mirror may fail in any way, the image's own registry may not."""
        for repository in self._repositories[:-1]:
            try:
                return attempt(repository)
            except (NetworkError, NotFound, AuthError, VerificationError) as error:
                self._note(f"mirror {repository}: {error}: trying the next")
        return attempt(self._repositories[-1])


class _Patience:
    """Waits between attempts, longer each time, with full jitter so that a crowd does not come back together."""

    def __init__(self, retries: int, note: "Callable[[str], None]") -> None:
        self._left = self._retries = retries
        self._note = note

    def wait(self, error: Unavailable) -> None:
        if self._left == 0:
            times = f" (tried {self._retries + 1} times)" if self._retries else ""
            raise NetworkError(f"{error}{times}") from error
        self._left -= 1
        ceiling = min(_LONGEST_WAIT, 0.5 * 2 ** (self._retries - self._left))
        delay = random.uniform(0.1, ceiling) if error.delay is None else error.delay
        self._note(f"{error}: Retrying in {round(delay) or 1} seconds")
        time.sleep(delay)


class _Repository:
    """One repository at one endpoint."""

    def __init__(
        self, endpoint: Endpoint, reference: Reference, options: Options, note: "Callable[[str], None]"
    ) -> None:
        self._endpoint = endpoint
        self._reference = reference
        self._options = options
        self._note = note
        self._client = Client(options.timeout, self._tls)
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._found: tuple[Origin, Authenticator] | None = None
        self._warnings: set[str] = set()
        self._manifest_name = f"manifest for {reference.familiar()}"

    def __str__(self) -> str:
        return str(self._endpoint)

    def head(self, tag: str) -> "tuple[Descriptor, bytes | None]":
        response = self._get("manifests", tag, {"Accept": ACCEPT}, "HEAD")
        response.close()
        digest = response.headers.get("Docker-Content-Digest", "")
        if response.status == 200 and is_digest(digest):  # not its Content-Length, which proxies set to 0
            return Descriptor(_media_type(response), digest, -1), None
        if response.status == 401:
            self._check(response, self._manifest_name)
        # Some registries know no HEAD, or do not say the digest: then the document itself has to come.
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
        response = self._get("manifests", version, {"Accept": ACCEPT})
        self._check(response, self._manifest_name)
        data = response.read_all(MAXIMUM_SIZE)
        if len(data) > MAXIMUM_SIZE:
            raise VerificationError(f"{self._endpoint}: a manifest of more than {MAXIMUM_SIZE} bytes")
        return data, _media_type(response)

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        """Give the blob from `offset`, whether the server knows ranges or not, and no byte more than its size."""
        response = self._get("blobs", descriptor.digest, {"Range": f"bytes={offset}-"} if offset else {})
        if response.status == 416 or (response.status == 206 and not _is_rest(response, descriptor, offset)):
            response.close()
            response = self._get("blobs", descriptor.digest, {})
        self._check(response, f"blob {descriptor.digest} of {self._reference.familiar()}")
        return self._pieces(response, descriptor, 0 if response.status == 206 else offset, offset)

    def _pieces(self, response: Response, descriptor: Descriptor, skip: int, offset: int) -> "Iterator[bytes]":
        left = descriptor.size - offset + skip
        try:
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and int(length) != left:
                raise VerificationError(
                    f"{self._endpoint}: {descriptor.digest} has {int(length) - left:+d} bytes more than announced"
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

    def _check(self, response: Response, what: str) -> None:
        """Raise what the status means for `what` was asked for."""
        status = response.status
        if status in (200, 206):
            return
        text = f"{status} {error_text(response)}".strip()
        name = self._reference.familiar()
        if status in (401, 403):
            raise AuthError(
                f"pull access denied for {name}, repository does not exist or may require 'docker login': {text}"
            )
        if status == 404:
            raise NotFound(f"{what} not found: {text}")
        raise NetworkError(f"{self._endpoint}: {what}: {text}")

    def _get(self, kind: str, version: str, headers: "dict[str, str]", method: "str" = "GET") -> Response:
        """Send a request, authenticate when asked to, follow redirects; raise Unavailable for what may pass."""
        origin, authenticator = self._registry()
        path = f"{self._endpoint.path}/{self._endpoint.repository}/{kind}/{version}{self._endpoint.query}"
        headers = {**self._endpoint.headers, **headers}
        for attempt in range(3):  # as we are, with a token, with a new token in place of one that has expired
            sent = authenticator.header()
            authorization = {"Authorization": sent} if sent else {}
            response = self._client.send(method, f"{origin}{path}", {**headers, **authorization})
            if response.status != 401 or attempt == 2:
                break
            response.read_all(64 << 10)
            authenticator.renew(response, sent)
        if response.status in _REDIRECTS:
            response = self._follow(response, origin, headers, method)
        self._show_warnings(response)
        if response.status in _TRANSIENT:
            raise self._transient(response)
        return response

    def _follow(self, response: Response, registry: Origin, headers: "dict[str, str]", method: str) -> Response:
        """Go where the registry sends us, without credentials: the address is permission enough (it is signed)."""
        headers = {name: value for name, value in headers.items() if name not in self._endpoint.headers}
        for _ in range(_MAXIMUM_REDIRECTS):
            location = response.headers.get("Location", "")
            response.close()
            url = urljoin(f"{response.origin}{response.origin.target}", location)
            origin = Origin(url)
            if response.origin.scheme == "https" and origin.scheme != "https":
                raise VerificationError(f"{registry}: redirects to {origin}, without encryption: refused")
            refuse_local(origin, registry)
            authorization = {}
            if origin.key == registry.key and self._authenticator().header():
                authorization = {"Authorization": self._authenticator().header()}
            response = self._client.send(method, url, {**headers, **authorization})
            if response.status not in _REDIRECTS:
                return self._redirected(response, origin, registry)
        raise VerificationError(f"{registry}: more than {_MAXIMUM_REDIRECTS} redirects")

    def _redirected(self, response: Response, origin: Origin, registry: Origin) -> Response:
        """A signed address that has expired is renewed by asking the registry again; it is no matter of credentials."""
        if origin.key != registry.key and response.status in (401, 403, 410):
            text = error_text(response)
            raise Unavailable(
                f"{origin}: {response.status} {text} (the address that {registry} gave has expired?)", 0.1
            )
        return response

    def _transient(self, response: Response) -> Unavailable:
        delay = _retry_after(response.headers.get("Retry-After"))
        quota = response.headers.get("RateLimit-Limit", "")
        text = f"{self._endpoint}: {response.status} {error_text(response)}"
        if response.status == 429:
            text += f" (rate limit{f' {printable(quota, 40)}' if quota else ''}; logging in may raise it)"
        return Unavailable(text, delay)

    def _show_warnings(self, response: Response) -> None:
        """RFC 7234, 5.5: `299 - "text"`; each is shown once."""
        for value in response.headers.get_all("Warning") or []:
            text = printable(value.partition('"')[2].rpartition('"')[0], 300)
            if value.startswith("299") and text and text not in self._warnings:
                self._warnings.add(text)
                self._note(f"{self._endpoint}: {text}")

    def _authenticator(self) -> Authenticator:
        return self._registry()[1]

    def _registry(self) -> "tuple[Origin, Authenticator]":
        with self._lock:
            if self._found is None:
                origin = Origin(f"{self._scheme()}://{self._endpoint.host}")
                scope = f"repository:{self._endpoint.repository}:pull"
                self._found = origin, Authenticator(self._client, origin, self._credentials, scope)
            return self._found

    def _credentials(self) -> "Credentials | None":
        if self._options.login is not None and not self._endpoint.is_mirror:
            return self._options.login
        host = self._endpoint.host
        host = DOCKER_HUB if host == "registry-1.docker.io" else host
        return find_credentials(host, self._endpoint.repository, self._options.authfile)

    def _scheme(self) -> str:
        """Find out whether a registry on this machine, or one that the user calls insecure, has TLS.

        Asked without credentials, by plain HTTP: a TLS server answers that with an error at once, while a server
        without TLS may wait for ever for the end of the line that a TLS hello is to it.
        """
        if self._endpoint.scheme:
            return self._endpoint.scheme
        certificates = certificates_for(self._endpoint.host)
        if certificates.authorities or certificates.pairs:
            return "https"
        try:
            response = self._client.send("GET", f"http://{self._endpoint.host}/v2/", {})
            body = response.read_all(4096)
        except Unavailable:
            return "https"
        return "https" if response.status == 400 and b"HTTPS" in body else "http"

    def _tls(self, host: str, port: int) -> "ssl.SSLContext":
        """Return the context for a connection; only the registry itself is met with its certificates and exceptions."""
        own = self._found is not None and (host, port) == self._found[0].key[1:]
        if own not in self._contexts:
            certificates = certificates_for(self._endpoint.host if own else f"{host}:{port}")
            if own:
                certificates.verify = self._endpoint.verify
                certificates.authorities += self._endpoint.authorities
                certificates.pairs += self._endpoint.client_certificates
            self._contexts[own] = certificates.context()
        return self._contexts[own]


def _is_rest(response: Response, descriptor: Descriptor, offset: int) -> bool:
    """Tell whether a 206 is what was asked for, by what it says: some servers count otherwise than we do."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    is_rest = unit == "bytes" and span == f"{offset}-{descriptor.size - 1}"
    return is_rest and total in ("*", str(descriptor.size))


def _media_type(response: Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _retry_after(value: "str | None") -> "float | None":
    """Read what servers really send: seconds, a date, a Go duration (`880.092\\u00b5s`), nonsense; at most a minute."""
    import email.utils

    if value is None:
        return None
    try:
        return min(max(float(value), 0.1), _LONGEST_WAIT)
    except ValueError:
        pass  # not a number: a date?
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.1 if value.endswith("s") else None
    return min(max(date.timestamp() - time.time(), 0.1), _LONGEST_WAIT)
