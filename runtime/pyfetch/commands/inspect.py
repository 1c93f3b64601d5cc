"""pyfetch inspect IMAGE|BUNDLE: what is known about it, as JSON."""

import json
import os

from pyfetch.bundle import find_bundle
from pyfetch.errors import NotFound
from pyfetch.image import stored_image
from pyfetch.reference import parse_reference
from pyfetch.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.manifest import Descriptor
    from pyfetch.options import Arguments
    from pyfetch.runtime_config import IdMappings


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
        "platform": str(image.config.platform),
        "layers": [
            {**layer.descriptor.as_json(), "diffId": layer.diff_id, "unpacked": store.has_layer(layer.chain_id)}
            for layer in image.layers
        ],
        "config": image.config.document.properties,
    }
    print(json.dumps(description, indent=2))
    return 0


def find_image(store: Store, text: str) -> "tuple[str, Descriptor]":
    """Return the full name and the descriptor of an image in the store, which the user may have named in short."""
    images = dict(store.images())
    if text in images:
        return text, images[text]
    name = str(parse_reference(text))
    if name not in images:
        from pyfetch.help import did_you_mean  # only for who mistypes

        short = [one.rpartition("/")[2].partition(":")[0] for one in images]
        raise NotFound(f"{text}: no such image in the store: see `pyfetch images`{did_you_mean(text, short)}")
    return name, images[name]
