"""What a daemon knows, and what there is: both must agree whatever was killed."""

import os
from pathlib import Path


def differences(engine):
    """Return in what the daemon's list of containers, their folders, states and monitors differ."""
    known = {one["Id"]: one["State"] for one in engine.call("GET", "/containers/json?all=1")[1]}
    running = {id_ for id_, state in known.items() if state == "running"}
    folders, states = names_in(engine.data / "containers"), names_in(engine.run / "pyrun")
    monitored = folders.intersection(commands_of_monitors())
    volumes = {one["Name"] for one in engine.call("GET", "/volumes")[1]["Volumes"]}
    used = {one["Name"] for two in engine.call("GET", "/containers/json?all=1")[1] for one in two["Mounts"]}
    pairs = {
        "volumes": volumes ^ names_in(engine.data / "volumes"),
        "owners": volumes ^ used,
        "folders": folders ^ known.keys(),
        "states": states ^ running,
        "monitors": monitored ^ running,
    }
    return {what: differing for what, differing in pairs.items() if differing}


def names_in(folder):
    return set(os.listdir(folder)) if folder.exists() else set()


def commands_of_monitors():
    """Return the ids of the containers that have a monitor."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if words[0].endswith(b"pyrun") and words[1:2] == [b"monitor"]:
            yield words[2].decode()
