"""pyfetch push IMAGE [NAME]: send an image of the store, or of a file, to a registry.

Blobs that the registry has are not sent, and those that it has in another repository are taken from there. So a push
that was interrupted continues with what is missing. An engine uses Push itself instead of run().
"""

import threading

from pyfetch.commands.inspect import find_image
from pyfetch.errors import NotFound, UsageError, VerificationError
from pyfetch.image.image import Resolver, stored_image
from pyfetch.image.manifest import Descriptor, Pointers
from pyfetch.image.platforms import parse_platform
from pyfetch.image.reference import Reference, parse_reference
from pyfetch.image.store import Store
from pyfetch.progress import Progress, open_progress
from pyfetch.registry.access import Options
from pyfetch.registry.destination import Destination
from pyfetch.sources.sources import Place
from pyfetch.sources.stored import Stored, all_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.image.image import Source
    from pyfetch.options import Arguments

    Homes = dict[str, list[str]]

_MAXIMUM_DEPTH = 4  # of indexes in indexes
_MOST_MOUNTS = 3  # repositories that are tried for a blob


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    source = _source(arguments.words[0], store)
    destination = Place((arguments.words[1:] or [source.name])[0])
    if destination.reference is None:
        raise UsageError(f"{destination.text}: is no name in a registry: say where to send the image")
    progress = open_progress(arguments.quiet, arguments.json)
    print(send(arguments, store, source, destination.reference, progress))
    return 0


def _source(text: str, store: Store) -> "Source":
    place = Place(text)
    if place.reference is not None:
        return Stored(store, *find_image(store, text))
    return place.open(store, Options, lambda note: None)


def send(arguments: "Arguments", store: Store, source: "Source", reference: Reference, progress: Progress) -> str:
    """Send the image of `source` to `reference`, as the command line says; return its name with the digest."""
    destination = Destination(reference, Options.of(arguments), progress.note)
    try:
        top, data = source.top()
        if arguments.platform:
            platform = parse_platform(arguments.platform)
            top, data = Resolver(store, source, platform, progress.warn).resolve(top, data).target, None
        elif isinstance(source, Stored):
            top = what_is_stored(store, top)
        progress.line(announcement(reference))
        return Push(source, destination, store, progress, arguments.jobs).run(top, data)
    finally:
        progress.finish()


def announcement(reference: Reference) -> str:
    return f"The push refers to repository [{reference.familiar_repository()}]"


def what_is_stored(store: Store, top: Descriptor) -> Descriptor:
    """Return `top`, or of an index that is for more platforms than the store has, the manifest of the one it has."""
    if _is_whole(store, top):
        return top
    image = stored_image(store, top)
    if image is None or not _is_whole(store, image.target):
        raise NotFound(f"{top.digest}: not all of it is in the store; fetch it with `pyfetch --no-bundle`")
    return image.target


def _is_whole(store: Store, top: Descriptor) -> bool:
    try:
        return all(map(store.has, all_below(top, Stored(store, "", top).document)))
    except NotFound:
        return False


class Push:
    """Sends what a source has to a destination, each blob before what points to it."""

    def __init__(self, source: "Source", destination: Destination, store: Store, progress: Progress, jobs: int) -> None:
        self._source = source
        self._destination = destination
        self._progress = progress
        self._jobs = jobs
        self._homes = _homes(store, destination.reference)
        self._sent: set[str] = set()

    def run(self, top: Descriptor, data: "bytes | None" = None) -> str:
        """Send what `top` points to, and `top` itself, whose document may be given as `data`; return its name."""
        reference = self._destination.reference
        if reference.digest not in ("", top.digest):
            raise UsageError(f"{reference.familiar()}: the image has another digest: {top.digest}")
        version = reference.tag or top.digest
        self._document(top, data, version, 0)
        self._progress.finish()
        self._progress.pushed(version, top)
        return f"{reference.host}/{reference.repository}@{top.digest}"

    def _document(self, descriptor: Descriptor, data: "bytes | None", version: str, depth: int) -> None:
        if depth > _MAXIMUM_DEPTH:
            raise VerificationError(f"more than {_MAXIMUM_DEPTH} nested indexes")
        data = data or self._source.document(descriptor)
        pointers = Pointers(data, descriptor.media_type)
        descriptor.media_type, descriptor.size = pointers.media_type, len(data)
        for manifest in pointers.manifests:
            if not self._destination.has(manifest, "manifests"):
                self._document(manifest, manifest.data, manifest.digest, depth + 1)
        self._blobs(pointers)
        self._destination.put(data, descriptor, version)

    def _blobs(self, pointers: Pointers) -> None:
        layers = {layer.digest: layer for layer in pointers.layers if layer.digest not in self._sent}
        for layer in layers.values():
            self._progress.layer(layer, "Preparing")
        waiting = [*pointers.config, *layers.values()][::-1]
        errors: list[BaseException] = []

        def work() -> None:
            while waiting and not errors:
                try:
                    blob = waiting.pop()
                    self._blob(blob, self._progress if blob.digest in layers else Progress(lambda text: None))
                except IndexError:
                    return  # another thread took the last one
                except BaseException as error:
                    errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self._jobs, len(waiting)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        self._sent.update(layers)

    def _blob(self, blob: Descriptor, progress: Progress) -> None:
        if self._destination.has(blob):
            return progress.layer(blob, "Layer already exists")
        upload = self._destination.upload(blob)
        for repository in self._repositories(blob)[:_MOST_MOUNTS]:
            if upload.mount(repository):
                return progress.layer(blob, f"Mounted from {repository}")
        progress.layer(blob, "Pushing")
        upload.run(
            lambda offset: iter([blob.data[offset:]]) if blob.data else self._source.blob(blob, offset),
            lambda position: progress.layer(blob, "Pushing", position),
        )
        progress.layer(blob, "Pushed")

    def _repositories(self, blob: Descriptor) -> "list[str]":
        """Return other repositories of the registry that may have the blob: its source, and by the names in the store.

        An administrator can have the repositories of a registry moved to other places, about which we know nothing.
        """
        place = self._destination.reference
        if self._destination.endpoint.repository != place.repository:
            return []
        try:
            source = parse_reference(self._source.name)
        except UsageError:
            return self._homes.get(blob.digest, [])
        is_elsewhere = source.host == place.host and source.repository != place.repository
        return list(dict.fromkeys([source.repository] * is_elsewhere + self._homes.get(blob.digest, [])))


def _homes(store: Store, reference: Reference) -> "Homes":
    """Return, for each blob, the other repositories of the registry in which it is, by the names of stored images."""
    found: Homes = {}
    for name, descriptor in store.images():
        try:
            other = parse_reference(name)
        except UsageError:
            continue  # an image from a file
        image = stored_image(store, descriptor)
        if image is not None and other.host == reference.host and other.repository != reference.repository:
            for blob in image.manifest.layers:
                found.setdefault(blob.digest, []).append(other.repository)
    return found
