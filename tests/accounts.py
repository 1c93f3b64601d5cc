"""Accounts that only the tests' own processes see: they have an /etc of their own."""

import os
from pathlib import Path

# Another one each time: podman's locks of a user are the machine's.
UID = 60000 + os.getpid() % 5000
SUBORDINATE = 3_000_000
# Without an upper directory: each command mounts it again, and one may not be in use twice. dockerd writes a key.
_OWN_ETC = """
mount -t overlay -o lowerdir="$0:/etc" overlay /etc && mount -t tmpfs tmpfs /etc/docker && exec "$@"
"""


def with_account(directory, name, subordinate_ids=65536):
    """Return the words to put before a command for which there is a user `name`, with so many subordinate ids."""
    (directory / "docker").mkdir(parents=True)
    ids = f"{name}:{SUBORDINATE}:{subordinate_ids}\n" if subordinate_ids else ""
    (directory / "subuid").write_text(ids)
    (directory / "subgid").write_text(ids)
    (directory / "passwd").write_text(Path("/etc/passwd").read_text() + f"{name}:x:{UID}:{UID}::/:/bin/sh\n")
    (directory / "group").write_text(Path("/etc/group").read_text() + f"{name}:x:{UID}:\n")
    return ("unshare", "--mount", "sh", "-c", _OWN_ETC, directory)


AS_USER = ("setpriv", "--reuid", UID, "--regid", UID, "--clear-groups", "--inh-caps=-all")
