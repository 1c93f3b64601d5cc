"""pyfetch save IMAGE: write the image as an archive, for a machine without a network.

An OCI image layout in a tar file, with docker's manifest.json in it: pyfetch, skopeo, podman and `docker load` read it.
"""

import json
import os
import sys

from pyfetch.archives import CONTAINERD_NAME
from pyfetch.commands.inspect import find_image
from pyfetch.errors import NotFound, UsageError, translate
from pyfetch.image import Image, stored_image
from pyfetch.manifest import OCI_INDEX, Descriptor
from pyfetch.store import REF_NAME, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

    from pyfetch.options import Arguments
    from pyfetch.runtime_config import IdMappings

_CHUNK = 1 << 20
_BLOCK = 512


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    name, descriptor = find_image(store, arguments.words[0])
    image = stored_image(store, descriptor)
    if image is None or not all(store.has(layer) for layer in image.manifest.layers):
        raise NotFound(f"{name}: not all of it is in the store; fetch it again")
    if not arguments.output:
        if os.isatty(1):
            raise UsageError("refusing to write an archive to a terminal: use --output FILE, or redirect")
        _write(sys.stdout.buffer, store, image, name)
        sys.stdout.buffer.flush()
        return 0
    temporary = f"{arguments.output}.{os.getpid()}.part"
    try:
        with open(temporary, "xb") as file:
            _write(file, store, image, name)
        os.rename(temporary, arguments.output)
    except OSError as error:
        raise translate(f"{arguments.output}: {error.strerror}", error) from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return 0


def _write(file: "IO[bytes]", store: Store, image: Image, name: str) -> None:
    blobs = {d.digest: d for d in [*image.manifest.layers, image.manifest.config, image.target]}
    target = {**image.target.as_json(), "annotations": {REF_NAME: _tag(name), CONTAINERD_NAME: name}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [target]}
    docker = {
        "Config": _path(image.manifest.config),
        "RepoTags": [name] if "@" not in name else None,
        "Layers": [_path(layer) for layer in image.manifest.layers],
    }
    _member(file, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _member(file, "index.json", json.dumps(index).encode())
    _member(file, "manifest.json", json.dumps([docker]).encode())
    for blob in blobs.values():
        _blob(file, store, blob)
    file.write(bytes(2 * _BLOCK))


def _member(file: "IO[bytes]", name: str, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK))


def _blob(file: "IO[bytes]", store: Store, descriptor: Descriptor) -> None:
    file.write(_header(_path(descriptor), descriptor.size))
    reader = store.reader(descriptor)
    while data := reader.read(_CHUNK):
        file.write(data)
    reader.close()
    file.write(bytes(-descriptor.size % _BLOCK))


def _header(name: str, size: int) -> bytes:
    """Return a ustar header: the same bytes for the same image, whoever saves it and when."""
    number = f"{size:011o}\0".encode() if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    header = bytearray(_BLOCK)
    header[0 : len(name)] = name.encode()
    header[100:124] = b"0000644\0" + b"0000000\0" * 2
    header[124:136] = number
    header[136:148] = b"00000000000\0"
    header[148:157] = b" " * 8 + b"0"
    header[257:265] = b"ustar\x0000"
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def _path(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.replace(':', '/')}"


def _tag(name: str) -> str:
    """Return the tag in a full name."""
    return name.partition("@")[0].rpartition("/")[2].partition(":")[2] or "latest"
