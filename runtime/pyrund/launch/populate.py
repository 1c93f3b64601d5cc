"""A worker that fills an empty volume with what an image has at the path where the volume will be mounted."""

from foundation.linux import os, whole_file
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from pyfetch.bundle import overlay
from pyfetch.image.store import Store
from pyfetch.unpack.tree import remove
from pyrund.archive.reader import Extraction
from pyrund.archive.writer import Archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Copy the directory `target` of the merged `layers` into the volume `name`, with its owner and mode."""
    os.umask(0)
    store = Store(places.images)
    store.open()  # nobody removes the layers meanwhile
    overlay.with_view(store, message["layers"], lambda root: _fill(places, message["name"], root, message["target"]))


def _fill(places: "Places", name: str, root: int, target: str) -> None:
    try:
        path = os.fsencode(target.lstrip("/"))
        source = openat2(root, path, _DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)  # the image may have links
    except (FileNotFoundError, NotADirectoryError):
        return  # the runtime makes a directory there
    with opened(source), opened(os.open(places.volume_data(name), _DIRECTORY)) as volume:
        mark = places.volume_mark(name)
        if os.path.exists(mark):  # an earlier attempt did not come to its end
            for half in os.listdir(source):
                remove(half, volume)
        elif os.listdir(volume):
            return
        whole_file.replace(mark, b"", f"{mark}.new")
        Extraction(volume, b"").extract(Archive().members(source, b".", b"."))
        os.unlink(mark)
