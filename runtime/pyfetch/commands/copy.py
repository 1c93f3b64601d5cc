"""pyfetch copy IMAGE NAME: send an image from one registry to another; no blob goes through the store."""

from pyfetch.commands.push import send
from pyfetch.errors import UsageError
from pyfetch.image.store import Store
from pyfetch.progress import open_progress
from pyfetch.registry.access import Options
from pyfetch.sources.policy import check_policy
from pyfetch.sources.sources import Place, place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    source, destination = place_of(arguments.words[0]), Place(arguments.words[1])
    if destination.reference is None:
        raise UsageError(f"{destination.text}: is no name in a registry")
    if not arguments.insecure_policy:
        check_policy(source)
    progress = open_progress(arguments.quiet, arguments.json)
    # --username is for the destination.
    opened = source.open(store, lambda: Options.of(arguments, with_login=False), progress.note)
    print(send(arguments, store, opened, destination.reference, progress))
    return 0
