"""The registry's API: manifests and blobs of one repository, from the first endpoint that has them.

Source: distribution-spec 1.1, "Pull". Credentials stay with the registry's own scheme, host and port.
"""

import random
import threading
import time

from foundation.errors import one_line
from pyfetch.errors import AuthError, NetworkError, NotFound, VerificationError
from pyfetch.image.digest import digest_of, is_digest
from pyfetch.image.manifest import ACCEPT, MAXIMUM_SIZE, Descriptor
from pyfetch.image.reference import DOCKER_HUB, Reference
from pyfetch.registry.auth import Authenticator, error_text
from pyfetch.registry.connection import Client, Origin, Response, Unavailable
from pyfetch.registry.credentials import Credentials, find_credentials
from pyfetch.registry.endpoints import Endpoint, endpoints_for
from pyfetch.registry.redirects import REDIRECTS, follow
from pyfetch.registry.tls import certificates_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

# 520 to 530 are the codes of a CDN for "the server behind me does not answer".
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504, *range(520, 531)))
_LONGEST_WAIT = 60  # seconds: for Retry-After, and for our own pauses
_PROGRESS = 64 << 10  # bytes after which retries are counted anew; a server that is slower is given up at last
_CHUNK = 256 << 10
_MAXIMUM_WARNINGS = 10


class Options:
    """The command line's options for registries."""

    def __init__(self) -> None:
        self.authfile = ""
        self.login: Credentials | None = None
        self.insecure = False
        self.timeout = 60.0
        self.retries = 5


class Registry:
    """One image at its endpoints: a Source (image/image.py) that is safe for several threads."""

    def __init__(self, reference: Reference, options: Options, note: "Callable[[str], None]") -> None:
        self.name = str(reference)
        self.reference = reference
        self._options = options
        self._note = note
        self._repositories = [
            _Repository(endpoint, reference, options, note) for endpoint in endpoints_for(reference, options.insecure)
        ]

    def top(self) -> "tuple[Descriptor, bytes | None]":
        """Return the descriptor that the reference stands for now, and the document if that came with it.

        A tag is resolved by HEAD: Docker Hub counts each GET of a manifest, but no HEAD.
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
        """Yield the blob from `offset` on, resuming after failures; the caller verifies the whole."""
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
        """Stop using the mirrors, since one of them gave wrong content; return whether there were any."""
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
        """Return the first endpoint's result. Any error of a mirror leads to the next one; the registry's is raised."""
        for repository in self._repositories[:-1]:
            try:
                return attempt(repository)
            except (NetworkError, NotFound, AuthError, VerificationError) as error:
                self._note(f"mirror {repository}: {error}: trying the next")
        return attempt(self._repositories[-1])


class _Patience:
    """Waits between attempts, longer each time, with full jitter so that clients do not return all at once."""

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
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._found: tuple[Origin, Authenticator] | None = None
        self._warnings: set[str] = set()
        self._manifest_name = f"manifest for {reference.familiar()}"

    def __str__(self) -> str:
        return str(self._endpoint)

    def head(self, tag: str) -> "tuple[Descriptor, bytes | None]":
        response = self._send("HEAD", "manifests", tag, {"Accept": ACCEPT})
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
        response = self._get("manifests", version, {"Accept": ACCEPT})
        self._check(response, self._manifest_name)
        data = response.read_all(MAXIMUM_SIZE)
        if len(data) > MAXIMUM_SIZE:
            raise VerificationError(f"{self._endpoint}: a manifest of more than {MAXIMUM_SIZE} bytes")
        return data, _media_type(response)

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        """Yield the blob from `offset` on, even if the server does not support ranges, but no more than its size."""
        response = self._get("blobs", descriptor.digest, {"Range": f"bytes={offset}-"} if offset else {})
        if response.status == 416 or (response.status == 206 and not _is_rest(response, descriptor, offset)):
            response.close()
            response = self._get("blobs", descriptor.digest, {})
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

    def _get(self, kind: str, version: str, headers: "dict[str, str]") -> Response:
        """Return the answer to a GET; raise Unavailable for a temporary failure."""
        response = self._send("GET", kind, version, headers)
        self._show_warnings(response)
        registry, _ = self._registry()
        if response.origin.key != registry.key and response.status in (401, 403, 410):
            # A signed address has expired: the registry gives a new one. This is not a matter of credentials.
            text = f"{response.status} {error_text(response)}"
            raise Unavailable(f"{response.origin}: {text} (the address that {registry} gave has expired?)", 0.1)
        if response.status in _TRANSIENT:
            raise self._transient(response)
        return response

    def _send(self, method: str, kind: str, version: str, headers: "dict[str, str]") -> Response:
        """Send a request, authenticate if challenged, follow redirects; return the answer, whatever its status."""
        origin, authenticator = self._registry()
        path = f"{self._endpoint.path}/{self._endpoint.repository}/{kind}/{version}{self._endpoint.query}"
        headers = {**self._endpoint.headers, **headers}
        for attempt in range(3):  # as before, with a token, with a new token if that had expired
            sent = authenticator.header()
            authorization = {"Authorization": sent} if sent else {}
            response = self._client.send(method, f"{origin}{path}", {**headers, **authorization})
            challenge = self._challenge(response, sent, headers) if attempt < 2 else None
            if challenge is None:
                break
            response.close()
            authenticator.renew(challenge, sent)
        return self._follow(response, origin, headers, method)

    def _challenge(self, response: Response, sent: str, headers: "dict[str, str]") -> "Response | None":
        """Return an answer with a challenge, if `response` to a request with the header `sent` calls for that.

        To anonymous requests for private images Nexus and GitHub answer "forbidden" or "not found"; only /v2/ has a
        challenge. It is requested if there are credentials.
        """
        if response.status == 401 and _is_challenge(response):
            response.read_all(64 << 10)
            return response
        if sent or response.status not in (401, 403, 404) or self._credentials() is None:
            return None
        answer = self._client.send("GET", f"{self._registry()[0]}{self._endpoint.path}/", headers)
        answer.read_all(64 << 10)
        return answer if answer.status == 401 and _is_challenge(answer) else None

    def _follow(self, response: Response, registry: Origin, headers: "dict[str, str]", method: str) -> Response:
        """Follow the registry's redirects. Another host gets no credentials: its address is signed."""
        headers = {name: value for name, value in headers.items() if name not in self._endpoint.headers}

        def send(url: str, origin: Origin) -> Response:
            sent = self._authenticator().header() if origin.key == registry.key else ""
            return self._client.send(method, url, {**headers, **({"Authorization": sent} if sent else {})})

        return follow(response, send, unencrypted=not self._endpoint.verify)

    def _transient(self, response: Response) -> Unavailable:
        delay = _retry_after(response.headers.get("Retry-After"))
        quota = response.headers.get("RateLimit-Limit", "")
        text = f"{self._endpoint}: {response.status} {error_text(response)}"
        if response.status == 429:
            text += f" (rate limit{f' {one_line(quota, 40)}' if quota else ''}; logging in may raise it)"
        return Unavailable(text, delay)

    def _show_warnings(self, response: Response) -> None:
        """RFC 7234, 5.5: `299 - "text"`; each is shown once."""
        for value in response.headers.get_all("Warning") or []:
            text = one_line(value.partition('"')[2].rpartition('"')[0], 300)
            is_new = text not in self._warnings and len(self._warnings) < _MAXIMUM_WARNINGS
            if value.startswith("299") and text and is_new:
                self._warnings.add(text)
                self._note(f"{self._endpoint}: {text}")

    def _authenticator(self) -> Authenticator:
        return self._registry()[1]

    def _registry(self) -> "tuple[Origin, Authenticator]":
        with self._lock:
            if self._found is None:
                origin = Origin(f"{self._scheme()}://{self._endpoint.host}")
                scope = f"repository:{self._endpoint.repository}:pull"
                unencrypted = not self._endpoint.verify
                self._found = origin, Authenticator(self._client, origin, self._credentials, scope, unencrypted)
            return self._found

    def _credentials(self) -> "Credentials | None":
        if self._options.login is not None and not self._endpoint.is_mirror:
            return self._options.login
        host = self._endpoint.host
        host = DOCKER_HUB if host == "registry-1.docker.io" else host
        return find_credentials(host, self._endpoint.repository, self._options.authfile)

    def _scheme(self) -> str:
        """Find out whether a registry on this machine, or one that the user calls insecure, has TLS.

        The probe is plain HTTP, without credentials: a TLS server answers it with an error at once, but a server
        without TLS may wait for ever for the end of line in a TLS hello.
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
        if response.status in REDIRECTS and response.headers.get("Location", "").startswith("https://"):
            return "https"
        # If the name has no port, the server at port 80 may be another one; a registry answers 200 or 401.
        has_port = ":" in self._endpoint.host.rpartition("]")[2]
        is_other = not has_port and response.status not in (200, 401)
        return "https" if is_other or (response.status == 400 and b"HTTPS" in body) else "http"

    def _tls(self, host: str, port: int) -> "ssl.SSLContext":
        """Return the context for a connection. The endpoint's certificates and exceptions are for the registry only."""
        own = self._found is not None and (host, port) == self._found[0].key[1:]
        if (host, port) not in self._contexts:
            # docker and podman name the folder as users name the registry, without the usual port.
            certificates = certificates_for(self._endpoint.host if own else host if port == 443 else f"{host}:{port}")
            if own:
                certificates.verify = self._endpoint.verify
                certificates.authorities += self._endpoint.authorities
                certificates.pairs += self._endpoint.client_certificates
            self._contexts[host, port] = certificates.context()
        return self._contexts[host, port]


def _is_challenge(response: Response) -> bool:
    return bool(response.headers.get("WWW-Authenticate"))


def _is_rest(response: Response, descriptor: Descriptor, offset: int) -> bool:
    """Return whether a 206 is what was asked for, by what it says: some servers count otherwise than we do."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    is_rest = unit == "bytes" and span == f"{offset}-{descriptor.size - 1}" and total in ("*", str(descriptor.size))
    return is_rest and (not response.encoding or response.length == descriptor.size - offset)


def _media_type(response: Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _retry_after(value: "str | None") -> "float | None":
    """Read what servers really send: seconds, a date, a Go duration (`880.092\\u00b5s`), nonsense; at most a minute."""
    import email.utils

    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ArithmeticError, LookupError, TypeError, ValueError):  # what email raises depends on the version
            return 0.1 if value.endswith("s") else None
    return min(max(0.1, seconds), _LONGEST_WAIT)  # in this order: it makes 0.1 of what is not a number
