"""Runs in a virtual machine: pulls onto a disk that remembers every write, and looks at it as power failures leave it.

    power_guest.py MOMENTS SEED PYFETCH...

dm-log-writes records what reaches the disk, in the order that a disk with a volatile cache guarantees: a write that no
flush has followed may be lost. Each beginning of that record is the disk after a loss of power at that moment. Another
program meanwhile syncs a file of its own again and again: the journal is committed, and with it all names, whether or
not their content has been written.

Prints a line "lost: WHAT" for what is short under its final name, and "tried: N moments of M writes" at the end. Exits
with an error if a pull after the loss of power does not mend everything.
"""

import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time

from conftest import ROOT, tree
from images import Image, directory, entry, hard_link, symlink, tar
from misbehaving import Registry

SECTOR = 512
MAGIC = 0x6A736677736872  # of dm-log-writes.c, as are the flags
FLAG_DISCARD, FLAG_MARK = 4, 8
DISK, CRASHED = "/mnt/disk", "/mnt/crashed"
COMMAND = sys.argv[3:]


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def pyfetch(place, *arguments):
    command = [*COMMAND, *arguments, "--store", f"{place}/store", "-q"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{arguments}: {done.returncode}: {done.stderr}")


def images(chance):
    """Return two images, which share a layer: files of all sizes, links, and a deletion."""

    def files(folder, count):
        sizes = [chance.choice([0, 1, 100, 4096, 70_000, 300_000]) for _ in range(count)]
        return [entry(f"{folder}/{n}", data=chance.randbytes(size)) for n, size in enumerate(sizes)]

    base = tar(directory("a"), *files("a", 40), symlink("link", "a/0"), hard_link("hard", "a/2"))
    upper = tar("a/.wh.1", *files("b", 30))
    return Image(base, upper, config={"Volumes": {"/volume": {}}}), Image(base, tar(*files("c", 30)))


PULLS = [("1", "one"), ("1", "copy", "--copy"), ("1", "two"), ("2", "three")]


def pull_all(place, name):
    for tag, *rest in PULLS:
        pyfetch(place, f"{name}:{tag}", *rest)


class Recorder:
    """A file system on a disk whose writes are recorded."""

    def __init__(self):
        run("modprobe", "-a", "dm-log-writes", "loop")
        self.base, self.log = "/tmp/base", "/tmp/log"
        run("truncate", "-s", "192M", self.base)
        run("truncate", "-s", "640M", self.log)
        run("mkfs.ext4", "-qF", "-b", "4096", "-I", "256", "-J", "size=8", "-E", "lazy_itable_init=0", self.base)
        self.disk = "/tmp/disk"
        run("cp", "--sparse=always", self.base, self.disk)
        devices = [run("losetup", "--find", "--show", path) for path in (self.disk, self.log)]
        sectors = os.path.getsize(self.disk) // SECTOR
        run("dmsetup", "create", "--noudevsync", "recorded", "--table", f"0 {sectors} log-writes {' '.join(devices)}")
        run("dmsetup", "mknodes")
        os.makedirs(DISK)
        run("mount", "/dev/mapper/recorded", DISK)

    def stop(self):
        run("umount", DISK)
        run("dmsetup", "remove", "--noudevsync", "recorded")

    def writes(self):
        """Return (offset, position in the log, length) of every write, in order."""
        with open(self.log, "rb") as file:
            magic, _, count, size = struct.unpack("<QQQI", file.read(28))
            assert magic == MAGIC
            position, found = size, []
            for _ in range(count):
                file.seek(position)
                sector, sectors, flags, _ = struct.unpack("<QQQQ", file.read(32))
                position += size
                if not flags & (FLAG_DISCARD | FLAG_MARK):
                    if sectors:
                        found.append((sector * size, position, sectors * size))
                    position += sectors * size
        return found


class Committer:
    """Another program, which syncs its own file."""

    def __init__(self):
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        with open(f"{DISK}/other", "wb", buffering=0) as file:
            while not self._ended:
                file.write(b"x")
                os.fsync(file.fileno())
                time.sleep(0.01)

    def stop(self):
        self._ended = True
        self._thread.join()


def replay(recorder, writes, moments):
    """For each of `moments`, numbers of writes, yield a file with the disk's content then."""
    replayed, crashed = "/tmp/replayed", "/tmp/crashed"
    run("cp", "--sparse=always", recorder.base, replayed)
    done = 0
    with open(recorder.log, "rb") as log, open(replayed, "r+b", buffering=0) as disk:
        for moment in sorted(moments):
            for offset, position, length in writes[done:moment]:
                disk.seek(offset)
                log.seek(position)
                disk.write(log.read(length))
            done = moment
            run("cp", "--sparse=always", replayed, crashed)
            yield crashed


class Expected:
    """What the pulls made: the layers and the copy are to be like this, or absent."""

    def __init__(self, place):
        self.layers = {
            name: layer_files(f"{place}/store/layers/{name}") for name in os.listdir(f"{place}/store/layers")
        }
        self.copy = image_files(f"{place}/copy/rootfs")

    def lost(self, place, repaired):
        """Return what is short in the store and the bundles at `place`; after a repair also what is not there."""
        return [
            *self._blobs(f"{place}/store"),
            *self._index(f"{place}/store"),
            *self._layers(f"{place}/store/layers", repaired),
            *self._bundles(place, repaired),
        ]

    def _blobs(self, store):
        folder = f"{store}/blobs/sha256"
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            with open(f"{folder}/{name}", "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != name:
                    yield f"blob {name}"

    def _index(self, store):
        for name in ("index.json", "oci-layout"):
            if os.path.exists(f"{store}/{name}"):
                document = is_json(f"{store}/{name}")
                if document is None:
                    yield name
                elif name == "index.json":
                    blobs = [d["digest"].replace(":", "/") for d in document["manifests"]]
                    yield from (f"{blob} of the index" for blob in blobs if not os.path.exists(f"{store}/blobs/{blob}"))

    def _layers(self, folder, repaired):
        for name, wanted in self.layers.items():
            path = f"{folder}/{name}"
            if os.path.exists(path) and layer_files(path) != wanted or repaired and not os.path.exists(path):
                yield f"layer {name}"

    def _bundles(self, place, repaired):
        for _, name, *options in PULLS:
            path = f"{place}/{name}"
            if not os.path.exists(path):
                if repaired:
                    yield f"bundle {name}"
                continue
            if options and image_files(f"{path}/rootfs") != self.copy:
                yield f"root file system of {name}"
            # A pull that fetches nothing, as that of "two", does not wait for the disk: the next one mends the bundle.
            if (repaired or name != "two") and not all(is_json(f"{path}/{n}.json") for n in ("config", "image")):
                yield f"bundle {name}"


def layer_files(root):
    """Return tree() without the times of whiteouts, which the kernel makes."""
    return {path: what if what[0] != "0o20000" else "whiteout" for path, what in tree(root).items()}


def image_files(root):
    """Return tree() without what is made for a volume of the image, now: its directory, in the root."""
    return {path: what for path, what in tree(root).items() if path not in (".", "volume")}


def is_json(path):
    try:
        with open(path, "rb") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    registry = Registry()
    for tag, image in zip("12", images(chance)):
        name = registry.add(image, tag).rpartition(":")[0]
    os.environ.update(PYTHONPATH=f"{ROOT}/runtime", HOME="/tmp", PYFETCH_STORE="/nowhere")
    preload = os.environ.pop("POWER_PRELOAD", "")

    recorder = Recorder()
    committer = Committer()
    if preload:
        os.environ["LD_PRELOAD"] = preload
    pull_all(DISK, name)
    os.environ.pop("LD_PRELOAD", None)
    committer.stop()
    expected = Expected(DISK)
    for _, bundle, *_ in PULLS:
        subprocess.run(["umount", f"{DISK}/{bundle}/rootfs"], stderr=subprocess.DEVNULL)
    recorder.stop()

    writes = recorder.writes()
    os.makedirs(CRASHED)
    for crashed in replay(recorder, writes, [chance.randrange(len(writes)) for _ in range(count)]):
        run("mount", "-o", "loop", crashed, CRASHED)
        for what in expected.lost(CRASHED, repaired=False):
            print("lost:", what)
        if not preload:
            pull_all(CRASHED, name)
            left = expected.lost(CRASHED, repaired=True)
            if left:
                raise SystemExit(f"not mended: {left}")
            for _, bundle, *_ in PULLS:
                subprocess.run(["umount", f"{CRASHED}/{bundle}/rootfs"], stderr=subprocess.DEVNULL)
        run("umount", CRASHED)
    print(f"tried: {count} moments of {len(writes)} writes")


if __name__ == "__main__":
    main()
