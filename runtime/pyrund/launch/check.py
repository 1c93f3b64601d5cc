"""A worker that looks at the host's files which a new container wants to have."""

from pyrund.spec.mounts import mounts_of, prepare_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Raise ApiError if the source of a mount is missing and must not be made."""
    prepare_sources([mount for mount in mounts_of(message["host"]) if not mount.is_made])
