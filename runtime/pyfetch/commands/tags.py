"""pyfetch tags REPOSITORY: list the tags of a registry's repository, one a line."""

from foundation.errors import one_line
from pyfetch.errors import UsageError
from pyfetch.image.store import Store
from pyfetch.progress import open_progress
from pyfetch.registry.access import Options
from pyfetch.registry.registry import Registry
from pyfetch.sources.sources import place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    text = arguments.words[0]
    reference = place_of(text).reference
    if reference is None or reference.digest or ":" in text.rpartition("/")[2]:
        raise UsageError(f"{text}: expected a repository in a registry, without a tag")
    registry = Registry(reference, Options.of(arguments), open_progress(arguments.quiet, False).note)
    for tag in sorted(registry.tags()):  # Debian's docker-registry lists them in no order
        print(one_line(tag))
    return 0
