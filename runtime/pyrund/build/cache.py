"""The cache of builds: what came of a step, found by what the step is and by what it begins with."""

import json

from foundation.linux import os, whole_file
from pyfetch.image.digest import digest_of
from pyrund.build.image import Draft, is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.store import Store

_PREFIX = "build-"


class Cache:
    """Records in the folder of the store whose files tell prune which blobs and layers to keep."""

    def __init__(self, store: "Store", is_used: bool) -> None:
        self._store = store
        self._is_used = is_used

    def key(self, parent: Draft, *parts: str) -> str:
        """Return the key of a step after `parent`."""
        return digest_of(json.dumps([parent.id, *parts]).encode()).partition(":")[2]

    def find(self, key: str) -> "Draft | None":
        if not self._is_used:
            return None
        try:
            record = json.loads(whole_file.read(self._path(key)))
            draft = Draft(record["document"], record["descriptors"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        has_blobs = all(os.path.exists(self._store.blob_path(one["digest"])) for one in draft.layers)
        return draft if has_blobs and is_there(self._store, draft) else None

    def remember(self, key: str, draft: Draft, size: "int | None") -> None:
        """Keep the result of a step, which has made a layer of `size` bytes, or none.

        A cache may lose what it has, so nothing waits for the disk.
        """
        record = {
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
