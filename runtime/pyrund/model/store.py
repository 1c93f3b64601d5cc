"""pyfetch's store, in which an image that loses its last name stays without one, as with docker, until it is pruned."""

from pyfetch.image import store
from pyfetch.image.image import stored_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.manifest import Descriptor

_NAMELESS = "@"  # begins what stands for a name, for an image that has none


class Store(store.Store):
    def tag(self, name: str, descriptor: "Descriptor") -> None:
        """Give the image `name`. Another one that had it is kept."""
        former = self.find(name)
        if former and self._id(former) != self._id(descriptor) and self._names_of(former) == 1:
            super().tag(nameless(former), former)
        super().tag(name, descriptor)

    def keep(self, descriptor: "Descriptor") -> None:
        """Keep the image, which may have no name."""
        if not self._names_of(descriptor):
            super().tag(nameless(descriptor), descriptor)

    def _id(self, descriptor: "Descriptor") -> str:
        """Return the image's id, the digest of its config: a push gives an image another manifest."""
        found = stored_image(self, descriptor)
        return found.manifest.config.digest if found else descriptor.digest

    def _names_of(self, descriptor: "Descriptor") -> int:
        return sum(one.digest == descriptor.digest for _, one in self.images())


def nameless(descriptor: "Descriptor") -> str:
    """Return what stands for a name in the store, so that an image without one is kept."""
    return f"{_NAMELESS}{descriptor.digest}"


def is_nameless(name: str) -> bool:
    return name.startswith(_NAMELESS)
