"""Images in files: OCI layouts in a folder or an archive, and the old and new formats of `docker save`.

Sources: image-spec, image-layout.md; docker's save format ("image tarball" of moby's image/spec/v1.2.md).
"""

import stat
from itertools import chain

from foundation.errors import one_line
from foundation.linux import os
from pyfetch.errors import NotFound, UsageError, VerificationError
from pyfetch.image.digest import digest_of, hasher, is_digest
from pyfetch.image.document import Document
from pyfetch.image.manifest import MAXIMUM_SIZE, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, read_descriptor
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import REF_NAME, nameless_file
from pyfetch.unpack.compression import compression, decompressed, is_compressed, is_older
from pyfetch.unpack.limits import check_ratio
from pyfetch.unpack.tar import HARDLINK, REGULAR, SYMLINK, Archive, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Protocol

    class Files(Protocol):
        """Files by name, of a folder or an archive. `pieces` yields a file's content from an offset on."""

        def has(self, name: str) -> bool: ...
        def size(self, name: str) -> int: ...
        def pieces(self, name: str, offset: int = 0) -> "Iterator[bytes]": ...


CONTAINERD_NAME = "io.containerd.image.name"  # the full name, if ref.name is only a tag
_CHUNK = 1 << 20
_MAXIMUM_LINKS = 10
_MAXIMUM_MEMBERS = 100_000
_MAXIMUM_NAMES = 16 << 20  # bytes of all their names, which are digests for the most part


class Folder:
    """The files of an OCI layout in a folder."""

    def __init__(self, path: str) -> None:
        self._path = path
        if not os.path.isdir(path):
            raise NotFound(f"{path}: no such folder")

    def has(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self._path, name))

    def size(self, name: str) -> int:
        return os.stat(os.path.join(self._path, name)).st_size

    def pieces(self, name: str, offset: int = 0) -> "Iterator[bytes]":
        """Yield a file's content. Links, as nix and bazel make them, are followed: the digest verifies the target.

        Only regular files are opened, and read no further than their size: a layout from elsewhere could link to any
        file of ours (go-containerregistry #2306), and some in /proc never end.
        """
        found = os.open(os.path.join(self._path, name), os.O_PATH | os.O_CLOEXEC)
        try:
            status = os.fstat(found)
            if not stat.S_ISREG(status.st_mode):
                raise VerificationError(f"{self._path}: {one_line(name)} is not a file")
            file = open(f"/proc/self/fd/{found}", "rb", buffering=0)
        finally:
            os.close(found)
        with file:
            file.seek(offset)
            left = status.st_size - offset
            while left > 0 and (data := file.read(min(_CHUNK, left))):
                left -= len(data)
                yield data


class TarFiles:
    """The members of a tar file, found in one pass over its headers; links among them are followed."""

    def __init__(self, file: "IO[bytes]") -> None:
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}  # name: offset, size
        self._links: dict[str, str] = {}
        stream = _FileStream(file)
        left = _MAXIMUM_NAMES
        for entry in Archive(stream):
            name = _clean(os.fsdecode(entry.name))
            if entry.kind == REGULAR:
                self._members[name] = stream.position(), entry.size
            elif entry.kind == SYMLINK:  # docker save links layers that occur twice
                self._links[name] = _clean(os.path.join(os.path.dirname(name), os.fsdecode(entry.target)))
            elif entry.kind == HARDLINK:
                self._links[name] = _clean(os.fsdecode(entry.target))
            left -= len(entry.name) + len(entry.target)
            if left < 0 or len(self._members) + len(self._links) > _MAXIMUM_MEMBERS:
                raise VerificationError(f"an image archive of more than {_MAXIMUM_MEMBERS} files, or too long names")

    def has(self, name: str) -> bool:
        return self._target(name) in self._members

    def size(self, name: str) -> int:
        return self._members[self._target(name)][1]

    def pieces(self, name: str, offset: int = 0) -> "Iterator[bytes]":
        """Yield a file's content; raise VerificationError if the archive ends too early."""
        position, size = self._members[self._target(name)]
        end, position = position + size, position + offset
        while position < end:
            data = os.pread(self._file.fileno(), min(_CHUNK, end - position), position)
            if not data:
                raise VerificationError(f"{one_line(name)}: the archive ends too early")
            position += len(data)
            yield data

    def _target(self, name: str) -> str:
        for _ in range(_MAXIMUM_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return name


class _FileStream(Stream):
    """A Stream that seeks instead of reading what it skips, so finding the members does not read their bodies."""

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
    """Return the members of the tar file or stream `file`, copied to `folder` if it is compressed or a pipe."""
    start = file.read(8)
    if file.seekable() and start and not is_compressed(start) and not is_older(start):
        return TarFiles(file)
    copy = nameless_file(folder)
    taken = 0

    def compressed() -> "Iterator[bytes]":
        nonlocal taken
        for piece in chain([start], iter(lambda: file.read(_CHUNK), b"")):
            taken += len(piece)
            yield piece

    for piece in decompressed(compressed(), of_docker=True):
        copy.write(piece)
        check_ratio(taken, copy.tell())
    return TarFiles(copy)


def is_layout(files: "Files", place: str) -> bool:
    """Return whether index.json names an image: docker 25 and newer write one, which may be empty."""
    return files.has("index.json") and bool(_entries(files, place))


def image_names(files: "Files", place: str) -> "list[list[str]]":
    """Return the names of each image of an archive: those of docker's list, if it has one."""
    if not files.has("manifest.json"):
        return [_names(entry)[-1:] if _image_name(entry) else [] for entry in _entries(files, place)]
    return list(map(_tags, _docker_images(files, place)))


def _docker_images(files: "Files", place: str) -> "list[Document]":
    # manifest.json is an array, which Document.decode() does not take.
    text = _read(files, "manifest.json", place)
    return Document.decode(b'{"images":' + text + b"}", f"{place}: manifest.json").objects("images")


def _entries(files: "Files", place: str) -> "list[Descriptor]":
    index = Document.decode(_read(files, "index.json", place), f"{place}: index.json")
    return [read_descriptor(entry) for entry in index.objects("manifests")]


class Layout:
    """An OCI image layout. `wanted` is the name of an image in it, or "" for the only one."""

    def __init__(self, files: "Files", place: str, wanted: str) -> None:
        self._files = files
        self._place = place
        self._top = self._find(wanted)
        self.name = _image_name(self._top) or f"{place}{':' if wanted else ''}{wanted}"

    def _find(self, wanted: str) -> Descriptor:
        entries = _entries(self._files, self._place)
        found = [d for d in entries if not wanted or wanted in _names(d)]
        if len({d.digest for d in found}) == 1:
            return found[0]
        names = ", ".join(sorted(one_line(name, 100) for d in entries for name in _names(d))) or "none"
        if found and not wanted:
            raise UsageError(f"{self._place}: holds {len(found)} images; add :NAME to choose one of: {names}")
        raise NotFound(f"{self._place}: no image {wanted or 'at all'}; there are: {names}")

    def top(self) -> "tuple[Descriptor, bytes | None]":
        return self._top, None

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the manifest or index, verified."""
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
    """What `docker save` writes: manifest.json names config and layers. `wanted` is one of its tags, @N for the image
    number N, or "".

    The manifest is made here, as the image-spec has it. Old archives name layers by folders, not by digests, but hold
    them uncompressed, so that the digest is the diffID.
    """

    def __init__(self, files: "Files", place: str, wanted: str) -> None:
        self._files = files
        self._place = place
        image = self._find(wanted)
        by_name = wanted and not wanted.startswith("@")
        names = [str(parse_reference(tag)) for tag in ([wanted] if by_name else _tags(image))]
        self.name = names[0] if names else place
        self._where: dict[str, str] = {}
        self._unpacked: set[str] = set()  # digests of layers that are given decompressed
        self._manifest = self._make_manifest(image)

    def _find(self, wanted: str) -> Document:
        images = _docker_images(self._files, self._place)
        if wanted.startswith("@") and wanted[1:].isdigit() and wanted.isascii() and len(wanted) < 10:
            if int(wanted[1:]) >= len(images):
                raise NotFound(f"{self._place}: no image {wanted}; there are {len(images)}")
            return images[int(wanted[1:])]
        full = str(parse_reference(wanted)) if wanted else ""
        found = [i for i in images if not wanted or full in [str(parse_reference(tag)) for tag in _tags(i)]]
        if len(found) == 1:
            return found[0]
        tags = ", ".join(one_line(tag, 100) for image in images for tag in _tags(image)) or "none"
        if found and not wanted:
            raise UsageError(f"{self._place}: holds {len(found)} images; add :NAME to choose one of: {tags}")
        raise NotFound(f"{self._place}: no image {wanted or 'at all'}; there are: {tags}")

    def _make_manifest(self, image: Document) -> bytes:
        import json

        config_name = _clean(image.required_string("Config"))
        config_data = _read(self._files, config_name, self._place)
        config = Descriptor(OCI_CONFIG, digest_of(config_data), len(config_data))
        self._where[config.digest] = config_name
        diff_ids = Document.decode(config_data, f"{self._place}: {config_name}").object("rootfs").strings("diff_ids")
        names = [_clean(name) for name in image.strings("Layers")]
        if len(names) != len(diff_ids):
            raise VerificationError(f"{self._place}: {len(names)} layers, but the config names {len(diff_ids)}")
        layers = [self._layer(name, diff_id) for name, diff_id in zip(names, diff_ids)]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.as_json(),
            "layers": [layer.as_json() for layer in layers],
        }
        return json.dumps(document).encode()

    def _layer(self, name: str, diff_id: str) -> Descriptor:
        if not self._files.has(name):
            raise VerificationError(f"{self._place}: {one_line(name)} is missing")
        start = next(self._files.pieces(name), b"")
        if is_older(start):  # the image-spec has no such layers: the store gets it decompressed
            self._unpacked.add(diff_id)
            self._where[diff_id] = name
            return Descriptor(OCI_LAYER, diff_id, self._unpacked_size(name))
        digest = f"sha256:{os.path.basename(name)}"
        if not is_digest(digest) or os.path.dirname(name) != "blobs/sha256":
            digest = self._digest(name) if is_compressed(start) else diff_id
        self._where[digest] = name
        return Descriptor(OCI_LAYER + compression(start), digest, self._files.size(name))

    def _unpacked_size(self, name: str) -> int:
        size, total = self._files.size(name), 0
        for piece in decompressed(self._files.pieces(name), of_docker=True):
            total += len(piece)
            check_ratio(size, total)
        return total

    def _digest(self, name: str) -> str:
        total = hasher("sha256:")
        for piece in self._files.pieces(name):
            total.update(piece)
        return f"sha256:{total.hexdigest()}"

    def top(self) -> "tuple[Descriptor, bytes | None]":
        return Descriptor(OCI_MANIFEST, digest_of(self._manifest), len(self._manifest)), self._manifest

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the manifest, which is made here, whatever `descriptor` is."""
        return self._manifest

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        name = self._where[descriptor.digest]
        if descriptor.digest not in self._unpacked:
            return _pieces(self._files, name, descriptor, offset, self._place)
        return from_offset(decompressed(self._files.pieces(name), of_docker=True), offset)

    def distrust(self) -> bool:
        return False


def _pieces(files: "Files", name: str, descriptor: Descriptor, offset: int, place: str) -> "Iterator[bytes]":
    if not files.has(name):
        raise NotFound(f"{place}: {descriptor.digest} is missing")
    if files.size(name) != descriptor.size:
        raise VerificationError(f"{place}: {descriptor.digest} has {files.size(name)} bytes, not {descriptor.size}")
    return files.pieces(name, offset)


def from_offset(pieces: "Iterator[bytes]", offset: int) -> "Iterator[bytes]":
    """Yield what follows the first `offset` bytes of `pieces`."""
    for piece in pieces:
        if offset < len(piece):
            yield piece[offset:]
        offset = max(0, offset - len(piece))


def _tags(image: Document) -> "list[str]":
    """Return the tags of an image in manifest.json, without the placeholder that docker writes for none."""
    return [tag for tag in image.strings("RepoTags") if tag != "<none>:<none>"]


def _read(files: "Files", name: str, place: str) -> bytes:
    if not files.has(name):
        raise NotFound(f"{place}: no {one_line(name)} in it: not an image, or an incomplete one")
    if files.size(name) > MAXIMUM_SIZE:
        raise VerificationError(f"{place}: {one_line(name)}: {files.size(name)} bytes, more than {MAXIMUM_SIZE}")
    return b"".join(files.pieces(name))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _clean(name: str) -> str:
    return os.path.normpath(f"/{name}").lstrip("/")


def _names(descriptor: Descriptor) -> "list[str]":
    names = (descriptor.annotations.get(key, "") for key in (REF_NAME, CONTAINERD_NAME))
    return [name for name in names if name]


def _image_name(descriptor: Descriptor) -> str:
    """Return the full name of an image in a layout, or "": a bare tag means nothing outside of the layout."""
    for name in _names(descriptor)[::-1]:
        if "/" in name and ":" in name:
            try:
                return str(parse_reference(name))
            except UsageError:
                continue  # annotations are free text
    return ""
