"""An image that is in the store already."""

from pyfetch.errors import NotFound, VerificationError
from pyfetch.image.manifest import MAXIMUM_SIZE, Descriptor, Pointers
from pyfetch.image.store import Store
from pyfetch.sources.archives import from_offset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 20
_MOST_MANIFESTS = 1000


def all_below(top: Descriptor, document: "Callable[[Descriptor], bytes]") -> "Iterator[Descriptor]":
    """Yield `top` and the manifests, configs and layers to which it leads; `document` gives manifests and indexes."""
    waiting, seen = [top], {top.digest}
    while waiting:
        descriptor = waiting.pop()
        data = document(descriptor)
        descriptor.size = len(data)
        yield descriptor
        pointers = Pointers(data, descriptor.media_type)
        yield from pointers.config
        yield from pointers.layers
        waiting += [one for one in pointers.manifests if one.digest not in seen]
        seen.update(one.digest for one in pointers.manifests)
        if len(seen) > _MOST_MANIFESTS:
            raise VerificationError(f"{top.digest}: more than {_MOST_MANIFESTS} manifests")


class Stored:
    """A Source (image/image.py) whose blobs are verified as they are read."""

    def __init__(self, store: Store, name: str, top: Descriptor) -> None:
        self.name = name
        self._store = store
        self._top = top

    def top(self) -> "tuple[Descriptor, bytes | None]":
        return self._top, None

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the manifest or index; raise NotFound if the store lacks it, since it is for another platform."""
        data = self._store.read(descriptor, MAXIMUM_SIZE)
        if data is None:
            raise NotFound(f"{descriptor.digest}: not in the store")
        return data

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        reader = self._store.reader(descriptor)
        try:
            yield from from_offset(iter(lambda: reader.read(_CHUNK), b""), offset)
        finally:
            reader.close()

    def distrust(self) -> bool:
        return False
