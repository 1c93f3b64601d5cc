"""A worker that lists the cache of builds, or removes it with what only that has kept."""

import json

from foundation.linux import os, whole_file
from pyfetch.commands import prune
from pyfetch.image.store import Store
from pyrund.build.cache import records
from pyrund.launch import layer_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_AT_ONCE = 1000  # layers in a message


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer with {layer: bytes} of the records that are older than `until`, a part in each message, and then with {};
    with `removes`, remove them.

    What they have kept goes later, when no build and no pull needs the store.
    """
    store = Store(places.images)
    store.open()
    layers: dict[str, int] = {}
    for path in records(store):
        try:
            if message["until"] is not None and os.stat(path).st_mtime >= message["until"]:
                continue
            record = json.loads(whole_file.read(path))
            if record["size"] is not None:
                layers[record["layers"][-1]] = record["size"]
        except FileNotFoundError:
            continue  # another client has removed it
        except (ValueError, KeyError, TypeError, IndexError):
            pass  # damaged
        if message["removes"]:
            os.unlink(path)
    names = list(layers)
    for start in range(0, len(names), _AT_ONCE):
        answers.send({"layers": {name: layers[name] for name in names[start : start + _AT_ONCE]}})
    if not message["removes"]:
        return
    answers.send({})
    store.close()
    store.open(exclusive=True)
    prune.remove_what_is_not_needed(store)
    layer_sizes.clear(places, store)
