"""pyfetch save IMAGE: write the image as an archive, for a machine without a network.

An OCI image layout in a tar file, with docker's manifest.json in it: pyfetch, skopeo, podman and `docker load` read it.
"""

import json
import sys

from foundation.linux import os
from pyfetch.commands.inspect import find_image
from pyfetch.errors import NotFound, UsageError, translate
from pyfetch.image.image import Image, stored_image
from pyfetch.image.manifest import MAXIMUM_SIZE, OCI_INDEX, Descriptor
from pyfetch.image.reference import DOCKER_HUB, Reference, parse_reference
from pyfetch.image.store import REF_NAME, Store, check_space, write_file
from pyfetch.progress import open_progress
from pyfetch.sources.archives import CONTAINERD_NAME
from pyfetch.sources.downloads import Downloads
from pyfetch.sources.sources import Place
from pyfetch.sources.stored import Stored, all_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Protocol

    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.image.image import Source
    from pyfetch.options import Arguments

    class Output(Protocol):
        def write(self, data: bytes) -> object: ...


_CHUNK = 1 << 20
_BLOCK = 512


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    name, descriptor = find_image(store, arguments.words[0])
    image = stored_image(store, descriptor)
    if image is None or not all(store.has(layer) for layer in image.manifest.layers):
        raise NotFound(f"{name}: not all of it is in the store; fetch it with `pyfetch --no-bundle`")
    if not arguments.output and os.isatty(1):
        raise UsageError("refusing to write an archive to a terminal: use --output FILE, or redirect")
    others = _fetch_all_platforms(arguments, store, name, descriptor) if arguments.all_platforms else []
    try:
        if arguments.output:
            _write_to(arguments.output, lambda file: write(file, store, [(image, [name])], others))
        else:
            write(sys.stdout.buffer, store, [(image, [name])], others)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise translate(f"{arguments.output or 'standard output'}: {error.strerror}", error) from error
    return 0


def _familiar(name: str) -> str:
    """Return docker's form of a name, without Docker Hub: tools compare it with what they have asked for."""
    return parse_reference(name).familiar() if name.startswith(f"{DOCKER_HUB}/") else name


def _fetch_all_platforms(arguments: "Arguments", store: Store, name: str, top: Descriptor) -> "list[Descriptor]":
    """Fetch what the store lacks of `top`; return it and all that it leads to."""
    progress = open_progress(arguments.quiet, as_json=False)
    place = Place(name)
    source: Source = Stored(store, name, top)
    if place.reference is not None:
        from pyfetch.registry.access import Options  # it imports ssl

        at = Reference(place.reference.host, place.reference.repository, "", top.digest)
        source = Place(str(at)).open(store, lambda: Options.of(arguments), progress.note)

    def document(descriptor: Descriptor) -> bytes:
        data = store.read(descriptor, MAXIMUM_SIZE)
        if data is None:
            data = source.document(descriptor)
            store.write(descriptor.digest, data)
        return data

    try:
        reached = list(all_below(top, document))
        absent = {one.digest: one.size for one in reached if not store.has(one)}
        check_space([(store.path, sum(absent.values()))])
        Downloads(store, source, reached, arguments.jobs, progress).wait()
    finally:
        progress.finish()
    return reached


def _write_to(path: str, write: "Callable[[IO[bytes]], None]") -> None:
    """Replace the file `path` atomically; if it is not a file, such as a pipe, write to it."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            write(file)
        return
    path = os.path.realpath(path)
    write_file(path, write, os.path.dirname(path), 0o644)


def write(
    file: "Output", store: Store, images: "list[tuple[Image, list[str]]]", others: "Sequence[Descriptor]" = ()
) -> None:
    """Write an archive of `images`, each with the names that it shall have: of none, a reader knows only the id.

    `others` are blobs to write as well, first of all the index that stands for the image.
    """
    blobs, targets, docker = {one.digest: one for one in others}, [], []
    for image, names in images:
        blobs.update({d.digest: d for d in [*image.manifest.layers, image.manifest.config, image.target]})
        for name in names or [""]:
            annotations = {"annotations": {REF_NAME: _tag(name), CONTAINERD_NAME: name}} if name else {}
            top = image.top if others else image.target
            targets.append({**top.as_json(), **annotations})
        entry = {
            "Config": _path(image.manifest.config),
            "RepoTags": [_familiar(name) for name in names if "@" not in name] or None,
            "Layers": [_path(layer) for layer in image.manifest.layers],
        }
        docker.append(entry)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": targets}
    _member(file, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _member(file, "index.json", json.dumps(index).encode())
    _member(file, "manifest.json", json.dumps(docker).encode())
    for blob in blobs.values():
        _blob(file, store, blob)
    file.write(bytes(2 * _BLOCK))


def _member(file: "Output", name: str, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK))


def _blob(file: "Output", store: Store, descriptor: Descriptor) -> None:
    file.write(_header(_path(descriptor), descriptor.size))
    reader = store.reader(descriptor)
    while data := reader.read(_CHUNK):
        file.write(data)
    reader.close()
    file.write(bytes(-descriptor.size % _BLOCK))


def _header(name: str, size: int) -> bytes:
    """Return a ustar header without time and owner, so that an image always gives the same archive."""
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
