"""The end of a container whose state is missing or cannot be read."""

import time

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.opened import opened
from foundation.rootless import rootless
from pyrun.cgroup import hierarchies, systemd
from pyrun.cgroup.group import Cgroup
from pyrun.config.document import load_config
from pyrun.container.end import is_used_by_another
from pyrun.container.state import Container, load
from pyrun.errors import NoContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def delete(unreadable: Container) -> None:
    """Remove a container whose state is missing or unreadable: its cgroups are found by their names.

    Raises Error if it may have processes that cannot be found.
    """
    with opened(unreadable.lock()):
        try:
            container = load(os.path.dirname(unreadable.directory), unreadable.id)
        except NoContainer:
            unreadable.remove()  # its creator was killed before it had made anything else
        except Error as error:
            _end_unreadable(unreadable, error)
            unreadable.remove()
        else:
            raise Error(f"container {container.id} is being created")


def _end_unreadable(unreadable: Container, error: Error) -> None:
    if not os.path.exists(unreadable.config_file):
        return  # config.json exists whenever there are processes: it is made before them, and removed after them
    why = f"{reason(error)}: cannot delete container {unreadable.id}"
    found = list(_cgroups_named(_cgroups_path(unreadable), unreadable.id))
    if not found and not _is_older_than_boot(unreadable.directory):
        raise Error(f"{why}, whose processes cannot be found: end them, then remove {unreadable.directory}")
    for cgroup in found:
        if is_used_by_another(unreadable, cgroup):
            raise Error(f"{why}: another container uses its cgroup {cgroup.directories[0]}, too")
        cgroup.kill()
        cgroup.remove()


def _is_older_than_boot(path: str) -> bool:
    return os.stat(path).st_mtime < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _cgroups_path(container: Container) -> str:
    """Return linux.cgroupsPath, "" if the config cannot be read either."""
    try:
        return load_config(container.config_file).linux.cgroups_path
    except (Error, OSError):
        return ""


def _cgroups_named(path: str, id_: str) -> "Iterator[Cgroup]":
    """Yield the existing cgroups among those that the drivers would make for this id and linux.cgroupsPath."""
    is_scope = path.count(":") == 2 and not path.startswith("/")
    candidates = [] if is_scope else [Cgroup(hierarchies.directories(path, id_))]
    if (is_scope or not path) and not rootless():
        candidates.append(systemd.locate(path, id_, {}))
    for cgroup in candidates:
        cgroup.forget_missing()
        if cgroup.paths:
            yield cgroup
