#!/usr/bin/env python3
"""An NFS server, whose threads are the kernel's. Run as a program it gets what belongs to it from Debian, unpacked.

Whoever installs that package has its services, too.
"""

import os
import shutil
import subprocess
from pathlib import Path

import packages

SUITE = "bookworm"
_NAME = f"nfs-{SUITE}"
_LIBRARIES = "lib(tirpc|nfsidmap|event-core|keyutils|wrap)|nfs-common"
# $1 is what is served. A server waits for clients that knew another one before, for the seconds of nfsv4gracetime.
_SERVE = """
mount -t nfsd nfsd /proc/fs/nfsd
for name in nfsv4leasetime nfsv4gracetime; do echo 10 > /proc/fs/nfsd/$name; done
mkdir -p /var/lib/nfs
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
echo "$1 127.0.0.1(rw,fsid=0,no_root_squash,no_subtree_check,insecure)" > /etc/exports
exportfs -ra
rpc.mountd -N 2 -N 3
rpc.nfsd -N 3 -H 127.0.0.1 1
"""


def has_programs() -> bool:
    return packages.place(_NAME).exists()


def can_be() -> bool:
    """Tell whether this is one of our virtual machines, whose kernel has the server, and the programs are there."""
    is_ours = os.path.exists("/run/vmrun") and has_programs()
    return is_ours and all(subprocess.run(["modprobe", name]).returncode == 0 for name in ("nfsd", "nfs", "nfsv4"))


def serve(folder: Path, inside: "list[str]") -> None:
    """Serve `folder`, of a file system that can be served such as tmpfs, in the namespaces that `inside` enters. It
    ends with the virtual machine."""
    root = packages.place(_NAME) / "root"
    programs, libraries = f"{root}/usr/sbin:{root}/sbin", f"{root}/usr/lib/x86_64-linux-gnu"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LD_LIBRARY_PATH": libraries}
    subprocess.run([*inside, "sh", "-ec", _SERVE, "sh", folder], env=environment, check=True)


def _finish(root: str, target: str) -> None:
    shutil.move(root, f"{target}/root")


if __name__ == "__main__":
    packages.fetch(_NAME, SUITE, "nfs-kernel-server", _LIBRARIES, _finish)
