"""A part of a volume in a container (volume-subpath), also while another container exchanges its directories."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from hashlib import sha256

import pytest
from daemon import DOCKERS, PYRUND
from images import Image, busybox_layer, directory, entry, tar

pytestmark = pytest.mark.usefixtures("volume")
# A container can do the same in its volume; from here it is done faster.
EXCHANGES = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
one, other = (path.encode() for path in sys.argv[1:])
while True:
    assert libc.renameat2(-100, one, -100, other, 2) == 0, ctypes.get_errno()  # RENAME_EXCHANGE
"""


@pytest.fixture(scope="module")
def data(hub, engine):
    """An image with a directory and a file that a part of a volume can cover."""
    layer = tar(directory("data", mode=0o2750, uid=33), entry("data/file", data=b"of the image", uid=33))
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    hub.push(Image(busybox_layer(), layer, config=config), "data:latest")
    engine.ok("pull", "data")


@pytest.fixture
def volume(engine):
    """The path of what is in the volume `vol`."""
    engine.ok("volume", "create", "vol")
    files = engine.data / "volumes/vol/_data"
    (files / "a/b").mkdir(parents=True)
    (files / "a/b/inside").write_text("inside\n")
    (files / "a/beside").write_text("beside\n")
    (files / "hack").mkdir()
    (files / "hack/good").symlink_to("../a/b")
    (files / "hack/root").symlink_to("/")
    (files / "hack/bad").symlink_to("root")
    (files / "hack/up").symlink_to("../../..")
    yield files
    engine.remove_all()
    for one in engine.call("GET", "/volumes")[1]["Volumes"]:
        engine.call("DELETE", f"/volumes/{one['Name']}")


def mount(subpath, target="/x", **more):
    options = {"Subpath": subpath, **more.pop("VolumeOptions", {})}
    return {"Type": "volume", "Source": "vol", "Target": target, "VolumeOptions": options, **more}


def create(engine, *mounts, program="ls -A /x", image="busybox", version="", **more):
    body = {"Image": image, "Cmd": ["sh", "-c", program], "HostConfig": {"NetworkMode": "none", "Mounts": mounts}}
    return engine.call("POST", f"{version}/containers/create", {**body, **more})


def created(engine, *mounts, **more):
    status, answer = create(engine, *mounts, **more)
    assert status == 201, answer
    return answer["Id"]


def start(engine, id_):
    """Return the error of a start, or "", and what the container has printed until its end."""
    status, answer = engine.call("POST", f"/containers/{id_}/start")
    if status != 204:
        return (status, answer["message"]), ""
    engine.ok("wait", id_)
    return "", engine.docker("logs", id_).stdout


def shown(engine, *mounts, **more):
    error, output = start(engine, created(engine, *mounts, **more))
    assert error == ""
    return output


@pytest.mark.parametrize("client", [*DOCKERS, PYRUND])
def test_a_client_gives_a_container_a_part_of_a_volume(engine, volume, client):
    if client != PYRUND and int(engine.ok("version", "--format", "{{.Client.Version}}", client=client)[:2]) < 26:
        pytest.skip("this client of docker's does not know parts of volumes")

    def run(options, program):
        words = f"type=volume,src=vol,dst=/x,volume-subpath=a/b{options}"
        return engine.ok(
            "run", "--rm", "--network=none", "--mount", words, "busybox", "sh", "-c", program, client=client
        )

    assert run("", "ls -A /x; echo new >/x/new; ls -A /x/..").split()[:1] == ["inside"]
    assert (volume / "a/b/new").read_text() == "new\n"
    assert run(",readonly", "cat /x/new; echo no 2>/dev/null >/x/no || echo refused") == "new\nrefused"
    assert sorted(os.listdir(volume / "a/b")) == ["inside", "new"]


def test_a_file_can_be_the_part(engine, volume):
    assert shown(engine, mount("a/beside"), program="cat /x; echo changed >/x") == "beside\n"
    assert (volume / "a/beside").read_text() == "changed\n"


def test_one_part_can_be_at_several_places_and_beside_the_whole(engine):
    whole = {"Type": "volume", "Source": "vol", "Target": "/whole"}
    mounts = [mount("a/b"), mount("./a//b/", "//y/"), mount("a/../a", "/z"), mount(".", "/all"), whole]

    output = shown(engine, *mounts, program="cd /; echo $(ls x) $(ls y) $(ls z) $(ls all) $(ls whole)")

    assert output == "inside inside b beside a hack a hack\n"


def test_links_are_followed_as_long_as_they_stay_in_the_volume(engine):
    assert shown(engine, mount("hack/good"), program="cat /x/inside") == "inside\n"


@pytest.mark.parametrize("subpath", ["hack/root", "hack/bad", "hack/up", "hack/up/vol/_data/a"])
def test_a_link_that_leads_out_of_the_volume_is_refused_at_the_start(engine, volume, subpath):
    error, _ = start(engine, created(engine, mount(subpath)))

    assert error == (400, f"path concatenation escapes the base directory, base: {volume}, subpath: {subpath}")


def test_a_part_that_is_missing_is_refused_at_the_start_and_found_when_it_is_there(engine, volume):
    id_ = created(engine, mount("new/part"))

    error, _ = start(engine, id_)

    path = f"{volume}/new/part"
    assert error == (404, f"cannot access path {path}: lstat {path}: no such file or directory")
    assert not (volume / "new").exists()
    (volume / "new/part/here").mkdir(parents=True)
    assert start(engine, id_) == ("", "here\n")
    words = ["run", "--rm", "--mount", "type=volume,src=vol,dst=/x,volume-subpath=nosuch", "busybox", "true"]
    assert engine.docker(*words, client=PYRUND).returncode == 127


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (mount("../x"), "subpath must be a relative path within the volume"),
        (mount("a/../../x"), "subpath must be a relative path within the volume"),
        (mount(".."), "subpath must be a relative path within the volume"),
        (mount("/a"), "subpath must be a relative path within the volume"),
        (mount("a", Source=""), "must not set Subpath when using anonymous volumes"),
    ],
)
def test_what_cannot_be_a_part_is_refused_and_no_volume_is_made(engine, given, why):
    before = engine.call("GET", "/volumes")

    answer = create(engine, {**given, "Source": given["Source"] and "new"})

    assert answer == (400, {"message": f'invalid mount config for type "volume": {why}'})
    assert engine.call("GET", "/volumes") == before


def test_a_client_of_an_older_api_is_told_so(engine):
    why = {"message": "VolumeOptions.Subpath needs API v1.45 or newer"}

    assert create(engine, mount("a"), version="/v1.44") == (400, why)
    assert create(engine, mount(""), version="/v1.44")[0] == create(engine, mount("a"), version="/v1.45")[0] == 201


def test_inspect_shows_the_part_where_dockerd_does(engine, volume):
    id_ = created(engine, mount("./a/b"))

    status, container = engine.call("GET", f"/containers/{id_}/json")
    assert (status, container["HostConfig"]["Mounts"]) == (200, [mount("./a/b")])
    (one,) = container["Mounts"]
    assert (one["Type"], one["Name"], one["Source"], one["Destination"]) == ("volume", "vol", str(volume), "/x")


@pytest.mark.usefixtures("data")
def test_an_empty_part_gets_what_the_image_has(engine, volume):
    """As with dockerd, the part gets it and not the volume; what has content, is a file or is missing gets nothing."""
    for name in ("empty", "unwanted"):
        (volume / name).mkdir()
    created(engine, mount("a/b", "/data"), image="data")
    created(engine, mount("a/beside", "/data"), image="data")
    created(engine, mount("missing", "/data"), image="data")
    created(engine, mount("unwanted", "/data", VolumeOptions={"NoCopy": True}), image="data")
    output = shown(engine, mount("empty", "/data"), image="data", program="cat /data/file; stat -c ' %a %u' /data")

    assert output == "of the image 2750 33\n"
    assert os.listdir(volume / "a/b") == ["inside"] and os.listdir(volume / "unwanted") == []
    assert sorted(os.listdir(volume)) == ["a", "empty", "hack", "unwanted"]
    assert sorted(os.listdir(volume.parent)) == ["_data", "volume.json"]


@pytest.mark.usefixtures("data")
def test_population_of_a_part_that_was_killed_begins_anew_and_that_of_another_does_not_matter(engine, volume):
    (volume / "a/b/file").write_text("hal")
    (volume.parent / "populating").touch()
    created(engine, mount("a/b", "/data"), image="data")
    assert (volume / "a/b/file").read_text() == "hal"

    (volume / "torn").mkdir()
    (volume / "torn/file").write_text("hal")
    (volume.parent / f"populating-{sha256(b'torn').hexdigest()}").touch()
    assert shown(engine, mount("torn", "/data"), image="data", program="cat /data/file") == "of the image"


def test_each_start_takes_what_the_volume_has_then(engine, volume):
    id_ = created(engine, mount("a/b"), program="cat /x/*; sleep 1000")
    engine.ok("start", id_)
    os.rename(volume / "a/b", volume / "a/old")
    (volume / "a/b").mkdir()
    (volume / "a/b/inside").write_text("later\n")
    assert engine.ok("exec", id_, "cat", "/x/inside") == "inside"

    engine.ok("restart", "-t", "0", id_)

    assert engine.ok("exec", id_, "cat", "/x/inside") == "later"


def test_parts_are_known_after_the_daemon_is_killed_and_to_containers_of_an_older_one(engine, volume):
    first, second = created(engine, mount("a/b")), created(engine, {**mount(""), "Target": "/x"})
    engine.kill()
    document = engine.data / "containers" / second / "container.json"
    kept = json.loads(document.read_text())
    del kept["Mounts"][0]["subpath"]
    document.write_text(json.dumps(kept))
    engine.start()

    assert start(engine, first) == ("", "inside\n")
    assert start(engine, second) == ("", "a\nhack\n")


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "created"])
def test_cp_reaches_the_part(engine, volume, tmp_path, is_running):
    id_ = created(engine, mount("a/b"), mount("a/beside", "/file"), program="sleep 1000")
    if is_running:
        engine.ok("start", id_)
    (tmp_path / "new").write_text("new\n")

    engine.ok("cp", tmp_path / "new", f"{id_}:/x/new")
    engine.ok("cp", f"{id_}:/x/inside", tmp_path / "inside")
    engine.ok("cp", f"{id_}:/file", tmp_path / "file")

    assert (volume / "a/b/new").read_text() == "new\n"
    assert (tmp_path / "inside").read_text() == "inside\n"
    assert (tmp_path / "file").read_text() == "beside\n"


def test_cp_writes_neither_to_a_part_that_is_missing_nor_to_one_that_is_read_only(engine, volume, tmp_path):
    (tmp_path / "new").touch()

    id_ = created(engine, mount("nosuch"))
    engine.fails("cp", tmp_path / "new", f"{id_}:/x/new")
    status, answer = engine.call("GET", f"/containers/{id_}/archive?path=/x")
    _, locked = engine.fails("cp", tmp_path / "new", f"{created(engine, mount('a', ReadOnly=True))}:/x/new")

    assert status == 404 and answer["message"].startswith(f"cannot access path {volume}/nosuch: lstat ")
    assert "mounted volume is marked read-only" in locked
    assert sorted(os.listdir(volume / "a")) == ["b", "beside"]
    assert not (volume / "nosuch").exists()


def test_volumes_from_takes_the_part_alone(engine):
    id_ = created(engine, mount("a/b"))

    assert engine.ok("run", "--rm", "--network=none", "--volumes-from", id_, "busybox", "ls", "/x") == "inside"


def test_a_volume_that_is_a_directory_of_the_host_has_parts_and_another_with_options_has_none(engine, tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/here").touch()
    (tmp_path / "out").symlink_to("/etc")
    engine.ok("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind,ro", "bound")
    engine.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")

    output = shown(engine, mount("part", Source="bound"), program="ls /x; touch /x/no 2>/dev/null || echo refused")
    error, _ = start(engine, created(engine, mount("out", Source="bound")))

    assert output == "here\nrefused\n"
    assert error == (400, f"path concatenation escapes the base directory, base: {tmp_path}, subpath: out")
    why = "memory: a part (volume-subpath) of a volume of type tmpfs: not part of this engine yet"
    assert create(engine, mount("part", Source="memory")) == (501, {"message": why})


def test_a_container_with_a_part_is_not_checkpointed(engine):
    id_ = created(engine, mount("a/b"), Name="web", program="sleep 1000")
    engine.ok("start", id_)

    status, answer = engine.call("POST", f"/containers/{id_}/checkpoints", {"CheckpointID": "one", "Exit": True})
    engine.ok("kill", id_)
    again, _ = engine.call("POST", f"/containers/{id_}/start?checkpoint=one")

    assert (status, again) == (501, 501)
    assert "which has a part of a volume (volume-subpath): not part of this engine yet" in answer["message"]


@contextmanager
def exchanged(one, other):
    """Exchange two paths without a pause."""
    process = subprocess.Popen([sys.executable, "-c", EXCHANGES, one, other])
    try:
        yield
    finally:
        assert process.poll() is None
        process.kill()
        process.wait()


@pytest.fixture(params=["at the end", "on the way"])
def attacked(request, volume, tmp_path):
    """The directory outside to which a link leads that takes the place of a part of the volume at any moment."""
    outside = tmp_path / "outside/b"
    outside.mkdir(parents=True)
    (outside / "secret").write_text("secret\n")
    (volume / "a/b/secret").write_text("inside\n")
    up = "../" * len(volume.parts)
    if request.param == "at the end":
        place, link = volume / "a/b", volume / "a/link"
        link.symlink_to(f"{up}{outside}")
    else:
        place, link = volume / "a", volume / "link"
        link.symlink_to(outside.parent)
    with exchanged(place, link):
        yield outside


def test_a_link_that_comes_at_any_moment_never_has_another_thing_mounted(engine, attacked):
    seen = []
    for _ in range(40):
        id_ = created(engine, mount("a/b"), program="cat /x/secret")
        error, output = start(engine, id_)
        seen.append(error[1].partition(",")[0] if error else output.strip())
        engine.ok("rm", id_)

    assert set(seen) == {"inside", "path concatenation escapes the base directory"}, seen


@pytest.mark.usefixtures("data")
def test_cp_and_population_never_reach_what_such_a_link_leads_to(engine, attacked, tmp_path):
    id_ = created(engine, mount("a/b"))
    (tmp_path / "new").touch()
    copied = ""
    for number in range(25):
        create(engine, mount("a/b", "/data"), image="data")
        engine.docker("cp", tmp_path / "new", f"{id_}:/x/new{number}")
        copied += engine.docker("cp", f"{id_}:/x/secret", "-").stdout

    assert os.listdir(attacked) == ["secret"]
    assert "inside\n" in copied and "secret\n" not in copied
