"""pyfetch inspect IMAGE|BUNDLE: describe it as JSON; docker://NAME at its registry, without fetching its layers."""

import json

from foundation.errors import did_you_mean
from foundation.linux import os
from pyfetch.bundle.bundle import find_bundle
from pyfetch.errors import NotFound
from pyfetch.image.image import Image, Resolver, stored_image
from pyfetch.image.manifest import MAXIMUM_SIZE, Pointers
from pyfetch.image.platforms import parse_platform
from pyfetch.image.store import Store
from pyfetch.progress import open_progress
from pyfetch.sources.sources import Place, places_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.image.manifest import Descriptor
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    text = arguments.words[0]
    if os.path.exists(os.path.join(text, "image.json")):
        print(json.dumps(find_bundle(text)[1].properties, indent=2))
        return 0
    place = Place(text)
    if place.reference is not None and place.path == text:
        name, descriptor = find_image(store, text)
        image = stored_image(store, descriptor)
        if image is None:
            raise NotFound(f"{name}: its manifest is not in the store; fetch it again")
    else:
        name, image = _elsewhere(arguments, store, place)
    print(json.dumps(_description(name, image, store), indent=2))
    return 0


def _elsewhere(arguments: "Arguments", store: Store, place: Place) -> "tuple[str, Image]":
    """Return name and image from a registry or a file, of which only manifests and config are fetched."""
    from pyfetch.registry.access import Options

    progress = open_progress(arguments.quiet, as_json=False)
    source = place.open(store, lambda: Options.of(arguments), progress.note)
    platform = parse_platform(arguments.platform) if arguments.platform else None
    return source.name, Resolver(store, source, platform, progress.warn).resolve(*source.top())


def _description(name: str, image: Image, store: Store) -> "dict[str, object]":
    return {
        "name": name,
        "digest": image.top.digest,
        "manifest": image.target.digest,
        "platform": str(image.platform),
        "platforms": _platforms(image, store),
        "layers": [
            {**layer.descriptor.as_json(), "diffId": layer.diff_id, "unpacked": store.has_layer(layer.chain_id)}
            for layer in image.layers
        ],
        "config": image.config.document.properties,
    }


def _platforms(image: Image, store: Store) -> "list[str]":
    """Return the platforms that the image is for: several if its name stands for an index."""
    data = store.read(image.top, MAXIMUM_SIZE)
    listed = Pointers(data, image.top.media_type).manifests if data is not None else []
    named = [str(entry.platform) for entry in listed if entry.platform and entry.platform.os != "unknown"]
    return list(dict.fromkeys(named)) or [str(image.platform)]


def find_image(store: Store, text: str) -> "tuple[str, Descriptor]":
    """Return full name and descriptor of a stored image, by its full or short name; raise NotFound."""
    images = dict(store.images())
    if text in images:
        return text, images[text]
    for place in places_of(text):
        if str(place.reference) in images:
            return str(place.reference), images[str(place.reference)]
    short = [one.rpartition("/")[2].partition(":")[0] for one in images]
    way_out = did_you_mean(text, short) or ": see `pyfetch images`"
    raise NotFound(f"{text}: no such image in the store{way_out}")
