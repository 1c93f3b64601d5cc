import json
import os
import shutil
import subprocess

import pytest

from foundation.encode import encode
from pyrun.config.default import VERSION, default_config
from pyrun.config.document import Config
from pyrun.config.node import Node
from pyrun.config.validate import findings, warnings

needs_runc = pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
BOTH = pytest.mark.parametrize("rootless", [False, True], ids=["privileged", "rootless"])


def written_by_runc(rootless, directory):
    command = ["runc", "spec", "--rootless"] if rootless else ["runc", "spec"]
    subprocess.run(command, cwd=directory, check=True)
    return (directory / "config.json").read_text()


@BOTH
def test_the_default_config_is_valid(rootless):
    config = Config(Node.root(default_config(rootless), "config.json"))

    assert findings(config) + warnings(config) == []


@BOTH
def test_the_default_config_is_a_new_one_each_time(rootless):
    default_config(rootless)["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")

    assert "CAP_SYS_ADMIN" not in str(default_config(rootless))


def test_the_rootless_config_maps_the_caller():
    linux = default_config(True)["linux"]

    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]


@needs_runc
@BOTH
def test_the_default_config_says_what_runc_says_but_for_what_changed_since(rootless, tmp_path):
    ours = default_config(rootless)
    theirs = json.loads(written_by_runc(rootless, tmp_path))
    theirs["ociVersion"] = VERSION
    theirs["process"]["capabilities"].pop("ambient", None)  # left out since runc 1.2: it went around file capabilities
    if "/sys/devices/virtual/tpm" not in theirs["linux"]["maskedPaths"]:  # masked in later versions
        theirs["linux"]["maskedPaths"].append("/sys/devices/virtual/tpm")

    assert ours == theirs


@needs_runc
@BOTH
def test_the_default_config_has_the_order_and_the_indentation_of_runc(rootless, tmp_path):
    theirs = written_by_runc(rootless, tmp_path)
    ours = default_config(rootless)
    ours["ociVersion"] = json.loads(theirs)["ociVersion"]
    if "ambient" in json.loads(theirs)["process"]["capabilities"]:
        ours["process"]["capabilities"]["ambient"] = ours["process"]["capabilities"]["bounding"]
    if "/sys/devices/virtual/tpm" not in theirs:
        ours["linux"]["maskedPaths"].remove("/sys/devices/virtual/tpm")

    assert encode(ours, "\t") == theirs
