"""An image under construction: its config and its layers. Each step makes a new one of it."""

import json

from pyfetch.image.digest import digest_of
from pyfetch.image.image import chain_ids, stored_image
from pyfetch.image.manifest import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, oci_layer_type
from pyfetch.image.platforms import host_platform
from pyrund.model.times import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.image import Image as Stored
    from pyfetch.image.platforms import Platform
    from pyfetch.image.store import Store

    Json = dict[str, Any]


class Draft:
    """`document` is the config of the image (image-spec, config.md), `layers` are its descriptors as JSON.

    `known` is the descriptor by which the store has this very image, or None.
    """

    def __init__(
        self, document: "Json", layers: "list[Json]", known: "Descriptor | None" = None, id_: str = ""
    ) -> None:
        self.document = document
        self.layers = layers
        self.known = known
        self.id = id_ or digest_of(_encoded(document))

    @staticmethod
    def of(image: "Stored") -> "Draft":
        """Return the draft that is this image."""
        layers = [{**layer.as_json(), "mediaType": oci_layer_type(layer.media_type)} for layer in image.manifest.layers]
        return Draft(dict(image.config.document.properties), layers, image.top, image.manifest.config.digest)

    @staticmethod
    def empty(platform: "Platform | None" = None) -> "Draft":
        """Return the draft without anything, as of FROM scratch."""
        platform = platform or host_platform()
        variant = {"variant": platform.variant} if platform.variant else {}
        document: Json = {"architecture": platform.architecture, "os": platform.os, **variant}
        return Draft({**document, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}, "history": []}, [])

    @property
    def config(self) -> "Json":
        """A copy of the inner config: Cmd, Env and the like."""
        return dict(self.document.get("config") or {})

    @property
    def history(self) -> "list[Json]":
        found = self.document.get("history")
        return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []

    @property
    def diff_ids(self) -> "list[str]":
        return (self.document.get("rootfs") or {}).get("diff_ids") or []

    def begins_with(self, other: "Draft") -> bool:
        """Return whether all steps of `other` are the first ones of this image."""
        steps, layers = len(other.history), len(other.diff_ids)
        return self.history[:steps] == other.history and self.diff_ids[:layers] == other.diff_ids

    def after(self, parent: "Draft", config: "Json") -> "Draft":
        """Return what this image, which begins with `parent`, was one step later, with the settings `config`."""
        history = self.history[: len(parent.history) + 1]
        layers = len(parent.diff_ids) + (not history[-1].get("empty_layer"))
        document = {
            **self.document,
            "created": history[-1].get("created", ""),
            "config": _filled(config),
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids[:layers]},
            "history": history,
        }
        return Draft(document, self.layers[:layers])

    def folders(self, store: "Store") -> "list[str]":
        """Return the folders of its layers in the store, the lowest first."""
        return [store.layer_name(chain) for chain in chain_ids(self.diff_ids)]

    def with_step(
        self, config: "Json", history: "Json", nanoseconds: int, layer: "Json | None" = None, author: str = ""
    ) -> "Draft":
        """Return the draft after one more step, which may have made a layer."""
        created = rfc3339(nanoseconds)
        empty = {} if layer else {"empty_layer": True}
        diff_ids = [*self.diff_ids, *([layer["digest"]] if layer else [])]
        document = {
            **{name: self.document[name] for name in ("architecture", "os", "variant") if self.document.get(name)},
            **({"author": author} if author else {}),
            "created": created,
            "config": _filled(config),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [*self.history, {"created": created, **history, **empty}],
        }
        return Draft(document, [*self.layers, *([layer] if layer else [])])

    def as_json(self) -> "Json":
        return {"document": self.document, "layers": self.layers}


def _filled(config: "Json") -> "Json":
    return {name: value for name, value in config.items() if value not in (None, "", [], {})}


def layer_json(digest: str, size: int) -> "Json":
    """Return the descriptor of a layer that is not compressed, so its digest is its diffID too."""
    return {"mediaType": OCI_LAYER, "digest": digest, "size": size}


def store_draft(store: "Store", draft: Draft) -> "Stored":
    """Write the image's documents; its layers are there. It has no name yet."""
    if draft.known is None:
        config = _encoded(draft.document)
        _write(store, draft.id, config)
        draft.known = store_manifest(store, draft.id, len(config), draft.layers)
    found = stored_image(store, draft.known)
    assert found is not None
    return found


def store_manifest(store: "Store", config: str, size: int, layers: "list[Json]") -> Descriptor:
    """Write the manifest of the layers and of the config with that digest and size."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config, "size": size},
        "layers": layers,
    }
    data = _encoded(manifest)
    return Descriptor(OCI_MANIFEST, _write(store, digest_of(data), data), len(data))


def _write(store: "Store", digest: str, data: bytes) -> str:
    """Store a document, and return its digest. If it is there, as after a build from the cache, the disk may rest."""
    file = store.open_blob(Descriptor("", digest, len(data)))
    if file is not None:
        with file:
            if file.read() == data:
                return digest
    store.write(digest, data)
    return digest


def source_date(arguments: "dict[str, str]") -> "int | None":
    """Return SOURCE_DATE_EPOCH in nanoseconds, or None (https://reproducible-builds.org/specs/source-date-epoch/)."""
    text = arguments.get("SOURCE_DATE_EPOCH", "")
    return int(text) * 1_000_000_000 if text.isascii() and text.isdigit() and len(text) < 12 else None


def _encoded(document: "Json") -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
