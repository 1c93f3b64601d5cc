"""Configs that people really ship: they run as with docker, which runs each of them in this file beside us."""

import json
import os
import re
import subprocess

import pytest
from conftest import push
from images import Image, busybox_layer, directory, symlink, tar

SHELL = ["/bin/sh", "-c"]
CONFIGS = {
    "entrypoint of one empty string": {"Entrypoint": [""], "Cmd": ["/bin/echo", "hi"]},
    "empty argument": {"Entrypoint": ["/bin/echo", ""], "Cmd": ["x"]},
    **{
        f"user {user!r}": {"User": user, "Cmd": ["/bin/id"]}
        for user in (
            "1000:",
            ":1000",
            "web:",
            "33",
            "33:",
            "33:34",
            "33:8",
            "web",
            "web:mail",
            "1000",
            "0",
            ":mail",
        )
    },
    "variable without a value": {"Env": ["NOTHING", "A=b", "PATH=/bin"], "Cmd": ["/bin/env"]},
    "empty variable": {"Env": ["", "A=b"], "Cmd": ["/bin/env"]},
    "variable twice": {"Env": ["A=1", "A=2"], "Cmd": ["/bin/env"]},
    "hostname": {"Cmd": [*SHELL, 'test "$HOSTNAME" = "$(hostname)" && echo same']},
    "hostname of the image": {"Env": ["HOSTNAME=mine"], "Cmd": [*SHELL, "echo $HOSTNAME"]},
    "volume that is missing": {
        "Volumes": {"/data/x": {}},
        "Cmd": [*SHELL, "stat -c %A:%u /data /data/x; touch /data/x/y"],
    },
    "relative volume": {"Volumes": {"data": {}}, "Cmd": [*SHELL, "stat -c %A /data; touch /data/y"]},
    "volume behind a link": {"Volumes": {"/var/run/x": {}}, "Cmd": ["/bin/ls", "/run"]},
    "volume that leads up": {"Volumes": {"/a/../../b": {}}, "Cmd": ["/bin/ls", "-d", "/b"]},
}


def image_of(config, **top):
    layer = tar(directory("var"), directory("run"), symlink("var/run", "../run"))
    image = Image(busybox_layer(), layer, config={"Cmd": None, **config})
    image.config.update(top)
    image.config = {key: value for key, value in image.config.items() if value is not None}
    image.seal()
    return image


def run_with_runc(pyfetch, image, *options):
    image.write_layout(pyfetch.folder / "layout", "x")
    bundle = pyfetch.ok("oci:layout:x", *options)
    done = subprocess.run(
        ["runc", "--root", pyfetch.folder / "state", "run", "-b", bundle, f"pyfetch-{os.getpid()}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout, done.stderr


def without_names(text):
    """Twelve digits are a hostname that was made up."""
    return sorted(re.sub("[0-9a-f]{12}", "NAME", text).splitlines())


@pytest.mark.needs("root", "dockerd", "docker")
@pytest.mark.parametrize("what", CONFIGS)
def test_an_image_runs_as_with_docker(pyfetch, docker, docker_registry, what):
    image = image_of(CONFIGS[what])
    name = push(image, pyfetch.folder / "pushed", f"{docker_registry}/wild:{list(CONFIGS).index(what)}")
    docker("pull", "--quiet", name, check=True)
    theirs = docker("run", "--rm", "--network", "none", name, check=True).output
    ours, errors = run_with_runc(pyfetch, image)

    assert without_names(ours) == without_names(theirs) != [], errors


@pytest.mark.parametrize("mode", ["--overlay", "--copy"])
def test_a_missing_or_relative_volume_can_be_written_to_if_the_root_cannot(pyfetch, mode):
    command = [*SHELL, "touch /data/a /other/deep/b && ls /data /other/deep; touch /c"]
    image = image_of({"Volumes": {"data": {}, "/other/deep": {}}, "Cmd": command})
    output, errors = run_with_runc(pyfetch, image, "--read-only", mode)

    assert output == "/data:\na\n\n/other/deep:\nb\n"
    assert "Read-only file system" in errors


def test_a_volume_in_place_of_a_file_leaves_the_file(pyfetch):
    image = image_of({"Volumes": {"/etc/passwd": {}, "/etc/passwd/x": {}}, "Cmd": ["/bin/cat", "/etc/passwd"]})

    assert run_with_runc(pyfetch, image)[0].startswith("root:x:0:0")


def test_a_config_that_names_no_system_is_linuxs(pyfetch):
    assert run_with_runc(pyfetch, image_of({"Cmd": ["/bin/echo", "hi"]}, os=None))[0] == "hi\n"


def test_names_of_a_config_may_be_in_another_case(pyfetch):
    """Go, in which builders and docker are written, reads them in any."""
    image = image_of({})
    image.config = {
        "OS": "linux",
        "Architecture": "amd64",
        "Config": {"cmd": [*SHELL, "pwd; id -u; echo $A"], "env": ["A=b"], "workingdir": "/tmp", "USER": "web"},
        "RootFS": {"Type": "layers", "Diff_IDs": image.diff_ids},
    }
    image.seal()

    assert run_with_runc(pyfetch, image)[0] == "/tmp\n33\nb\n"


def test_the_exact_name_wins(pyfetch):
    image = image_of({"cmd": ["/bin/echo", "lower"], "Cmd": ["/bin/echo", "exact"], "CMD": ["/bin/echo", "upper"]})

    assert run_with_runc(pyfetch, image)[0] == "exact\n"


def test_what_is_left_out_of_the_environment_is_told(pyfetch):
    image_of({"Env": ["NOTHING"], "Cmd": ["/bin/env"]}).write_layout(pyfetch.folder / "layout", "x")
    done = pyfetch.run("oci:layout:x")

    assert "left out 'NOTHING' of the image's environment" in done.stderr
    with open(f"{done.stdout.strip()}/config.json") as file:
        assert not [v for v in json.load(file)["process"]["env"] if v.startswith("NOTHING")]
