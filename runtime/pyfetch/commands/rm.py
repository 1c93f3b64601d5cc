"""pyfetch rm BUNDLE|IMAGE...: take away a bundle with what its container wrote, or an image's name from the store."""

import os

from pyfetch.bundle import find_bundle
from pyfetch.commands.inspect import find_image
from pyfetch.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.options import Arguments
    from pyfetch.runtime_config import IdMappings


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    for name in arguments.words:
        if os.path.isdir(name):
            find_bundle(name)[0].remove()
        else:
            store.untag(find_image(store, name)[0])
    return 0
