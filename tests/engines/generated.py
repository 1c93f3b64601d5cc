"""The config.json that an engine has generated for a container of its own that runs."""

import json
import subprocess

from tools import PYRUN

# Loopback must be brought up by who makes the network namespace, and cannot be a hook's of another container.
OF_THIS_CONTAINER_ALONE = ("hooks",)


def findings(path):
    """Return what `validate` says of the config at `path`, and the status that it ends with."""
    command = [PYRUN, "validate", "--bundle", path.parent, "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return json.loads(result.stdout)["findings"], result.returncode


def output_without_its_engine(path, directory, *command):
    """Return what `command` prints in another container of the config at `path`, on the same root file system."""
    config = json.loads(path.read_text())
    for name in OF_THIS_CONTAINER_ALONE:
        config.pop(name, None)
    config["process"]["args"] = list(command)
    config["process"]["terminal"] = False
    config["root"]["path"] = str(path.parent / config["root"]["path"])
    config["linux"]["cgroupsPath"] = f"/generated-{path.parent.name[:12]}"
    (directory / "config.json").write_text(json.dumps(config))
    command = [PYRUN, "--root", directory / "state", "run", "--bundle", directory, "generated"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout
