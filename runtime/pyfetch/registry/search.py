"""Searches a registry for repositories, by the API of version 1, which Docker Hub has kept for that."""

from urllib.parse import urlencode

from pyfetch.errors import NetworkError
from pyfetch.image.document import Document
from pyfetch.image.reference import DOCKER_HUB, Reference
from pyfetch.registry.access import Access, Options
from pyfetch.registry.auth import error_text
from pyfetch.registry.endpoints import Endpoint, endpoints_for
from pyfetch.registry.patience import Patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HUB = "index.docker.io"
_MAXIMUM_SIZE = 4 << 20


def search(host: str, term: str, limit: int, options: Options, note: "Callable[[str], None]") -> "list[Document]":
    """Return what the registry finds, each with name, description, star_count, is_official, is_automated."""
    at = Reference(host, "", "", "")
    endpoint = Endpoint(_HUB, "") if host == DOCKER_HUB else endpoints_for(at, options.insecure)[-1]
    endpoint.path = "/v1"
    access = Access(endpoint, "", options, note)
    path = f"/search?{urlencode({'q': term, 'n': limit}, errors='surrogateescape')}"
    response = Patience(options.retries, note).retry(lambda: access.get(path))
    if response.status != 200:
        raise NetworkError(f"{endpoint}: Unexpected status code {response.status} {error_text(response)}".rstrip())
    data = response.read_all(_MAXIMUM_SIZE)
    return Document.decode(data, f"{endpoint}: found").objects("results")
