"""What happens to volumes: they are made, get what the image has, and are removed when no container has them."""

from foundation.linux import os
from pyrund.errors import ApiError, missing
from pyrund.model.names import new_id
from pyrund.model.volume import ANONYMOUS, Volume, checked_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.spec.mounts import Mount

    Texts = dict[str, str] | None


def make(engine: "Engine", name: str, labels: "Texts", options: "Texts", owner: str = "") -> Volume:
    """Return the volume `name`, which is made if there is none; without a name, a new one. Raises ApiError.

    `owner` is the id of the container that takes it along when it is removed.
    """
    found = engine.volumes.get(name)
    if found is not None:
        engine.volumes.make_again(found)
        return found  # with the labels and options that it has, as with dockerd
    if not name:
        name, labels = new_id(), {**(labels or {}), ANONYMOUS: ""}
    if labels:
        labels = {key: value or "" for key, value in labels.items()}  # Go's zero value stands for null
    volume = engine.volumes.make(name, labels, checked_options(name, options or {}), owner)
    engine.events.tell("volume", "create", name, {"driver": "local"})
    return volume


async def take(engine: "Engine", mounts: "list[Mount]", layers: "list[str]", container_id: str) -> "list[Volume]":
    """Make and populate the volumes of a container that is being created of the image's `layers`; return the new ones.

    All of them count as used by `container_id` until release(). After an error, nothing has been made.
    """
    made: list[Volume] = []
    taken: list[tuple[Mount, Volume]] = []
    try:
        for mount in mounts:  # nothing is awaited here: while one is populated, nobody removes the next
            if mount.kind != "volume":
                continue
            is_new = engine.volumes.get(mount.name) is None
            labels = {**(mount.labels or {}), ANONYMOUS: ""} if mount.is_owned else mount.labels
            volume = make(engine, mount.name, labels, mount.backing, container_id if mount.is_owned else "")
            volume.holders.add(container_id)
            made += [volume] if is_new else []
            mount.source, mount.backing = engine.places.volume_data(mount.name), volume.backing
            kind, _, _ = mount.whole()
            if mount.subpath and kind != "bind":
                raise missing(f"{mount.name}: a part (volume-subpath) of a volume of type {kind[:80]}")
            taken.append((mount, volume))
        for mount, volume in taken:
            if mount.is_copied and not volume.backing:
                await _populate(engine, volume, mount, layers)
    except BaseException:
        release(engine, container_id)
        await remove_all(engine, made)
        raise
    return made


def release(engine: "Engine", container_id: str) -> None:
    """The container is there, or will not be: from now on its document says which volumes it has."""
    for volume in engine.volumes:
        volume.holders.discard(container_id)


async def _populate(engine: "Engine", volume: Volume, mount: "Mount", layers: "list[str]") -> None:
    async with volume.turns:
        place = {"name": volume.name, "subpath": mount.subpath}
        message = {"do": "populate", **place, "target": mount.target, "layers": layers}
        await engine.launcher.do(engine.loop, message)


def users(engine: "Engine", volume: Volume) -> "list[str]":
    """Return the ids of the containers that have the volume."""
    return users_of_all(engine).get(volume.name, [])


def users_of_all(engine: "Engine") -> "dict[str, list[str]]":
    """Return the ids of the containers that have a volume, by its name."""
    found: dict[str, set[str]] = {volume.name: set(volume.holders) for volume in engine.volumes}
    for container in engine.containers:
        for mount in container.document["Mounts"]:
            found.setdefault(mount["name"], set()).add(container.id)
    return {name: sorted(ids) for name, ids in found.items()}


async def remove(engine: "Engine", volume: Volume) -> None:
    """Raises ApiError if a container has the volume."""
    containers = users(engine, volume)
    if containers:
        raise ApiError(409, f"remove {volume.name}: volume is in use - [{', '.join(containers)}]")
    folder = f".removed-{new_id()[:16]}"  # no volume has such a name: recovery removes it
    try:
        os.rename(engine.places.volume(volume.name), f"{engine.places.volumes}/{folder}")
    except FileNotFoundError:
        pass  # somebody has removed its folder
    engine.volumes.remove(volume)
    engine.events.tell("volume", "destroy", volume.name, {"driver": "local"})
    await engine.launcher.do(engine.loop, {"do": "remove_volume", "folder": folder})


async def remove_all(engine: "Engine", volumes: "list[Volume]") -> None:
    """Remove those of `volumes` that no container has."""
    for volume in volumes:
        if not users(engine, volume) and engine.volumes.get(volume.name) is volume:
            await remove(engine, volume)


def disown(engine: "Engine", mounts: "list[Mount]") -> None:
    """Let the volumes without a name outlive the container, which is being removed. Raises OSError."""
    for mount in mounts:
        volume = engine.volumes.get(mount.name) if mount.is_owned else None
        if volume:
            volume.disown()


async def remove_owned(engine: "Engine", mounts: "list[Mount]") -> None:
    """Remove the volumes without a name that a removed container had, unless another one has them too."""
    found = [engine.volumes.get(mount.name) for mount in mounts if mount.is_owned]
    await remove_all(engine, [volume for volume in found if volume])
