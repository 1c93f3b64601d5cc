"""Volumes: folders that outlive containers, each with its document on disk, and how a client names them."""

import json
import sys

from foundation.linux import os, whole_file
from pyrund.errors import ApiError
from pyrund.loop import Turns
from pyrund.model.names import is_name
from pyrund.model.times import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrund.places import Places

    Json = dict[str, Any]

ANONYMOUS = "com.docker.volume.anonymous"  # the label of a volume that no client has named
_FIELDS = frozenset(("Name", "CreatedAt", "Labels", "Options", "Owner"))
_LONGEST_NAME = 255
_OPTIONS = ("type", "device", "o", "size")
# File systems of other machines.
REMOTE_TYPES = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "glusterfs")


class Volume:
    """A volume. `document` is what volume.json holds: Name, CreatedAt, Labels and Options, as in docker's API, and
    Owner, the id of the container with which it was made, if that is to take it along.

    turns       whoever populates or removes it waits for the others to finish
    holders     the ids of containers that are being created with it
    """

    def __init__(self, places: "Places", document: "Json") -> None:
        self.places = places
        self.document = document
        self.turns = Turns()
        self.holders: set[str] = set()

    @property
    def name(self) -> str:
        return str(self.document["Name"])

    @property
    def labels(self) -> "dict[str, str]":
        return self.document["Labels"] or {}

    @property
    def backing(self) -> "dict[str, str] | None":
        """What is mounted instead of the folder, as mount(8)'s type, device and o."""
        return self.document["Options"] or None

    @property
    def owner(self) -> str:
        return str(self.document["Owner"])

    @property
    def is_anonymous(self) -> bool:
        return ANONYMOUS in self.labels

    def disown(self) -> None:
        """Let the volume outlive its container. Raises OSError; the document is then as before."""
        path = self.places.volume_document(self.name)
        whole_file.replace(path, json.dumps({**self.document, "Owner": ""}).encode(), f"{path}.new", soon=True)
        self.document["Owner"] = ""

    def described(self) -> "Json":
        """Return the volume as inspect shows it."""
        document = self.document
        return {
            "CreatedAt": document["CreatedAt"],
            "Driver": "local",
            "Labels": document["Labels"],
            "Mountpoint": self.places.volume_data(self.name),
            "Name": self.name,
            "Options": document["Options"],
            "Scope": "local",
        }


class Volumes:
    """All volumes, by their names."""

    def __init__(self, places: "Places") -> None:
        self._places = places
        self._by_name: dict[str, Volume] = {}

    def __iter__(self) -> "Iterator[Volume]":
        return iter([self._by_name[name] for name in sorted(self._by_name)])

    def get(self, name: str) -> "Volume | None":
        return self._by_name.get(name)

    def find(self, name: str) -> Volume:
        """Return the volume `name`. Raises ApiError, with docker's words."""
        found = self._by_name.get(name)
        if found is None:
            raise ApiError(404, f"get {name[:200]}: no such volume")
        return found

    def make(self, name: str, labels: "dict[str, str] | None", options: "dict[str, str] | None", owner: str) -> Volume:
        """Make a volume on disk. Raises OSError; then nothing of it is there."""
        places = self._places
        document = {"Name": name, "CreatedAt": f"{now()[:19]}Z", "Labels": labels, "Options": options or None}
        document["Owner"] = owner
        self._make_folder(document)
        volume = self._by_name[name] = Volume(places, document)
        return volume

    def make_again(self, volume: Volume) -> None:
        """Make the folder of the volume again if somebody has removed it. Raises OSError."""
        if not os.path.isdir(self._places.volume(volume.name)):
            self._make_folder(volume.document)

    def _make_folder(self, document: "Json") -> None:
        places, name = self._places, document["Name"]
        os.makedirs(places.volume(name), 0o700)
        try:
            os.mkdir(places.volume_data(name), 0o755)
            whole_file.create(places.volume_document(name), json.dumps(document).encode(), soon=True)
        except OSError:
            if os.path.isdir(places.volume_data(name)):
                os.rmdir(places.volume_data(name))
            os.rmdir(places.volume(name))
            raise

    def remove(self, volume: Volume) -> None:
        del self._by_name[volume.name]

    def load(self) -> "list[str]":
        """Find the volumes on disk; return the names of folders that were half made or half removed.

        A document that is not one of ours, such as one that the disk has lost, is told, and its volume left as it is.
        """
        halves = []
        folder = self._places.volumes
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            path = self._places.volume_document(name)
            try:
                document = json.loads(whole_file.read(path))
            except FileNotFoundError:
                halves.append(name)
                continue
            except ValueError:
                document = None
            if isinstance(document, dict) and document.keys() >= _FIELDS and document["Name"] == name:
                self._by_name[name] = Volume(self._places, document)
            else:
                print(f"pyrund: {path}: is not a volume of this engine: left as it is", file=sys.stderr)
        return halves


def check_name(name: str) -> str:
    """Return the name of a volume. Raises ApiError, with docker's words."""
    if len(name) == 1:
        raise ApiError(
            400, f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not is_name(name) or len(name) > _LONGEST_NAME:
        raise ApiError(
            400,
            f'create {name[:200]}: "{name[:200]}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
        )
    return name


def check_driver(name: str, driver: str) -> None:
    """Raise ApiError, with docker's words, if there is no such driver of volumes."""
    if driver != "local":
        why = f'error looking up volume plugin {driver[:80]}: plugin "{driver[:80]}" not found'
        raise ApiError(404, f"create {name}: {why}")


def checked_options(name: str, options: "dict[str, str]") -> "dict[str, str] | None":
    """Return the options of a new volume, None if there are none. Raises ApiError, with docker's words."""
    for key in options:
        if key not in _OPTIONS:
            raise ApiError(400, f'create {name}: invalid option: "{key[:80]}"')
    if "size" in options:
        raise ApiError(400, f"create {name}: quota size requested but no quota support")
    if not options:
        return None
    for key in ("device", "type"):
        if not options.get(key):
            raise ApiError(400, f'create {name}: missing required option: "{key}"')
    return options
