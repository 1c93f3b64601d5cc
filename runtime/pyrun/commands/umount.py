"""pyrun umount: take away what `pyrun mount` has put into a container."""

import os

from pyrun.container.state import load
from pyrun.launch import live_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, destination: str) -> None:
    live_mounts.umount(load(settings.root, id_), os.path.normpath("/" + destination.lstrip("/")))
