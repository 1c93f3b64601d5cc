"""Authenticates against one registry. Each step follows a 401, and is taken at most once per request.

    nothing -> what the challenge asks for: a bearer token (with credentials if there are any, else anonymous), or Basic

Source: distribution's token specification ("Docker Registry v2 authentication"), its OAuth2 variant; RFC 9110, 11.
All threads share a token; the first thread that finds it rejected replaces it. So `expires_in` is not needed: the
registry rejects an expired token.
"""

import re
import threading
from urllib.parse import urlencode

from foundation.errors import one_line
from pyfetch.errors import AuthError, VerificationError
from pyfetch.image.document import Document
from pyfetch.registry.connection import Client, Origin, Response, Unavailable
from pyfetch.registry.credentials import Credentials
from pyfetch.registry.redirects import follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAXIMUM_TOKEN = 1 << 20
_MAXIMUM_CHALLENGE = 16 << 10

# RFC 9110, 11.2 and 5.6. Each pattern is matched at one position and divides the text in only one way: a registry
# controls the text, and could make an ambiguous pattern take quadratic time.
_BETWEEN = r"[\s,]*"
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_EQUALS = r"\s*=\s*"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_UNQUOTED = r'[^\s,"]+'


class Unauthorized(AuthError):
    """`words` is what docker says in this case, without advice."""

    def __init__(self, text: str, words: str) -> None:
        super().__init__(text)
        self.words = words


class Authenticator:
    """Gives the Authorization header for requests to `registry` (scheme://host:port).

    `unencrypted` says whether a registry with TLS may have a token server without it.
    """

    def __init__(
        self,
        client: Client,
        registry: Origin,
        find: "Callable[[], Credentials | None]",
        scope: str,
        unencrypted: bool,
    ) -> None:
        self._client = client
        self._registry = registry
        self._unencrypted = unencrypted
        self._find = find  # called only when the registry asks for credentials
        self._scope = scope
        self._lock = threading.Lock()
        self._header = ""

    def header(self) -> str:
        """Return the Authorization header to send, or "" if none is known yet."""
        with self._lock:
            return self._header

    def renew(self, response: Response, rejected: str) -> None:
        """Get a new header after the 401 `response` to a request with the header `rejected`; raise AuthError if none.

        If another thread has got one since, that one is kept.
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
            words = "no basic auth credentials"
            raise Unauthorized(f"{self._registry}: {words}: use `pyfetch login` or --username", words)
        if self._header:
            words = "unauthorized: authentication required"
            raise Unauthorized(f"{self._registry}: unauthorized: the user name or the password is wrong", words)
        return credentials.basic()

    def _bearer(self, challenge: "dict[str, str]") -> str:
        credentials = self._find()
        if credentials is not None and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        realm = self._checked_realm(challenge.get("realm", ""))
        scope = self._wanted(challenge.get("scope", ""))
        service = challenge.get("service", "")
        response = self._request(realm, service, scope, credentials)
        if response.status != 200:
            raise _refused(realm, response)
        document = Document.decode(response.read_all(_MAXIMUM_TOKEN)[: _MAXIMUM_TOKEN + 1], "token")
        token = document.string("token") or document.string("access_token")
        if not token or any(not "!" <= c <= "~" for c in token):  # a line break would begin another header
            raise VerificationError(f"{realm}: gave no usable token")
        return f"Bearer {token}"

    def _wanted(self, asked: str) -> str:
        """Return the scopes that the registry asks for; in the own repository, all that is going to be done there.

        A registry asks for the one request: "pull" for that of a blob's head, although the blob is sent next.
        """
        own = self._scope.rpartition(":")[0]
        return " ".join(self._scope if own and s.rpartition(":")[0] == own else s for s in asked.split()) or self._scope

    def _request(self, realm: str, service: str, scope: str, credentials: "Credentials | None") -> Response:
        if credentials is not None and credentials.token:
            response = self._exchange(realm, service, scope, credentials.token)
            if response.status not in (404, 405):
                return response
            response.close()  # the server supports only the older GET
        query = [("service", service)] * bool(service) + [("scope", s) for s in scope.split()]
        authorization = {}
        if credentials is not None and credentials.username:
            query.append(("account", credentials.username))
            authorization = {"Authorization": credentials.basic()}
        first = Origin(realm)

        def send(url: str, origin: Origin) -> Response:
            return self._client.send("GET", url, authorization if _is_same_host(origin, first) else {})

        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query, errors='surrogateescape')}"
        return follow(send(url, first), send, self._unencrypted)

    def _exchange(self, realm: str, service: str, scope: str, token: str) -> Response:
        """Ask for a token in return for an identity token: the token specification's OAuth2 variant."""
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": "pyfetch",
            "scope": scope,
            "refresh_token": token,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        first = Origin(realm)

        def send(url: str, origin: Origin) -> Response:
            if not _is_same_host(origin, first):
                raise AuthError(f"{first}: redirects to {origin}, which would be sent the identity token: refused")
            return self._client.send("POST", url, headers, urlencode(form).encode())

        return follow(send(realm, first), send, self._unencrypted)

    def _checked_realm(self, realm: str) -> str:
        """Return the realm's URL; refuse one to which credentials must not be sent.

        The registry chooses it freely. Another public host is normal (auth.docker.io), but plain HTTP is not if the
        registry itself has TLS. The connection refuses addresses inside the caller's network.
        """
        url = Origin(f"{self._registry}/").join(realm)
        origin = Origin(url)
        if origin.key == self._registry.key:
            return url
        if origin.scheme != "https" and self._registry.scheme == "https" and not self._unencrypted:
            raise VerificationError(
                f"{self._registry}: wants credentials to be sent without encryption, to {origin}: see --insecure"
            )
        return url


def _is_same_host(origin: Origin, first: Origin) -> bool:
    """Return whether secrets for `first` may go to `origin`: the same server, or the same host's HTTPS."""
    return origin.key == first.key or origin.key == ("https", first.host, 443)


def _challenges(response: Response) -> "dict[str, dict[str, str]]":
    """Return the parameters of each challenge by its scheme; the header may occur several times, each with several."""
    found: dict[str, dict[str, str]] = {}
    parameters: dict[str, str] = {}
    for word, text in _words(", ".join(response.headers.get_all("WWW-Authenticate") or [])[:_MAXIMUM_CHALLENGE]):
        if text is None:
            parameters = found.setdefault(word.lower(), {})
        else:
            parameters[word.lower()] = text
    return found


def _words(value: str) -> "Iterator[tuple[str, str | None]]":
    """Split `Scheme name=token, name="quoted, \\"text\\"", Scheme2 ...`; a scheme has no value."""
    # Compiled here: most pulls see no challenge, or one.
    between, name, equal_sign, quotation, word = map(re.compile, (_BETWEEN, _TOKEN, _EQUALS, _QUOTED, _UNQUOTED))
    at = _end(between.match(value), 0)
    while token := name.match(value, at):
        at, text = token.end(), None
        if equals := equal_sign.match(value, at):
            quoted = quotation.match(value, equals.end())
            unquoted = word.match(value, equals.end())
            text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else unquoted[0] if unquoted else ""
            at = _end(quoted or unquoted, equals.end())
        yield token[0], text
        at = _end(between.match(value, at), at)


def _end(match: "re.Match[str] | None", default: int) -> int:
    return match.end() if match else default


def _refused(realm: str, response: Response) -> Exception:
    text = error_text(response)
    if response.status in (429, 500, 502, 503, 504):
        return Unavailable(f"{Origin(realm)}: {response.status} {text}")
    return Unauthorized(f"{Origin(realm)}: no token: {response.status} {text}", text or "unauthorized")


def error_text(response: Response) -> str:
    """Return the server's description of an error in one line: its errors, as docker words them, or the body's text."""
    import json  # takes a millisecond or two, and only errors need it

    try:
        data = response.read_all(64 << 10)
    except Unavailable:
        data = b""
    try:
        errors = json.loads(data)["errors"]
        codes = [str(error.get("code", "")).replace("_", " ") for error in errors]
        texts = [f"{code}: {error.get('message', '')}".lower().strip(": ") for code, error in zip(codes, errors)]
        return one_line("; ".join(texts), 300)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = data.decode("utf-8", "replace")
        return one_line("" if "<" in text[:200] else text, 300)  # HTML does not fit into one line
