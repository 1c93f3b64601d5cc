"""`docker system df` and prune, `save` and `load`."""

import io
import json
import subprocess
import tarfile

import pytest
from daemon import DOCKERS
from images import Image, busybox_layer, tar

pytestmark = pytest.mark.usefixtures("removed")


def prune(engine, what, **filters):
    text = json.dumps({name: [value] for name, value in filters.items()}).replace(" ", "")
    status, answer = engine.call("POST", f"/{what}/prune?filters={text}")
    assert status == 200, answer
    return answer


def test_df_counts_layers_containers_and_volumes(engine):
    engine.ok(
        "run", "--name", "web", "--network=none", "-v", "vol:/x", "busybox", "sh", "-c", "head -c 5000 /bin/sh > /f"
    )
    engine.ok("run", "--rm", "--network=none", "-v", "vol:/x", "busybox", "sh", "-c", "head -c 700 /bin/sh > /x/f")

    status, found = engine.call("GET", "/system/df")

    assert status == 200
    assert sorted(found) == ["BuildCache", "Containers", "Images", "LayersSize", "Volumes"]
    (image,) = found["Images"]
    assert (image["Containers"], image["SharedSize"], image["Size"]) == (1, 0, found["LayersSize"])
    (container,) = found["Containers"]
    assert 5000 <= container["SizeRw"] < 6000
    assert container["SizeRootFs"] == container["SizeRw"] + image["Size"]
    (volume,) = found["Volumes"]
    assert volume["UsageData"] == {"RefCount": 1, "Size": 700}
    assert list(engine.call("GET", "/system/df?type=volume&type=container")[1]) == ["Containers", "Volumes"]
    assert engine.call("GET", "/system/df?type=nosuch")[0] == 400
    assert "Local Volumes   1         1         700B" in engine.ok("system", "df")
    for client in DOCKERS:
        line = next(line for line in engine.ok("system", "df", "-v", client=client).splitlines() if "busybox" in line)
        assert line.split()[6][:4] == "1.98" and line.split()[7:9] == ["0B", "1.983MB"], (client, line)
    engine.ok("rm", "web")
    engine.ok("volume", "rm", "vol")


def test_prune_of_containers_takes_those_that_do_not_run(engine):
    for name, label in (("old", "a=1"), ("new", "b=1")):
        words = ("--label", label, "--network=none", "busybox", "sh", "-c", "head -c 1000 /bin/sh > /f")
        engine.ok("run", "--name", name, *words)
    id_ = engine.inspect("old", ".Id")
    engine.ok("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    engine.ok("run", "-d", "--name", "again", "--restart", "always", "busybox", "false")

    assert prune(engine, "containers", until="1h")["ContainersDeleted"] is None
    assert prune(engine, "containers", label="a")["ContainersDeleted"] == [id_]
    answer = prune(engine, "containers")
    assert len(answer["ContainersDeleted"]) == 1
    assert 1000 <= answer["SpaceReclaimed"] < 2000
    assert sorted(engine.ok("ps", "-a", "--format", "{{.Names}}").split()) == ["again", "runs"]


def test_prune_of_the_system_leaves_what_is_used(own_engine):
    own_engine.ok("run", "-d", "--name", "runs", "--network=none", "-v", "used:/x", "busybox", "sleep", "1000")
    own_engine.ok("create", "--name", "idle", "-v", "/own", "busybox")
    own_engine.ok("network", "create", "idle")

    shown = own_engine.ok("system", "prune", "-f", "-a", "--volumes")

    assert "Deleted Containers:" in shown and "Deleted Networks:\nidle" in shown and "Deleted Volumes:" in shown
    assert own_engine.ok("volume", "ls", "-q") == "used"
    assert own_engine.ok("ps", "-a", "--format", "{{.Names}}") == "runs"
    assert own_engine.ok("images", "--format", "{{.Repository}}") == "busybox"


@pytest.mark.parametrize("text", ["", "x", "1x", "2026-13-77", "h1"])
def test_a_wrong_time_is_refused(engine, text):
    filters = json.dumps({"until": [text]}).replace(" ", "")

    assert engine.call("POST", f"/containers/prune?filters={filters}")[0] == 400


@pytest.fixture
def other(hub, own_engine):
    """A daemon with busybox and an image over the same layer."""
    hub.push(Image(busybox_layer(), tar("own/file"), config={"Cmd": ["sh"], "Labels": {"l": "m"}}), "other:1")
    own_engine.ok("pull", "other:1")
    return own_engine


def test_prune_of_images_takes_those_without_a_container(other):
    other.ok("create", "busybox")

    assert prune(other, "images") == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    assert prune(other, "images", dangling="false", label="nosuch")["ImagesDeleted"] is None
    answer = prune(other, "images", dangling="false")
    assert [list(one) for one in answer["ImagesDeleted"]] == [["Untagged"], ["Untagged"], ["Deleted"]]
    assert answer["ImagesDeleted"][0] == {"Untagged": "other:1"}
    assert answer["SpaceReclaimed"] == len("own/file")
    assert other.ok("images", "--format", "{{.Repository}}") == "busybox"
    assert prune(other, "build") == {"CachesDeleted": None, "SpaceReclaimed": 0}


def names_in(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return json.load(archive.extractfile("manifest.json"))


def test_what_is_saved_can_be_loaded(other, tmp_path):
    other.ok("tag", "other:1", "other:2")
    ids = {name: other.inspect(name, ".Id") for name in ("busybox", "other:1")}

    one = other.ok("save", "busybox", text=False)
    all_ = other.ok("save", "busybox", "other", text=False)
    by_id = other.ok("save", ids["busybox"], text=False)

    assert [entry["RepoTags"] for entry in names_in(one)] == [["busybox:latest"]]
    assert sum((entry["RepoTags"] for entry in names_in(all_)), []) == [
        "busybox:latest",
        "other:1",
        "other:2",
    ]
    assert names_in(by_id)[0]["RepoTags"] is None
    (tmp_path / "id.tar").write_bytes(by_id)
    other.ok("rmi", "busybox", "other:1", "other:2")
    assert other.ok("images", "-q") == ""

    assert other.ok("load", "-i", tmp_path / "id.tar") == f"Loaded image ID: {ids['busybox']}"
    assert other.ok("images", "--format", "{{.Repository}}") == "<none>"
    assert other.ok("run", "--rm", "--network=none", ids["busybox"], "echo", "up") == "up"
    assert prune(other, "images")["ImagesDeleted"][-1] == {"Deleted": ids["busybox"]}

    (tmp_path / "all.tar").write_bytes(all_)
    shown = other.ok("load", "-i", tmp_path / "all.tar").splitlines()

    assert shown == ["Loaded image: busybox:latest", "Loaded image: other:1", "Loaded image: other:2"]
    assert {name: other.inspect(name, ".Id") for name in ids} == ids
    assert other.ok("run", "--rm", "--network=none", "other:2", "cat", "/own/file") == "own/file"


def test_archives_of_others_are_loaded(hub, own_engine, tmp_path):
    """Of docker before 25 (a folder for each layer, here as skopeo writes it), compressed, and an OCI layout."""
    folder = tmp_path / "layout"
    Image(busybox_layer(), config={"Cmd": ["sh"]}).write_layout(str(folder), "x")
    for kind in ("docker-archive", "oci-archive"):
        target = f"{kind}:{tmp_path}/{kind}.tar:docker.io/library/{kind}:1"
        subprocess.run(["skopeo", "copy", "-q", f"oci:{folder}:x", target], check=True, capture_output=True)
    subprocess.run(["gzip", tmp_path / "docker-archive.tar"], check=True)

    with open(tmp_path / "docker-archive.tar.gz", "rb") as file:
        assert own_engine.ok("load", input=file.read(), text=False) == b"Loaded image: docker-archive:1"
    assert own_engine.ok("load", "-i", tmp_path / "oci-archive.tar") == "Loaded image: oci-archive:1"
    assert own_engine.ok("run", "--rm", "--network=none", "oci-archive:1", "echo", "up") == "up"


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"nonsense" * 1000, "not"), (tarfile.NUL * 10240, "no image"), (b"", "no image")],
    ids=["nonsense", "empty archive", "nothing"],
)
def test_what_is_no_archive_is_refused_and_leaves_nothing(engine, tmp_path, data, text):
    (tmp_path / "file").write_bytes(data)

    assert engine.docker("load", "-i", tmp_path / "file").returncode != 0
    assert list((engine.data / "images/partial").iterdir()) == []


def test_save_of_what_is_missing_is_an_error(engine):
    status, answer = engine.call("GET", "/images/get?names=busybox&names=nosuch")

    assert (status, answer["message"]) == (404, "No such image: nosuch:latest")
