"""Access to the registry's API at one endpoint: requests with credentials, and redirects.

Credentials stay with the registry's own scheme, host and port.
"""

import sys
import threading

from foundation.errors import one_line
from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.reference import DOCKER_HUB
from pyfetch.registry.auth import Authenticator, error_text
from pyfetch.registry.connection import Client, Origin, Response, Unavailable
from pyfetch.registry.credentials import Credentials, find_credentials
from pyfetch.registry.endpoints import HUB_API, Endpoint
from pyfetch.registry.patience import retry_after
from pyfetch.registry.redirects import REDIRECTS, check_encryption, follow
from pyfetch.registry.tls import certificates_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from pyfetch.options import Arguments
    from pyfetch.registry.connection import Body

# 520 to 530 are the codes of a CDN for "the server behind me does not answer".
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504, *range(520, 531)))
_MAXIMUM_WARNINGS = 10


class Options:
    """The command line's options for registries."""

    def __init__(self) -> None:
        self.authfile = ""
        self.login: Credentials | None = None
        self.insecure = False
        self.timeout = 60.0
        self.retries = 5

    @staticmethod
    def of(arguments: "Arguments", with_login: bool = True) -> "Options":
        """Return those of the command line, with the login whose password --password-stdin reads, if wanted."""
        options = Options()
        options.authfile = arguments.authfile
        options.insecure = arguments.insecure
        options.timeout = arguments.timeout
        options.retries = arguments.retries
        if with_login and arguments.username:
            options.login = Credentials(arguments.username, password_on_standard_input())
        return options


def password_on_standard_input() -> str:
    """Return the first line. Raises UsageError if it is empty."""
    line = os.fsdecode(sys.stdin.buffer.readline()).removesuffix("\n").removesuffix("\r")
    if not line:
        raise UsageError("--password-stdin: there is no password on standard input")
    return line


class Access:
    """Sends requests to `endpoint`. `actions` are those of the endpoint's repository for which a token is wanted."""

    def __init__(self, endpoint: Endpoint, actions: str, options: Options, note: "Callable[[str], None]") -> None:
        self.endpoint = endpoint
        self._scope = f"repository:{endpoint.repository}:{actions}" if endpoint.repository else ""
        self._options = options
        self._note = note
        self._client = Client(options.timeout, self._tls)
        self._contexts: dict[tuple[str, int], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._found: tuple[Origin, Authenticator] | None = None
        self._warnings: set[str] = set()

    def get(self, path: str, headers: "dict[str, str] | None" = None) -> Response:
        """Return the answer to a GET; raise Unavailable for a temporary failure."""
        response = self.send("GET", path, headers)
        registry, _ = self._registry()
        if response.origin.key != registry.key and response.status in (401, 403, 410):
            # A signed address has expired: the registry gives a new one. This is not a matter of credentials.
            text = f"{response.status} {error_text(response)}"
            raise Unavailable(f"{response.origin}: {text} (the address that {registry} gave has expired?)", 0.1)
        return self.settled(response)

    def settled(self, response: Response) -> Response:
        """Return `response`; raise Unavailable if its status is that of a temporary failure."""
        self._show_warnings(response)
        if response.status in _TRANSIENT:
            raise self._transient(response)
        return response

    def send(self, method: str, path: str, headers: "dict[str, str] | None" = None, body: "Body" = None) -> Response:
        """Send a request, authenticate if challenged, follow redirects; return the answer, whatever its status.

        `path` follows the API's prefix, or is a URL that the registry gave. A `body` of pieces can be sent only once.
        """
        registry, authenticator = self._registry()
        url = path if "://" in path else f"{registry}{self.endpoint.path}{path}{self.endpoint.query}"
        is_own = Origin(url).key == registry.key
        check_encryption(registry, Origin(url), not self.endpoint.verify)
        headers = {**(self.endpoint.headers if is_own else {}), **(headers or {})}
        can_repeat = body is None or isinstance(body, bytes)
        for attempt in range(3):  # as before, with a token, with a new token if that had expired
            sent = authenticator.header() if is_own else ""
            authorization = {"Authorization": sent} if sent else {}
            response = self._client.send(method, url, {**headers, **authorization}, body)
            challenge = self._challenge(response, sent, headers) if is_own and attempt < 2 else None
            if challenge is None:
                break
            response.close()
            authenticator.renew(challenge, sent)
            if not can_repeat:
                raise Unavailable(f"{registry}: the token has expired", 0.1)
        return self._follow(response, registry, headers, method, body) if can_repeat else response

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
        answer = self._client.send("GET", f"{self._registry()[0]}{self.endpoint.path}/", headers)
        answer.read_all(64 << 10)
        return answer if answer.status == 401 and _is_challenge(answer) else None

    def _follow(
        self, response: Response, registry: Origin, headers: "dict[str, str]", method: str, body: "Body"
    ) -> Response:
        """Follow the registry's redirects. Another host gets no credentials: its address is signed."""
        headers = {name: value for name, value in headers.items() if name not in self.endpoint.headers}

        def send(url: str, origin: Origin) -> Response:
            sent = self._registry()[1].header() if origin.key == registry.key else ""
            return self._client.send(method, url, {**headers, **({"Authorization": sent} if sent else {})}, body)

        return follow(response, send, unencrypted=not self.endpoint.verify)

    def _transient(self, response: Response) -> Unavailable:
        delay = retry_after(response.headers.get("Retry-After"))
        quota = response.headers.get("RateLimit-Limit", "")
        text = f"{self.endpoint}: {response.status} {error_text(response)}"
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
                self._note(f"{self.endpoint}: {text}")

    def _registry(self) -> "tuple[Origin, Authenticator]":
        with self._lock:
            if self._found is None:
                origin = Origin(f"{self._scheme()}://{self.endpoint.host}")
                unencrypted = not self.endpoint.verify
                self._found = origin, Authenticator(self._client, origin, self._credentials, self._scope, unencrypted)
            return self._found

    def _credentials(self) -> "Credentials | None":
        if self._options.login is not None and not self.endpoint.is_mirror:
            return self._options.login
        host = self.endpoint.host
        host = DOCKER_HUB if host == HUB_API else host
        return find_credentials(host, self.endpoint.repository, self._options.authfile)

    def _scheme(self) -> str:
        """Find out whether a registry on this machine, or one that the user calls insecure, has TLS.

        The probe is plain HTTP, without credentials: a TLS server answers it with an error at once, but a server
        without TLS may wait for ever for the end of line in a TLS hello.
        """
        if self.endpoint.scheme:
            return self.endpoint.scheme
        certificates = certificates_for(self.endpoint.host)
        if certificates.authorities or certificates.pairs:
            return "https"
        try:
            response = self._client.send("GET", f"http://{self.endpoint.host}/v2/", {})
            body = response.read_all(4096)
        except Unavailable:
            return "https"
        if response.status in REDIRECTS and response.headers.get("Location", "").startswith("https://"):
            return "https"
        # If the name has no port, the server at port 80 may be another one; a registry answers 200 or 401.
        has_port = ":" in self.endpoint.host.rpartition("]")[2]
        is_other = not has_port and response.status not in (200, 401)
        return "https" if is_other or (response.status == 400 and b"HTTPS" in body) else "http"

    def _tls(self, host: str, port: int) -> "ssl.SSLContext":
        """Return the context for a connection. The endpoint's certificates and exceptions are for the registry only."""
        own = self._found is not None and (host, port) == self._found[0].key[1:]
        if (host, port) not in self._contexts:
            # docker and podman name the folder as users name the registry, without the usual port.
            certificates = certificates_for(self.endpoint.host if own else host if port == 443 else f"{host}:{port}")
            if own:
                certificates.verify = self.endpoint.verify
                certificates.authorities += self.endpoint.authorities
                certificates.pairs += self.endpoint.client_certificates
            self._contexts[host, port] = certificates.context()
        return self._contexts[host, port]


def _is_challenge(response: Response) -> bool:
    return bool(response.headers.get("WWW-Authenticate"))
