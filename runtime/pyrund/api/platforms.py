"""The platform that a client asks for."""

from pyfetch.errors import UsageError
from pyfetch.image.platforms import parse_platform
from pyrund.errors import ApiError
from pyrund.http.request import parse_json
from pyrund.spec.shape import TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.platforms import Platform
    from pyrund.http.request import Request

_SHAPE = {"os": TEXT, "architecture": TEXT, "variant": TEXT, "os.version": TEXT, "os.features": [TEXT]}
_NEEDED = ("os", "architecture")


def wanted(request: "Request", since: "tuple[int, int]", name: str = "platform") -> "Platform | None":
    """Return what the query has as JSON, as dockerd since the version `since` of the API; None if it has none.

    Before that version, dockerd ignores what older clients send there. Raises ApiError.
    """
    texts = [text for text in request.values_of(name) if text] if request.version >= since else []
    if len(texts) > 1:
        raise ApiError(400, "multiple platform parameters not supported")
    return _decoded(texts[0]) if texts else None


def _decoded(text: str) -> "Platform":
    try:
        found = parse_json(text)
    except ValueError as error:
        raise ApiError(400, f"failed to parse platform: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(400, "failed to parse platform: expected an object")
    check(found, _SHAPE, "")
    given = {name: value for name, value in found.items() if value and name in _SHAPE}
    if given and given.keys().isdisjoint(_NEEDED):
        raise ApiError(400, "optional platform fields provided, but OS and Architecture are missing")
    if not given.keys() >= set(_NEEDED):
        raise ApiError(400, "both OS and Architecture must be provided")
    return named("/".join(given[part] for part in (*_NEEDED, "variant") if part in given))


def named(text: str) -> "Platform":
    """Return the platform that is written as os/architecture/variant. Raises ApiError."""
    try:
        return parse_platform(text)
    except UsageError as error:
        raise ApiError(400, str(error)) from None
