"""A worker that makes what networks are on the host: their bridges, and the table of rules."""

import json

from foundation.linux import os, whole_file
from foundation.linux.nftables import FORWARD, drops
from pyrund.errors import ApiError
from pyrund.model import network
from pyrund.net import bridge, parent, table
from pyrund.net.ports import Published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message | None":
    """Make what is missing; return whether the host's firewall `drops` what it should forward.

    `ends`: [[network id, name of an interface]] of running containers. `new`: the id of a network that is just made. If
    the parent of another one has gone, only its own containers cannot start.

    `absent`: only look whether the host has an interface of that name, and raise ApiError then. As a bridge of ours it
    would get an address, and would be removed with the network.
    """
    if "absent" in message:
        if bridge.exists(message["absent"]):
            raise ApiError(403, f"bridge {message['absent']}: the host has an interface of that name")
        return None
    with bridge.Lock(places.run):
        table.refuse_other(places.table, places.run)
        for gone in network.load_removed(places):
            if gone.is_bridge:
                bridge.remove(gone.bridge_name)
            elif gone.has_parent:
                bridge.remove_ours(gone.parent.name)
            os.unlink(places.removed_network(gone.id))
        # After that, because the daemon may remove another one meanwhile: it would be made again, and stay.
        known = {one.id: one for one in network.load_all(places) if one.document["Subnet"]}
        bridges = {id_: one.bridge() for id_, one in known.items() if one.is_bridge}
        for one in bridges.values():
            bridge.make(one)
        for id_, outside in message["ends"]:
            if id_ in bridges:
                bridge.repair(bridges[id_], outside)
        if message["new"] in known.keys() - bridges.keys():
            parent.make(known[message["new"]].parent)
        if bridges:
            forwarded = bridge.forward(places.run, any(one.subnet6 for one in bridges.values()))
            table.make(places.table, places.run, list(bridges.values()), _published(places), forwarded)
        elif table.owner_of(places.table) == places.run:
            table.remove(places.table)
    return {"drops": bool(bridges) and drops(FORWARD)}


def _published(places: "Places") -> "list[Published]":
    folder = os.path.dirname(places.published(""))
    ids = os.listdir(folder) if os.path.isdir(folder) else []
    return [one for id_ in ids for one in read(places, id_)]


def read(places: "Places", id_: str) -> "list[Published]":
    """Return the published ports of the container `id_`."""
    try:
        return [Published(*one) for one in json.loads(whole_file.read(places.published(id_)))]
    except FileNotFoundError:
        return []
