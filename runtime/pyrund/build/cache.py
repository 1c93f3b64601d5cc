"""The cache of builds: what came of a step, found by what the step is and by what it begins with."""

import json

from foundation.linux import os, whole_file
from pyfetch.image.digest import digest_of
from pyrund.build import settings
from pyrund.build.image import Draft

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.store import Store

    Json = dict[str, Any]

_PREFIX = "build-"


class Cache:
    """Records in the folder of the store whose files tell prune which blobs and layers to keep.

    `sources` are the images of --cache-from: only what has led to one of them is taken then. None without that option.
    """

    def __init__(self, store: "Store", is_used: bool, sources: "list[Draft] | None") -> None:
        self._store = store
        self._is_used = is_used
        self._sources = sources

    def key(self, parent: Draft, *parts: str) -> str:
        """Return the key of a step after `parent`."""
        return digest_of(json.dumps([parent.id, *parts]).encode()).partition(":")[2]

    def find(self, key: str, parent: Draft, config: "Json", created_by: str) -> "Draft | None":
        """Return what came of the step `key` after `parent`. In an image's history it is called `created_by`; with it,
        the image had the settings `config`."""
        if not self._is_used:
            return None
        found = self._recorded(key, parent)
        if self._sources is None or (found and any(one.begins_with(found) for one in self._sources)):
            return found
        for source in self._sources:
            history = source.history[len(parent.history) :]
            if history and history[0].get("created_by") == created_by and source.begins_with(parent):
                self._sources = [source]  # as dockerd: later steps come from no other image
                is_last = len(history) == 1 and settings.are_same(source.config, config)
                return source if is_last else source.after(parent, config)
        return None

    def _recorded(self, key: str, parent: Draft) -> "Draft | None":
        try:
            record = json.loads(whole_file.read(self._path(key)))
            draft = Draft(record["document"], record["descriptors"], None, record["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return draft if self._has(draft, parent) else None

    def _has(self, draft: Draft, parent: Draft) -> bool:
        """Return whether the store has the layers that the draft has beyond `parent`; those of `parent` are there."""
        added = [one["digest"] for one in draft.layers if one not in parent.layers]
        folders = draft.folders(self._store)[len(parent.diff_ids) :]
        return all(os.path.exists(self._store.blob_path(digest)) for digest in added) and all(
            os.path.isdir(f"{self._store.layers}/{name}") for name in folders
        )

    def remember(self, key: str, draft: Draft, size: "int | None") -> None:
        """Keep the result of a step, which has made a layer of `size` bytes, or none.

        A cache may lose what it has, so nothing waits for the disk.
        """
        record = {
            "id": draft.id,
            "document": draft.document,
            "descriptors": draft.layers,
            "size": size,
            "blobs": [one["digest"] for one in draft.layers],
            "layers": draft.folders(self._store),
        }
        os.makedirs(self._store.kept, 0o700, exist_ok=True)
        path = self._path(key)
        whole_file.put(path, json.dumps(record).encode(), f"{path}.{os.getpid()}")

    def _path(self, key: str) -> str:
        return f"{self._store.kept}/{_PREFIX}{key}"


def records(store: "Store") -> "list[str]":
    """Return the paths of all records."""
    try:
        names = os.listdir(store.kept)
    except FileNotFoundError:
        return []
    return [f"{store.kept}/{name}" for name in names if name.startswith(_PREFIX)]
