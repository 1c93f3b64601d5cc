"""Why the program of a created container could not be executed: `start` looks into the container's files.

`create` has checked the program, too; this explains what has changed since, and errors that only execve(2) finds.
"""

import errno

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from pyrun.launch.image_files import ImageFiles
from pyrun.launch.look_up import exec_error, not_executable, problem
from pyrun.rootfs.tree import Tree

# The errors that a look into the container's files can explain.
_EXPLAINED = (errno.ENOENT, errno.EACCES, errno.ENOEXEC)


def explain(failure: OSError, path: str, container: "list[int]") -> Exception:
    """Return `failure`, a report of the stub, as an error with its cause if the container's files show one.

    `path` is the path of the program. `container` is [mount namespace, root] as descriptors, or [] if we may not look;
    the caller closes them. The one of the namespace keeps the mounts below the root, although the init has ended.
    """
    sentence = exec_error(failure, path)
    if sentence is failure or not container or not path.startswith("/") or failure.errno not in _EXPLAINED:
        return sentence
    files = ImageFiles(Tree(container[1]))
    with opened(files.own_descriptors):
        try:
            cause = _cause(os.fsencode(path), files)
        except OSError:
            return sentence  # the caller needs the first error, not this one
    return Error(f"{sentence}: {cause}") if cause else sentence


def _cause(path: bytes, files: ImageFiles) -> str:
    if not files.exists(path):
        return "it was there when the container was created"
    found = not_executable(path, files, "it") or problem(path, files, binfmt=False)
    return found[1] if found else ""
