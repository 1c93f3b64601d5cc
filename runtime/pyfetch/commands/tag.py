"""pyfetch tag IMAGE NAME: give an image of the store another name."""

from pyfetch.commands.inspect import find_image
from pyfetch.errors import UsageError
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    image, text = arguments.words
    reference = parse_reference(text)
    if reference.digest:
        raise UsageError(f"{text}: a digest is no name to give")
    store.tag(str(reference), find_image(store, image)[1])
    return 0
