"""What every container has below its image, as dockerd's init layer: /.dockerenv, /etc/mtab, and places of mounts.

One directory is the lowest layer of all containers. So an image keeps what it has of its own, which dockerd takes away:
its layer is above the image. Nothing of it is in what a container has written, hence neither in `diff` nor in an image.
"""

from foundation.linux import os

NAME = "../../init"  # from the folder of the store's layers
_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")


def make(path: str) -> None:
    """Make what the directory `path` lacks: all of it, or what an engine that was killed has not made."""
    umask = os.umask(0)
    try:
        for name in ("", *_DIRECTORIES):
            os.makedirs(f"{path}/{name}".rstrip("/"), 0o755, exist_ok=True)
        for name in _FILES:
            os.close(os.open(f"{path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o755))
        if not os.path.islink(f"{path}/etc/mtab"):
            os.symlink("/proc/mounts", f"{path}/etc/mtab")
    finally:
        os.umask(umask)
