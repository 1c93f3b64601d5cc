"""pyfetch inspect IMAGE|BUNDLE: describe it as JSON."""

import json

from foundation.errors import did_you_mean
from foundation.linux import os
from pyfetch.bundle.bundle import find_bundle
from pyfetch.errors import NotFound
from pyfetch.image.image import stored_image
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.image.manifest import Descriptor
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    if os.path.exists(os.path.join(arguments.words[0], "image.json")):
        print(json.dumps(find_bundle(arguments.words[0])[1].properties, indent=2))
        return 0
    name, descriptor = find_image(store, arguments.words[0])
    image = stored_image(store, descriptor)
    if image is None:
        raise NotFound(f"{name}: its manifest is not in the store; fetch it again")
    description = {
        "name": name,
        "digest": image.top.digest,
        "manifest": image.target.digest,
        "platform": str(image.platform),
        "layers": [
            {**layer.descriptor.as_json(), "diffId": layer.diff_id, "unpacked": store.has_layer(layer.chain_id)}
            for layer in image.layers
        ],
        "config": image.config.document.properties,
    }
    print(json.dumps(description, indent=2))
    return 0


def find_image(store: Store, text: str) -> "tuple[str, Descriptor]":
    """Return full name and descriptor of a stored image, by its full or short name; raise NotFound."""
    images = dict(store.images())
    if text in images:
        return text, images[text]
    name = str(parse_reference(text))
    if name not in images:
        short = [one.rpartition("/")[2].partition(":")[0] for one in images]
        way_out = did_you_mean(text, short) or ": see `pyfetch images`"
        raise NotFound(f"{text}: no such image in the store{way_out}")
    return name, images[name]
