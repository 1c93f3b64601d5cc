"""A worker that fills an empty volume, or an empty directory in one (volume-subpath), with what an image has at the
path where that will be mounted."""

from hashlib import sha256

from foundation.linux import os, whole_file
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from pyfetch.bundle import overlay
from pyfetch.image.store import Store
from pyfetch.unpack.removal import remove
from pyrund.archive.reader import Extraction
from pyrund.archive.writer import Archive
from pyrund.launch.subpath import NoSuchPart, open_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Copy the directory `target` of the merged `layers` into the volume `name`, or into its directory `subpath`, with
    its owner and mode."""
    os.umask(0)
    store = Store(places.images)
    store.open()  # nobody removes the layers meanwhile
    name, subpath = message["name"], message["subpath"]

    def copy(root: int) -> None:
        try:
            path = os.fsencode(message["target"].lstrip("/"))  # which may have links of the image
            source = openat2(root, path, _DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except (FileNotFoundError, NotADirectoryError):
            return  # the runtime makes a directory there
        with opened(source):
            try:
                directory = open_inside(places.volume_data(name), subpath or ".", _DIRECTORY)
            except NoSuchPart:
                return  # a file gets nothing; without anything there, the container will not start
            with opened(directory):
                _fill(directory, source, _mark(places, name, subpath))

    overlay.with_view(store, message["layers"], copy)


def _mark(places: "Places", name: str, subpath: str) -> str:
    """Return the path of a mark for this part alone: a mark of another part says nothing about this one."""
    return places.volume_mark(name) + (f"-{sha256(os.fsencode(subpath)).hexdigest()}" if subpath else "")


def _fill(directory: int, source: int, mark: str) -> None:
    if os.path.exists(mark):  # an earlier attempt did not come to its end
        for half in os.listdir(source):
            remove(half, directory)
    elif os.listdir(directory):
        return
    whole_file.replace(mark, b"", f"{mark}.new")
    Extraction(directory, b"", takes_root=True).extract(Archive().members(source, b".", b"."))
    os.unlink(mark)
