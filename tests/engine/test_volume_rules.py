"""What dockerd says of volumes and mounts that are asked for wrongly, and what filters find: recorded of 20.10."""

import subprocess
import time

import pytest
from beside_dockerd import said_by_both

pytestmark = pytest.mark.usefixtures("removed")


def create(engine, **host):
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", **host}}
    status, answer = engine.call("POST", "/containers/create", body)
    return status, answer.get("message", "")


@pytest.mark.parametrize(
    ("mount", "why"),
    [
        ({"Type": "volume", "Source": "v1", "Target": ""}, "field Target must not be empty"),
        ({"Type": "volume", "Source": "v1", "Target": "y"}, "invalid mount path: 'y' mount path must be absolute"),
        ({"Type": "volume", "Source": "v1", "Target": "/"}, "invalid specification: destination can't be '/'"),
        ({"Type": "volume", "Target": "/y", "BindOptions": {}}, "field BindOptions must not be specified"),
        (
            {"Type": "volume", "Target": "/y", "ReadOnly": True},
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        ({"Type": "tmpfs", "Source": "x", "Target": "/y"}, "field Source must not be specified"),
        ({"Type": "tmpfs", "Target": "/y", "BindOptions": {}}, "field BindOptions must not be specified"),
        ({"Type": "foo", "Target": "/y"}, "mount type unknown"),
        ({"Type": "bind", "Source": "", "Target": "/y"}, "field Source must not be empty"),
        ({"Type": "bind", "Source": "tmp", "Target": "/y"}, "invalid mount path: 'tmp' mount path must be absolute"),
        (
            {"Type": "bind", "Source": "/tmp", "Target": "/y", "VolumeOptions": {"NoCopy": True}},
            "field VolumeOptions must not be specified",
        ),
        (
            {"Type": "bind", "Source": "/tmp", "Target": "/y", "BindOptions": {"Propagation": "foo"}},
            "invalid propagation mode: foo",
        ),
    ],
)
def test_a_mount_that_cannot_be_is_refused_by_its_field(engine, mount, why):
    assert create(engine, Mounts=[mount]) == (400, f'invalid mount config for type "{mount["Type"]}": {why}')
    assert engine.call("GET", "/volumes")[1]["Volumes"] == []


@pytest.mark.parametrize("mode", ["ro,rw", "z,Z", "nocopy,nocopy", "foo"])
def test_a_mode_has_each_kind_of_word_once(engine, mode):
    assert create(engine, Binds=[f"v1:/x:{mode}"]) == (500, f"invalid mode: {mode}")


def test_no_client_pulls_an_image_because_of_volumes_from(engine):
    assert create(engine, VolumesFrom=["nosuch"]) == (400, "No such container: nosuch")


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"Driver": "nope"}, 404, 'create v1: error looking up volume plugin nope: plugin "nope" not found'),
        ({"DriverOpts": {"size": "10m"}}, 400, "create v1: quota size requested but no quota support"),
        ({"DriverOpts": {"foo": "bar"}}, 400, 'create v1: invalid option: "foo"'),
        ({"DriverOpts": {"type": "tmpfs"}}, 400, 'create v1: missing required option: "device"'),
    ],
)
def test_a_volume_that_cannot_be_is_refused(engine, asked, status, message):
    assert engine.call("POST", "/volumes/create", {"Name": "v1", **asked}) == (status, {"message": message})


def test_a_volume_that_is_there_stays_as_it_is(engine):
    engine.ok("volume", "create", "--label", "a=1", "v1")
    options = {"type": "tmpfs", "device": "tmpfs"}

    status, answer = engine.call("POST", "/volumes/create", {"Name": "v1", "Labels": {"a": "2"}, "DriverOpts": options})

    assert (status, answer["Labels"], answer["Options"]) == (201, {"a": "1"}, None)
    engine.ok("volume", "rm", "v1")


def test_volumes_that_are_elsewhere_are_not_measured_and_not_pruned(engine):
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs")
    engine.ok("volume", "create", *options, "elsewhere")
    engine.ok("volume", "create", "here")

    usage = engine.call("GET", "/system/df?type=volume")[1]["Volumes"]
    removed = engine.call("POST", "/v1.41/volumes/prune")[1]["VolumesDeleted"]

    assert [one["Name"] for one in usage] == ["here"]
    assert removed == ["here"]
    assert engine.ok("volume", "ls", "-q") == "elsewhere"
    engine.ok("volume", "rm", "elsewhere")


@pytest.fixture(scope="module")
def shops(engine):
    names = ("shop", "shop-old", "workshop")
    for name in names:
        engine.ok("volume", "create", name)
        engine.ok("network", "create", name)
    yield
    engine.ok("volume", "rm", *names)
    engine.ok("network", "rm", *names)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("shop", "shop shop-old workshop"),
        ("^shop$", "shop"),
        ("^shop", "shop shop-old"),
        ("shop$", "shop workshop"),
        ("^/shop$", ""),
        ("sh.p-", "shop-old"),
        ("^shop$|old", "shop shop-old"),
        ("^w.*p$", "workshop"),
        ("(shop", ""),
        ("nosuch", ""),
    ],
)
def test_a_filter_by_name_is_a_regular_expression(engine, shops, pattern, found):
    for name in found.split():
        engine.ok("create", "--name", name, "--network=none", "busybox")

    for kind in ("volume", "network"):
        names = engine.ok(kind, "ls", "--filter", f"name={pattern}", "--format", "{{.Name}}").split()
        assert sorted(names) == found.split(), kind
    if not pattern.startswith("^/"):
        assert sorted(engine.ok("ps", "-a", "--filter", f"name={pattern}", "--format", "{{.Names}}").split()) == (
            found.split()
        )


def test_a_container_is_found_by_its_name_with_a_slash_too(engine):
    engine.ok("create", "--name", "shop", "--network=none", "busybox")
    engine.ok("create", "--name", "shopping", "--network=none", "busybox")

    assert engine.ok("ps", "-a", "--filter", "name=^/shop$", "--format", "{{.Names}}") == "shop"


def test_a_regular_expression_that_takes_for_ever_does_not(engine):
    engine.ok("create", "--name", "a" * 60, "--network=none", "busybox")
    begun = time.monotonic()

    for pattern in ("(a*)*b", "a*a*a*a*a*a*a*a*b", "(a|a)*b", "[a", "*", "a{1000}{1000}{1000}"):
        engine.ok("ps", "-aq", "--filter", f"name={pattern}")

    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("path", ["/volumes", "/networks", "/images/json"])
def test_a_filter_that_is_yes_or_no_is_nothing_else(engine, path):
    answer = engine.call("GET", f'{path}?filters={{"dangling":["maybe"]}}')

    assert answer == (400, {"message": "invalid filter 'dangling=[maybe]'"})


def test_options_for_a_volume_that_is_there_are_passed_over_as_by_dockerd(engine, dockerd):
    for daemon in (engine, dockerd):
        daemon.docker("volume", "create", "there")
    options = ("volume-opt=type=none", "volume-opt=nosuch=1")

    assert said_by_both(engine, dockerd, "volume", "create", "-o", "type=none", "there")[0] == 0
    for option in options:
        command = ("run", "--rm", "--network=none", "--mount", f"src=there,dst=/x,{option}", "busybox", "true")
        assert said_by_both(engine, dockerd, *command)[0] == 0
    for option, why in zip(options, ('missing required option: "device"', 'invalid option: "nosuch"')):
        command = ("create", "--mount", f"src=new,dst=/x,{option}", "busybox", "true")
        assert why in said_by_both(engine, dockerd, *command)[2]
    for daemon in (engine, dockerd):
        daemon.docker("volume", "rm", "there")


@pytest.mark.parametrize(
    ("mount", "size"), [("type=tmpfs,tmpfs-size=1m", 1024), ("type=volume", 2048), ("type=bind,src=/srv", 2048)]
)
def test_tmpfs_and_mount_at_one_place_are_no_conflict(engine, dockerd, mount, size):
    look = "grep ' /t ' /proc/mounts | tail -n 1 | grep -o 'size=[0-9]*k'"
    options = ("--network=none", "--tmpfs", "/t:size=2m", "--mount", f"{mount},dst=/t")

    said = said_by_both(engine, dockerd, "run", "--rm", *options, "busybox", "sh", "-c", look)

    assert said[1] == f"size={size}k\n"
    assert said_by_both(engine, dockerd, "create", "-v", "/srv:/t", "--tmpfs", "/t", "busybox")[0] == 1


# What is mounted later


@pytest.fixture
def shared(hub, tmp_path):
    """A function that runs a command where the daemons are, and a file system there whose mounts are shared."""

    def run(command):
        return subprocess.run([*hub.inside, "sh", "-c", command], capture_output=True, text=True, cwd="/")

    folder = tmp_path / "shared"
    folder.mkdir()
    run(f"mount -t tmpfs x {folder} && mount --make-shared {folder} && mkdir {folder}/in {folder}/out")
    yield run, folder
    run(f"umount -R {folder}")


@pytest.mark.parametrize("mode", ["shared", "rshared", "slave", "rslave"])
@pytest.mark.parametrize("form", ["-v", "--mount"])
def test_a_source_that_shares_no_mounts_is_refused_as_by_dockerd(engine, dockerd, mode, form):
    bind = f"/proc:/x:{mode}" if form == "-v" else f"type=bind,src=/proc,dst=/x,bind-propagation={mode}"

    status, _, error = said_by_both(engine, dockerd, "run", "--rm", "--network=none", form, bind, "busybox", "true")

    kind = "shared" if "shared" in mode else "shared or slave"
    assert status == 125
    assert f"path /proc is mounted on /proc but it is not a {kind} mount" in error
    dockerd.docker("container", "prune", "-f")


@pytest.mark.parametrize(("mode", "reaches_host"), [("rshared", True), ("shared", True), ("rslave", False)])
def test_later_mounts_go_where_the_client_wants_them(engine, shared, mode, reaches_host):
    run, folder = shared
    options = ("--name", "web", "--network=none", "--privileged", "-v", f"{folder}:/m:{mode}")
    engine.ok("run", "-d", *options, "busybox", "sleep", "1000")
    before = run("cat /proc/self/mountinfo").stdout.count("\n")

    engine.ok("exec", "web", "mount", "-t", "tmpfs", "inner", "/m/in")
    run(f"mount -t tmpfs outer {folder}/out")

    assert (f"{folder}/in" in run("cat /proc/self/mounts").stdout) == reaches_host
    assert run("cat /proc/self/mountinfo").stdout.count("\n") == before + 1 + reaches_host
    assert " /m/out " in engine.ok("exec", "web", "cat", "/proc/mounts")
