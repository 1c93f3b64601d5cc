"""pyfetch rm BUNDLE|IMAGE...: remove a bundle with all that its container wrote, or an image's name."""

from foundation.linux import os
from pyfetch.bundle.bundle import find_bundle
from pyfetch.commands.inspect import find_image
from pyfetch.errors import attempt_all
from pyfetch.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    attempt_all(lambda name: _remove(name, store), arguments.words)
    return 0


def _remove(name: str, store: Store) -> None:
    if os.path.isdir(name):
        find_bundle(name)[0].remove(store)
    else:
        store.untag(find_image(store, name)[0])
