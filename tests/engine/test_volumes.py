"""Volumes: made, populated, shared, listed, refused and removed as dockerd does it."""

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from daemon import kill, wait_until
from images import Image, busybox_layer, directory, entry, hard_link, symlink, tar

ALL = '{"all":["1"]}'
pytestmark = pytest.mark.usefixtures("removed", "no_volumes")


@pytest.fixture
def no_volumes(engine):
    yield
    engine.remove_all()
    for one in engine.call("GET", "/volumes")[1]["Volumes"]:
        engine.call("DELETE", f"/volumes/{one['Name']}")
    assert os.listdir(engine.data / "volumes") == []


@pytest.fixture(scope="module")
def data(hub, engine):
    """An image with content, links and odd files in a volume, and with a volume behind a link that leads outside."""
    layer = tar(
        directory("data", mode=0o2750, uid=33, gid=34),
        entry("data/file", data=b"content", mode=0o640, uid=33, gid=34),
        hard_link("data/again", "data/file"),
        symlink("data/out", "/etc/passwd"),
        directory("data/sub", mode=0o700),
        entry("data/sub/" + "n" * 120, data=b"long"),
        symlink("evil", "../../../../../../etc"),
        directory("etc"),
        entry("etc/of-the-image", data=b"x"),
    )
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Volumes": {"/data": {}, "/evil": {}}}
    hub.push(Image(busybox_layer(), layer, config=config), "data:latest")
    engine.ok("pull", "data")


def run(engine, *words, image="busybox"):
    return engine.ok("run", "--rm", "--network=none", *words[:-1], image, "sh", "-c", words[-1])


def content(engine, name):
    return engine.data / "volumes" / name / "_data"


def test_a_volume_is_made_shown_and_removed_as_by_dockerd(engine):
    status, made = engine.call("POST", "/volumes/create", {"Driver": "local", "Labels": {"q": "r"}, "Name": "v1"})

    assert status == 201
    assert engine.call("GET", "/volumes/v1") == (200, made)
    assert engine.call("GET", "/volumes") == (200, {"Volumes": [made], "Warnings": None})
    expected = "CreatedAt Driver Labels Mountpoint Name Options Scope"
    assert " ".join(made) == expected
    assert (made["Driver"], made["Labels"], made["Options"], made["Scope"]) == ("local", {"q": "r"}, None, "local")
    assert Path(made["Mountpoint"]).is_dir()
    assert engine.ok("volume", "create", "v1") == "v1"
    assert engine.call("DELETE", "/volumes/v1") == (204, None)
    assert engine.call("DELETE", "/volumes/v1") == (404, {"message": "get v1: no such volume"})
    assert engine.call("DELETE", "/volumes/v1?force=1") == (204, None)


def test_a_named_volume_outlives_its_containers(engine):
    run(engine, "-v", "kept:/x", "echo one > /x/file")

    assert run(engine, "--mount", "type=volume,src=kept,dst=/y,readonly", "cat /y/file; touch /y/z || true") == "one"
    assert sorted(os.listdir(content(engine, "kept"))) == ["file"]


def test_inspect_shows_a_volume_as_dockerd_does(engine):
    engine.ok("create", "--name", "web", "-v", "vol1:/data", "-v", "/anonymous", "--tmpfs", "/t", "busybox")

    mounts = {one["Destination"]: one for one in engine.inspect("web", ".Mounts")}

    assert mounts["/data"] == {
        "Type": "volume",
        "Name": "vol1",
        "Source": str(content(engine, "vol1")),
        "Destination": "/data",
        "Driver": "local",
        "Mode": "z",
        "RW": True,
        "Propagation": "",
    }
    assert len(mounts["/anonymous"]["Name"]) == 64
    assert sorted(mounts) == ["/anonymous", "/data"]


@pytest.mark.usefixtures("data")
def test_an_empty_volume_gets_what_the_image_has(engine):
    program = "stat -c '%a %u:%g %F %h' . file; cat again sub/*; ls"

    shown = run(engine, "-v", "full:/data", f"cd /data; {program}", image="data")

    assert shown.splitlines()[:2] == ["2750 33:34 directory 3", "640 33:34 regular file 2"]
    assert shown.splitlines()[2:] == ["contentlongagain", "file", "out", "sub"]
    assert os.readlink(content(engine, "full") / "out") == "/etc/passwd"


@pytest.mark.usefixtures("data")
def test_a_volume_with_content_or_nocopy_is_left_as_it_is(engine):
    run(engine, "-v", "own:/x", "echo mine > /x/own")

    assert run(engine, "-v", "own:/data", "ls /data", image="data") == "own"
    assert run(engine, "-v", "empty:/data:nocopy", "ls /data", image="data") == ""
    assert run(engine, "--mount", "type=volume,dst=/data,volume-nocopy", "ls /data", image="data") == ""


@pytest.mark.usefixtures("data")
def test_a_link_of_a_hostile_image_does_not_lead_out_of_its_files(engine):
    """/evil is a link to ../../../etc: the volume there gets the image's /etc, and is mounted over that."""
    shown = run(engine, "ls /evil/; touch /evil/made; ls /etc/made", image="data")

    assert shown.split() == ["group", "hostname", "hosts", "of-the-image", "passwd", "resolv.conf", "/etc/made"]
    assert not os.path.exists("/etc/made")


@pytest.mark.usefixtures("data")
def test_a_container_that_changes_the_volume_meanwhile_gets_no_file_out_of_it(engine, tmp_path):
    """It puts a link in the place of the directory that is being filled, to the host's path and upwards."""
    up = f"../../../../../../../../../..{tmp_path}"
    program = f"cd /x; while true; do ln -s {tmp_path} sub; rm -rf *; ln -s {up} sub; rm -rf *; done"
    engine.ok("run", "-d", "--network=none", "-v", "race:/x", "busybox", "sh", "-c", program)

    made = [engine.docker("create", "-v", "race:/data", "data").returncode for _ in range(25)]

    assert 0 in made
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("data")
def test_population_that_was_killed_begins_anew(engine):
    engine.ok("volume", "create", "torn")
    (content(engine, "torn") / "file").write_text("hal")
    (engine.data / "volumes/torn/populating").touch()

    assert run(engine, "-v", "torn:/data", "cat /data/file", image="data") == "content"


@pytest.mark.usefixtures("data")
def test_volumes_without_a_name_go_with_their_container(engine):
    run(engine, "-v", "/more", "true", image="data")
    assert engine.ok("volume", "ls", "-q") == ""

    engine.ok("create", "--name", "web", "-v", "named:/x", "data")
    assert len(engine.ok("volume", "ls", "-q").split()) == 3
    engine.ok("rm", "-v", "web")
    assert engine.ok("volume", "ls", "-q") == "named"

    engine.ok("create", "--name", "web", "data")
    engine.ok("rm", "web")
    assert len(engine.ok("volume", "ls", "-q").split()) == 3
    engine.call("POST", "/volumes/prune")
    assert engine.ok("volume", "ls", "-q") == "named"


def test_a_volume_in_use_is_not_removed(engine):
    id_ = engine.ok("create", "-v", "v9:/x", "busybox")

    assert engine.call("DELETE", "/volumes/v9") == (409, {"message": f"remove v9: volume is in use - [{id_}]"})
    assert engine.ok("ps", "-aq", "--no-trunc", "--filter", "volume=v9") == id_


def test_volumes_from_another_container(engine, tmp_path):
    engine.ok("create", "--name", "one", "-v", "shared:/x", "-v", f"{tmp_path}:/host", "-v", "/own", "busybox")

    run(engine, "--volumes-from", "one", "echo a > /x/a; echo b > /host/b; echo c > /own/c")
    refused = run(engine, "--volumes-from", "one:ro", "cat /x/a /host/b /own/c; touch /x/no || echo refused")

    assert refused.split() == ["a", "b", "c", "refused"]
    assert (tmp_path / "b").read_text() == "b\n"
    assert len(engine.ok("volume", "ls", "-q").split()) == 2  # --rm of the others has not removed /own
    assert "No such container: nosuch" in engine.fails("create", "--volumes-from", "nosuch", "busybox")[1]


def test_filters_of_lists_and_of_prune(engine):
    engine.ok("volume", "create", "--label", "a=1", "labelled")
    engine.ok("volume", "create", "other")
    engine.ok("create", "-v", "used:/x", "busybox")

    def listed(*filters):
        return engine.ok("volume", "ls", "-q", *(word for text in filters for word in ("--filter", text))).split()

    assert listed("label=a") == listed("label=a=1") == listed("name=lab") == ["labelled"]
    assert listed("dangling=true") == ["labelled", "other"]
    assert listed("dangling=false") == ["used"]
    assert listed("driver=nosuch") == []
    assert engine.fails("volume", "ls", "--filter", "x=y")[1].strip().endswith("invalid filter 'x'")
    filters = json.dumps({"all": ["1"], "label!": ["a"]}).replace(" ", "")
    (content(engine, "other") / "file").write_bytes(bytes(1000))
    assert engine.call("POST", f"/volumes/prune?filters={filters}") == (
        200,
        {"VolumesDeleted": ["other"], "SpaceReclaimed": 1000},
    )
    assert engine.call("POST", "/volumes/prune") == (200, {"VolumesDeleted": [], "SpaceReclaimed": 0})


def test_options_say_what_is_mounted(engine, tmp_path):
    engine.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "vt")
    engine.ok("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind", "vb")

    assert run(engine, "-v", "vt:/x", "grep -c ' /x tmpfs .*size=1024k' /proc/mounts") == "1"
    run(engine, "-v", "vb:/x", "touch /x/here")

    assert os.listdir(tmp_path) == ["here"]


def test_cp_reaches_what_a_volume_is_of_a_container_that_does_not_run(engine, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("sent")
    engine.ok("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}/there", "-o", "o=bind", "vb")
    engine.ok("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}/there", "-o", "o=bind,ro", "vr")
    engine.ok("create", "--name", "web", "-v", "vb:/x", "-v", "vr:/y", "busybox")

    engine.ok("cp", tmp_path / "file", "web:/x/file")
    engine.ok("cp", "web:/y/file", tmp_path / "got")

    assert (tmp_path / "there/file").read_text() == (tmp_path / "got").read_text() == "sent"
    assert "read-only" in engine.fails("cp", tmp_path / "file", "web:/y/other")[1].lower()


def test_a_volume_of_a_type_that_the_kernel_lacks_is_told_at_the_start(engine):
    engine.ok("volume", "create", "-o", "type=glusterfs", "-o", "device=host:/x", "-o", "o=acl", "vn")

    error = engine.fails("run", "--rm", "-v", "vn:/x", "busybox", "true")[1]

    place = f"{engine.data}/volumes/vn/_data"
    assert f"volume '{place}': failed to mount local volume: mount host:/x:{place}, data: acl: " in error
    assert "glusterfs: No such device" in error
    assert engine.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["volume", "create", "a b"], 'includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0'),
        (["volume", "create", "../x"], "includes invalid characters"),
        (["volume", "create", "x"], "volume name is too short, names should be at least two alphanumeric characters"),
        (["volume", "create", "-o", "nosuch=1", "vx"], 'create vx: invalid option: "nosuch"'),
        (["volume", "create", "-o", "type=nfs", "-o", "o=addr=127.0.0.1", "vx"], 'missing required option: "device"'),
        (["volume", "create", "-d", "nosuch", "vx"], "create vx: error looking up volume plugin nosuch"),
        (["create", "-v", "new:/x", "-v", "/tmp:/y:zzz", "busybox"], "invalid mode: zzz"),
        (["create", "-v", "new:/x", "-w", "relative", "busybox"], "it needs to be an absolute path"),
        (["create", "-v", "new:/", "busybox"], "destination can't be '/'"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_refused_and_no_volume_is_made(engine, words, text):
    assert text in engine.fails(*words)[1]
    assert engine.ok("volume", "ls", "-q") == ""


def test_events_tell_of_a_volume(engine):
    since = engine.ok("info", "--format", "{{.SystemTime}}")
    run(engine, "-v", "told:/x", "true")
    engine.ok("volume", "rm", "told")

    until = engine.ok("info", "--format", "{{.SystemTime}}")
    words = ("--since", since, "--until", until, "--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}")
    assert engine.ok("events", *words).splitlines() == [
        f"{action} told" for action in ("create", "mount", "unmount", "destroy")
    ]


def test_volumes_are_known_after_the_daemon_is_killed_and_halves_are_removed(engine):
    engine.ok("create", "--name", "web", "-v", "kept:/x", "-v", "/own", "busybox")
    before = engine.call("GET", "/volumes")
    for half in ("half", ".removed-0123"):
        (engine.data / "volumes" / half / "_data/sub").mkdir(parents=True)

    engine.kill()
    engine.start()

    assert engine.call("GET", "/volumes") == before
    assert sorted(os.listdir(engine.data / "volumes")) == sorted(one["Name"] for one in before[1]["Volumes"])


def test_a_daemon_that_begins_removes_the_volumes_of_what_was_half_made(engine):
    """It may also have been half removed with its volumes; those that a removal has left stay."""
    engine.ok("create", "--name", "left", "-v", "/own", "busybox")
    engine.ok("rm", "left")
    id_ = engine.ok("create", "-v", "/own", "-v", "named:/x", "busybox")
    engine.ok("create", "--name", "other", "-v", "/own", "busybox")
    own = next(one["Name"] for one in engine.inspect(id_, ".Mounts") if one["Destination"] == "/own")
    before = set(engine.ok("volume", "ls", "-q").split())
    engine.kill()
    (engine.data / "containers" / id_ / "container.json").unlink()

    engine.start()

    assert set(engine.ok("volume", "ls", "-q").split()) == before - {own}
    assert len(before) == 4


@pytest.mark.usefixtures("data")
def test_two_clients_at_once_populate_a_volume_once(engine):
    clients = [
        engine.begin("create", "-v", "both:/data", "data", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(6)
    ]

    assert [client.wait(20) for client in clients] == [0] * 6, [client.stderr.read() for client in clients]
    assert (content(engine, "both") / "file").read_text() == "content"


@pytest.mark.usefixtures("data")
def test_a_create_that_fails_in_the_middle_leaves_no_volume(engine):
    """The launcher is killed, and its worker with it."""
    for _ in range(5):
        client = engine.begin("create", "-v", "new:/data", "data", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        kill(engine.children()["launcher"])
        has_failed = client.wait(20) != 0
        wait_until(lambda: engine.docker("create", "busybox").returncode == 0, "another launcher")

        known = engine.ok("volume", "ls", "-q").split()
        assert sorted(known) == sorted(os.listdir(engine.data / "volumes"))
        assert not (has_failed and known)
        engine.remove_all()
        engine.call("POST", f"/volumes/prune?filters={ALL}")


def test_clients_at_once_who_give_no_names_are_never_told_that_one_is_taken(engine):
    body = {"Image": "busybox", "HostConfig": {"NetworkMode": "none"}, "Volumes": {"/etc": {}}}
    answers = []
    clients = [
        threading.Thread(target=lambda: answers.append(engine.call("POST", "/containers/create", body)))
        for _ in range(200)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert [answer for answer in answers if answer[0] != 201] == []
    for _, answer in answers:
        engine.call("DELETE", f"/containers/{answer['Id']}?v=1")
