"""Images in files: OCI layouts as a folder or as an archive, and what `docker save` writes, old and new.

Sources: image-spec, image-layout.md; docker's save format ("image tarball" of moby's image/spec/v1.2.md).
"""

import os
from itertools import chain

from pyfetch.compression import decompressed
from pyfetch.digest import digest_of, hasher, is_digest
from pyfetch.document import Document, parse
from pyfetch.errors import NotFound, UsageError, VerificationError, printable
from pyfetch.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, MAXIMUM_SIZE, OCI_LAYER, Descriptor, read_descriptor
from pyfetch.reference import parse_reference
from pyfetch.store import REF_NAME
from pyfetch.tar import HARDLINK, REGULAR, SYMLINK, Archive, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Protocol

    class Files(Protocol):
        """Files by name, of a folder or of an archive. `pieces` gives a file from an offset on."""

        def has(self, name: str) -> bool: ...
        def size(self, name: str) -> int: ...
        def pieces(self, name: str, offset: int = 0) -> "Iterator[bytes]": ...


CONTAINERD_NAME = "io.containerd.image.name"  # the full name, where ref.name is only a tag
_CHUNK = 1 << 20
_MAXIMUM_LINKS = 10
_MAXIMUM_MEMBERS = 100_000


class Folder:
    def __init__(self, path: str) -> None:
        self._path = path
        if not os.path.isdir(path):
            raise NotFound(f"{path}: no such folder")

    def has(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self._path, name))

    def size(self, name: str) -> int:
        return os.stat(os.path.join(self._path, name)).st_size

    def pieces(self, name: str, offset: int = 0) -> "Iterator[bytes]":
        # Without following a link: a layout from elsewhere could name any file of ours (go-containerregistry #2306).
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(os.path.join(self._path, name), flags), "rb", buffering=0) as file:
            file.seek(offset)
            while data := file.read(_CHUNK):
                yield data


class TarFiles:
    """The members of a tar file, found by one pass over its headers; links inside are followed, a few times."""

    def __init__(self, file: "IO[bytes]") -> None:
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}  # name: offset, size
        self._links: dict[str, str] = {}
        stream = _FileStream(file)
        for entry in Archive(stream):
            name = _clean(os.fsdecode(entry.name))
            if entry.kind == REGULAR:
                self._members[name] = stream.position(), entry.size
            elif entry.kind == SYMLINK:  # docker save links layers that occur twice
                self._links[name] = _clean(os.path.join(os.path.dirname(name), os.fsdecode(entry.target)))
            elif entry.kind == HARDLINK:
                self._links[name] = _clean(os.fsdecode(entry.target))
            if len(self._members) + len(self._links) > _MAXIMUM_MEMBERS:
                raise VerificationError(f"an image archive of more than {_MAXIMUM_MEMBERS} files")

    def has(self, name: str) -> bool:
        return self._target(name) in self._members

    def size(self, name: str) -> int:
        return self._members[self._target(name)][1]

    def pieces(self, name: str, offset: int = 0) -> "Iterator[bytes]":
        position, size = self._members[self._target(name)]
        end, position = position + size, position + offset
        while position < end:
            data = os.pread(self._file.fileno(), min(_CHUNK, end - position), position)
            if not data:
                raise VerificationError(f"{printable(name)}: the archive ends too early")
            position += len(data)
            yield data

    def _target(self, name: str) -> str:
        for _ in range(_MAXIMUM_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return name


class _FileStream(Stream):
    """A Stream that seeks over what it is to skip: the bodies of a tar file need not be read to find its members."""

    def __init__(self, file: "IO[bytes]") -> None:
        self._file = file
        self._offset = 0
        self._size = file.seek(0, os.SEEK_END)
        super().__init__(iter(self._read, b""))

    def position(self) -> int:
        return self._offset - len(self._chunk)

    def skip(self, size: int) -> None:
        self._offset = min(self.position() + size, self._size)
        self._chunk = memoryview(b"")

    def _read(self) -> bytes:
        data = os.pread(self._file.fileno(), 4096, self._offset)
        self._offset += len(data)
        return data


def open_archive(file: "IO[bytes]", folder: str) -> TarFiles:
    """Return the members of the tar file or stream `file`; what is compressed or cannot seek is copied to `folder`."""
    start = file.read(8)
    if file.seekable() and start and not start.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return TarFiles(file)
    copy = open(os.open(folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600), "w+b", buffering=0)
    for piece in decompressed(chain([start], iter(lambda: file.read(_CHUNK), b""))):
        copy.write(piece)
    return TarFiles(copy)


class Layout:
    """An OCI image layout. `wanted` is the name of an image in it, or "" for the only one."""

    def __init__(self, files: "Files", place: str, wanted: str) -> None:
        self._files = files
        self._place = place
        self._top = self._find(wanted)
        self.name = _image_name(self._top) or f"{place}{':' if wanted else ''}{wanted}"

    def _find(self, wanted: str) -> Descriptor:
        index = parse(_read(self._files, "index.json", self._place), f"{self._place}: index.json")
        entries = [read_descriptor(entry) for entry in index.objects("manifests")]
        found = [d for d in entries if not wanted or wanted in _names(d)]
        if len({d.digest for d in found}) == 1:
            return found[0]
        names = ", ".join(sorted(printable(name, 100) for d in entries for name in _names(d))) or "none"
        if found and not wanted:
            raise UsageError(f"{self._place}: holds {len(found)} images; add :NAME to choose one of: {names}")
        raise NotFound(f"{self._place}: no image {wanted or 'at all'}; there are: {names}")

    def top(self) -> "tuple[Descriptor, bytes | None]":
        return self._top, None

    def document(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAXIMUM_SIZE:
            raise VerificationError(f"a manifest of {descriptor.size} bytes, more than {MAXIMUM_SIZE}")
        data = _read(self._files, _blob(descriptor.digest), self._place)
        if digest_of(data, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise VerificationError(f"{self._place}: the manifest {descriptor.digest} is not what its digest says")
        return data

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        return _pieces(self._files, _blob(descriptor.digest), descriptor, offset, self._place)

    def distrust(self) -> bool:
        return False


class DockerArchive:
    """What `docker save` writes: manifest.json names config and layers. `wanted` is one of its tags, or "".

    The manifest is made here, from what the archive says. Old archives name layers by folders, not by digests, but hold
    them uncompressed: then the digest is the diffID.
    """

    def __init__(self, files: "Files", place: str, wanted: str) -> None:
        self._files = files
        self._place = place
        image = self._find(wanted)
        tags = image.strings("RepoTags")
        self.name = str(parse_reference(tags[0])) if tags else f"{place}{':' if wanted else ''}{wanted}"
        self._where: dict[str, str] = {}
        self._manifest = self._make_manifest(image)

    def _find(self, wanted: str) -> Document:
        # manifest.json is an array, the only document of ours that is.
        text = _read(self._files, "manifest.json", self._place)
        images = parse(b'{"images":' + text + b"}", f"{self._place}: manifest.json").objects("images")
        full = str(parse_reference(wanted)) if wanted else ""
        found = [i for i in images if not wanted or full in [str(parse_reference(t)) for t in i.strings("RepoTags")]]
        if len(found) == 1:
            return found[0]
        tags = ", ".join(printable(tag, 100) for image in images for tag in image.strings("RepoTags")) or "none"
        if found and not wanted:
            raise UsageError(f"{self._place}: holds {len(found)} images; add :NAME to choose one of: {tags}")
        raise NotFound(f"{self._place}: no image {wanted or 'at all'}; there are: {tags}")

    def _make_manifest(self, image: Document) -> bytes:
        import json

        config_name = _clean(image.required_string("Config"))
        config_data = _read(self._files, config_name, self._place)
        config = Descriptor(DOCKER_CONFIG, digest_of(config_data), len(config_data))
        self._where[config.digest] = config_name
        diff_ids = parse(config_data, f"{self._place}: {config_name}").object("rootfs").strings("diff_ids")
        names = [_clean(name) for name in image.strings("Layers")]
        if len(names) != len(diff_ids):
            raise VerificationError(f"{self._place}: {len(names)} layers, but the config names {len(diff_ids)}")
        layers = [self._layer(name, diff_id) for name, diff_id in zip(names, diff_ids)]
        document = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": config.as_json(),
            "layers": [layer.as_json() for layer in layers],
        }
        return json.dumps(document).encode()

    def _layer(self, name: str, diff_id: str) -> Descriptor:
        if not self._files.has(name):
            raise VerificationError(f"{self._place}: {printable(name)} is missing")
        start = next(self._files.pieces(name), b"")
        digest = f"sha256:{os.path.basename(name)}"
        if not is_digest(digest) or os.path.dirname(name) != "blobs/sha256":
            digest = self._digest(name) if start.startswith(b"\x1f\x8b") else diff_id
        self._where[digest] = name
        return Descriptor(OCI_LAYER, digest, self._files.size(name))

    def _digest(self, name: str) -> str:
        total = hasher("sha256:")
        for piece in self._files.pieces(name):
            total.update(piece)
        return f"sha256:{total.hexdigest()}"

    def top(self) -> "tuple[Descriptor, bytes | None]":
        return Descriptor(DOCKER_MANIFEST, digest_of(self._manifest), len(self._manifest)), self._manifest

    def document(self, descriptor: Descriptor) -> bytes:
        return self._manifest

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        return _pieces(self._files, self._where[descriptor.digest], descriptor, offset, self._place)

    def distrust(self) -> bool:
        return False


def _pieces(files: "Files", name: str, descriptor: Descriptor, offset: int, place: str) -> "Iterator[bytes]":
    if not files.has(name):
        raise NotFound(f"{place}: {descriptor.digest} is missing")
    if files.size(name) != descriptor.size:
        raise VerificationError(f"{place}: {descriptor.digest} has {files.size(name)} bytes, not {descriptor.size}")
    return files.pieces(name, offset)


def _read(files: "Files", name: str, place: str) -> bytes:
    if not files.has(name):
        raise NotFound(f"{place}: no {printable(name)} in it: not an image, or an incomplete one")
    if files.size(name) > MAXIMUM_SIZE:
        raise VerificationError(f"{place}: {printable(name)}: {files.size(name)} bytes, more than {MAXIMUM_SIZE}")
    return b"".join(files.pieces(name))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _clean(name: str) -> str:
    return os.path.normpath(f"/{name}").lstrip("/")


def _names(descriptor: Descriptor) -> "list[str]":
    names = (descriptor.annotations.get(key, "") for key in (REF_NAME, CONTAINERD_NAME))
    return [name for name in names if name]


def _image_name(descriptor: Descriptor) -> str:
    """Return the full name of an image in a layout, if it says one: a bare tag names nothing outside of it."""
    for name in _names(descriptor)[::-1]:
        if "/" in name and ":" in name:
            try:
                return str(parse_reference(name))
            except UsageError:
                continue  # annotations are free text
    return ""
