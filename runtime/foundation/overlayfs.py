"""Where overlayfs keeps its own attributes, such as that of a directory which hides the one below it.

Only the host's root may write trusted.*. In a user namespace they are user.*, if the mount asks for that (Linux 5.11,
Documentation/filesystems/overlayfs.rst, "User xattr").
"""

from foundation.rootless import rootless

PREFIXES = ("trusted.overlay.", "user.overlay.")
OPTION = "userxattr"


def opaque() -> str:
    """Return the name of the attribute of a directory that hides the one below it."""
    return f"{PREFIXES[rootless()]}opaque"
