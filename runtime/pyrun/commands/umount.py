"""pyrun umount: remove a mount that `pyrun mount` has made."""

from foundation.linux import os
from pyrun.container.state import load
from pyrun.launch import mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", id_: str, destination: str) -> None:
    mount.umount(load(settings.root, id_), os.path.normpath("/" + destination.lstrip("/")))
