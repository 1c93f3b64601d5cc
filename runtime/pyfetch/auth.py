"""Authentication against one registry: an escalation, each step on a 401 only, each at most once per request.

    nothing -> what the challenge asks for: a bearer token (with credentials if there are any, else anonymous), or Basic

Source: distribution's token specification ("Docker Registry v2 authentication"), its OAuth2 variant; RFC 9110, 11.
A token is shared by all threads; whoever finds it rejected replaces it once. So its `expires_in` needs no clock: a
token that has expired is one that the registry rejects.
"""

import json
import threading
from urllib.parse import urlencode, urljoin

from pyfetch.connection import Client, Origin, Response, Unavailable
from pyfetch.credentials import Credentials
from pyfetch.document import parse
from pyfetch.errors import AuthError, VerificationError, printable
from pyfetch.proxies import ip_address, is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAXIMUM_TOKEN = 1 << 20


class Authenticator:
    """Gives the Authorization header for requests to `registry` (scheme://host:port)."""

    def __init__(self, client: Client, registry: Origin, find: "Callable[[], Credentials | None]", scope: str) -> None:
        self._client = client
        self._registry = registry
        self._find = find  # files and helpers are asked when the registry wants to know, not before
        self._scope = scope
        self._lock = threading.Lock()
        self._header = ""

    def header(self) -> str:
        with self._lock:
            return self._header

    def renew(self, response: Response, rejected: str) -> None:
        """Get a new header after the 401 `response` to a request with the header `rejected`; raise AuthError if none.

        Another thread may have done it already.
        """
        with self._lock:
            if self._header and self._header != rejected:
                return
            challenges = _challenges(response)
            if "bearer" in challenges:
                self._header = self._bearer(challenges["bearer"])
            elif "basic" in challenges:
                self._header = self._basic()
            else:
                raise AuthError(f"{self._registry}: asks for authentication of an unknown kind")

    def _basic(self) -> str:
        credentials = self._find()
        if credentials is None:
            raise AuthError(f"{self._registry}: unauthorized: use `docker login`, `podman login` or --username")
        if self._header:
            raise AuthError(f"{self._registry}: unauthorized: the user name or the password is wrong")
        return credentials.basic()

    def _bearer(self, challenge: "dict[str, str]") -> str:
        credentials = self._find()
        if credentials is not None and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        realm = self._checked_realm(challenge.get("realm", ""))
        scope = challenge.get("scope") or self._scope
        service = challenge.get("service", "")
        response = self._request(realm, service, scope, credentials)
        if response.status != 200:
            raise _refused(realm, response)
        document = parse(response.read_all(_MAXIMUM_TOKEN)[: _MAXIMUM_TOKEN + 1], "token")
        token = document.string("token") or document.string("access_token")
        if not token or any(not "!" <= c <= "~" for c in token):  # a line break would begin another header
            raise VerificationError(f"{realm}: gave no usable token")
        return f"Bearer {token}"

    def _request(self, realm: str, service: str, scope: str, credentials: "Credentials | None") -> Response:
        scopes = scope.split(" ")
        if credentials is not None and credentials.token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": "pyfetch",
                "scope": scope,
                "refresh_token": credentials.token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._client.send("POST", realm, headers, urlencode(form).encode())
            if response.status not in (404, 405):
                return response
            response.close()  # a server of the older kind only
        query = [("service", service)] * bool(service) + [("scope", s) for s in scopes]
        headers = {}
        if credentials is not None and credentials.username:
            query.append(("account", credentials.username))
            headers["Authorization"] = credentials.basic()
        # Not followed if it redirects: whoever it names would be sent the credentials.
        return self._client.send("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", headers)

    def _checked_realm(self, realm: str) -> str:
        """Refuse a realm to which credentials must not go: they are about to be sent there.

        A registry chooses it freely: another public host is normal (auth.docker.io), a host inside the caller's network
        is an attack (go-containerregistry #2243), and so is plain http where the registry itself has TLS.
        """
        url = urljoin(f"{self._registry}/", realm)
        origin = Origin(url)
        if origin.key == self._registry.key:
            return url
        if origin.scheme != "https" and self._registry.scheme == "https":
            raise VerificationError(f"{self._registry}: wants credentials to be sent without encryption, to {origin}")
        refuse_local(origin, self._registry)
        return url


def refuse_local(origin: Origin, registry: Origin) -> None:
    """Refuse an address inside the caller's machine or network that a registry outside of it names."""
    address = ip_address(origin.host)
    if origin.host == registry.host or address is None:
        return
    registry_address = ip_address(registry.host)
    is_local = is_loopback(registry.host) or (registry_address is not None and registry_address.is_private)
    if is_local and not address.is_link_local and not address.is_unspecified:
        return  # a registry that is local itself: its neighbours are no secret to it
    if not address.is_global:
        raise VerificationError(f"{registry}: sends us to {origin}, an address of the local network: refused")


def _challenges(response: Response) -> "dict[str, dict[str, str]]":
    """Return the parameters of each challenge by its scheme; the header may occur several times, each with several."""
    found: dict[str, dict[str, str]] = {}
    for value in response.headers.get_all("WWW-Authenticate") or []:
        parameters: dict[str, str] = {}
        for word, text in _words(value):
            if text is None:
                parameters = found.setdefault(word.lower(), {})
            else:
                parameters[word.lower()] = text
    return found


def _words(value: str) -> "list[tuple[str, str | None]]":
    """Split `Scheme name=token, name="quoted, \\"text\\"", Scheme2 ...`; a scheme has no value."""
    import re

    pattern = re.compile(r'\s*,?\s*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+))?')
    words: list[tuple[str, str | None]] = []
    position = 0
    while match := pattern.match(value, position):
        position = match.end()
        text = match[2]
        if text is not None and text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        words.append((match[1], text))
    return words


def _refused(realm: str, response: Response) -> Exception:
    text = error_text(response)
    if response.status in (429, 500, 502, 503, 504):
        return Unavailable(f"{Origin(realm)}: {response.status} {text}")
    return AuthError(f"{Origin(realm)}: no token: {response.status} {text}")


def error_text(response: Response) -> str:
    """Return what the server says about an error, in one line: its own codes, or the text of whatever answered."""
    try:
        data = response.read_all(64 << 10)
    except Unavailable:
        data = b""
    try:
        errors = json.loads(data)["errors"]
        texts = [f"{error.get('code', '')}: {error.get('message', '')}".lower().strip(": ") for error in errors]
        return printable("; ".join(texts), 300)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = data.decode("utf-8", "replace")
        return printable("" if "<" in text[:200] else text, 300)  # a page in HTML says nothing in one line
