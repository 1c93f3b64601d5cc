"""Images for the tests: tar layers entry by entry, as no tool would write them, and OCI layouts of them."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

OCI = "application/vnd.oci.image"
GZIP_LAYER = f"{OCI}.layer.v1.tar+gzip"


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(name, kind=tarfile.REGTYPE, data=b"", mode=None, **fields):
    """Return (header, data) of a tar entry; `fields` are TarInfo's."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mode = mode if mode is not None else 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name, **fields):
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name, target, **fields):
    return entry(name, tarfile.SYMTYPE, linkname=target, **fields)


def hard_link(name, target, **fields):
    return entry(name, tarfile.LNKTYPE, linkname=target, **fields)


def tar(*entries, format=tarfile.PAX_FORMAT):
    """Return the archive of `entries`, which are files by name ("etc/x"), or what entry() and its like return."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for item in entries:
            info, data = entry(item, data=item.encode()) if isinstance(item, str) else item
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Image:
    """An image of `layers` (uncompressed archives), with all its blobs in `blobs` by digest."""

    def __init__(self, *layers, config=None, compress=None, media_type=GZIP_LAYER, platform=("linux", "amd64")):
        compress = compress or (lambda data: gzip.compress(data, 1, mtime=0))
        self.blobs = {}
        self.layers = [compress(layer) for layer in layers]
        self.diff_ids = [digest_of(layer) for layer in layers]
        self.config = {
            "os": platform[0],
            "architecture": platform[1],
            "config": {"Cmd": ["/bin/sh"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        }
        self.media_type = media_type
        self.seal()

    def seal(self):
        """Make config and manifest anew, after a test has changed something."""
        config = self.add(json.dumps(self.config).encode(), f"{OCI}.config.v1+json")
        layers = [self.add(layer, self.media_type) for layer in self.layers]
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": config,
            "layers": layers,
        }
        self.descriptor = self.add(json.dumps(self.manifest).encode(), self.manifest["mediaType"])
        self.digest = self.descriptor["digest"]

    def add(self, data, media_type):
        digest = digest_of(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def write_layout(self, folder, name=None):
        annotations = {"org.opencontainers.image.ref.name": name} if name else {}
        write_layout(folder, self.blobs, [{**self.descriptor, "annotations": annotations}])
        return folder


def zstd(data, *options):
    return subprocess.run(["zstd", "-qc", *options], input=data, capture_output=True, check=True).stdout


def index_of(*images_and_platforms, **extra):
    """Return (blobs, descriptor) of an index of (image, platform object or None)."""
    blobs = {}
    manifests = []
    for image, platform in images_and_platforms:
        blobs.update(image.blobs)
        manifests.append({**image.descriptor, **({"platform": platform} if platform else {})})
    document = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": manifests, **extra}
    data = json.dumps(document).encode()
    blobs[digest_of(data)] = data
    return blobs, {"mediaType": document["mediaType"], "digest": digest_of(data), "size": len(data)}


def write_layout(folder, blobs, manifests):
    os.makedirs(os.path.join(folder, "blobs/sha256"), exist_ok=True)
    for digest, data in blobs.items():
        with open(os.path.join(folder, "blobs", digest.replace(":", "/")), "wb") as file:
            file.write(data)
    with open(os.path.join(folder, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    with open(os.path.join(folder, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": manifests}, file)


def busybox_layer():
    """Return a layer that can run: a static busybox and a few of its names."""
    path = next(p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p))
    with open(path, "rb") as file:
        data = file.read()
    names = ("sh", "cat", "echo", "id", "ls", "true", "uname", "wget", "touch", "stat", "env", "pwd", "hostname")
    passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/:/bin/sh\n"
    group = b"root:x:0:\nweb:x:34:\nmail:x:8:web\nmany:x:99:other,web\n"
    return tar(
        directory("bin"),
        entry("bin/busybox", data=data, mode=0o755),
        *(symlink(f"bin/{name}", "busybox") for name in names),
        directory("etc"),
        entry("etc/passwd", data=passwd),
        entry("etc/group", data=group),
        directory("root", mode=0o700),
        directory("tmp", mode=0o1777),
    )
