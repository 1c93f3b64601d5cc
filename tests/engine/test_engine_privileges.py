"""What a container may do: --privileged, devices, capabilities and filters, namespaces of others, limits of disks."""

import json
import os
import stat
from pathlib import Path

import pytest
from beside_dockerd import said_by_both
from daemon import wait_until

OPENS_DISK = "mknod /m b 7 0; (true < /m) 2> /dev/null && echo open || echo denied"
pytestmark = pytest.mark.usefixtures("removed")


def run(engine, *words, **options):
    return engine.docker("run", "--rm", "--network=none", *words[:-1], "busybox", "sh", "-c", words[-1], **options)


def output(engine, *words):
    done = run(engine, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def started(engine, *words):
    return engine.ok("run", "-d", "--name", "web", "--network=none", *words, "busybox", "sleep", "1000")


def own_status(name):
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith(f"{name}:"))


# --privileged


def test_a_privileged_container_has_all_that_root_of_the_host_has(engine):
    program = "grep -E 'CapEff|CapBnd|Seccomp:' /proc/self/status; echo 1 > /proc/sys/net/ipv4/ip_forward"

    words = output(engine, "--privileged", f"{program}; mount -t tmpfs x /tmp && echo mounted").split()

    assert words == ["CapEff:", own_status("CapBnd"), "CapBnd:", own_status("CapBnd"), "Seccomp:", "0", "mounted"]


def test_a_privileged_container_has_the_devices_of_the_host(engine):
    started(engine, "--privileged")

    pid = engine.inspect("web", ".State.Pid")
    for name in ("full", "kmsg"):
        if os.path.exists(f"/dev/{name}"):
            inside = os.stat(f"/proc/{pid}/root/dev/{name}")
            assert (inside.st_rdev, inside.st_mode) == (
                os.stat(f"/dev/{name}").st_rdev,
                os.stat(f"/dev/{name}").st_mode,
            )
    assert engine.ok("exec", "web", "sh", "-c", "mknod /m c 1 7 && head -c 3 /m | wc -c") == "3"
    mounts = Path(f"/proc/{pid}/mounts").read_text()
    assert " /sys sysfs rw," in mounts
    assert " /proc/sys " not in mounts and " /proc/kcore " not in mounts


def test_an_ordinary_container_has_none_of_that(engine):
    program = f"mount -t tmpfs x /tmp 2> /dev/null || echo no; ls /dev | grep -c kmsg; {OPENS_DISK}"

    assert output(engine, program).split() == ["no", "0", "denied"]


def test_a_privileged_exec_has_all_capabilities(engine):
    started(engine, "--cap-drop", "ALL")

    assert engine.ok("exec", "web", "grep", "CapEff", "/proc/self/status").split()[1] == "0" * 16
    shown = engine.ok("exec", "--privileged", "web", "grep", "CapEff", "/proc/self/status").split()[1]
    assert shown == own_status("CapBnd")


# Devices


def test_a_device_has_the_name_and_the_access_that_the_client_wants(engine):
    program = "(true < /dev/mine) && echo read; (true > /dev/mine) 2> /dev/null || echo denied"

    assert output(engine, "--device", "/dev/full:/dev/mine", "echo x > /dev/mine || echo full") == "full"
    if os.path.exists("/dev/loop0"):
        assert output(engine, "--device", "/dev/loop0:/dev/mine:r", program).split() == ["read", "denied"]
    engine.ok("create", "--name", "web", "--device", "/dev/full", "busybox")
    assert engine.inspect("web", ".HostConfig.Devices") == [
        {"PathOnHost": "/dev/full", "PathInContainer": "/dev/full", "CgroupPermissions": "rwm"}
    ]


def test_a_folder_of_devices_is_all_of_them(engine, tmp_path):
    for name, minor in (("one", 3), ("two", 5)):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))

    assert (
        output(engine, "--device", f"{tmp_path}:/dev/all", "ls /dev/all; head -c 2 /dev/all/two | wc -c")
        == "one\ntwo\n2"
    )


@pytest.mark.skipif(not os.path.exists("/dev/loop0"), reason="the kernel has no loop devices")
@pytest.mark.parametrize("is_folder", [True, False])
def test_what_is_no_device_is_refused(engine, dockerd, tmp_path, is_folder):
    path = tmp_path if is_folder else "/etc/passwd"
    for daemon in (engine, dockerd):
        done = daemon.docker("run", "--rm", "--network=none", "--device", str(path), "busybox", "true")
        text = f'error gathering device information while adding custom device "{path}": not a device node'
        assert (done.returncode, text in str(done.stderr)) == (125, True)


def test_a_rule_allows_devices_that_the_container_makes(engine):
    assert output(engine, OPENS_DISK) == "denied"
    assert output(engine, "--device-cgroup-rule", "b 7:* rm", OPENS_DISK) == "open"


def test_a_device_that_is_missing_is_named(engine):
    done = run(engine, "--device", "/dev/nosuch", "true")

    text = 'error gathering device information while adding custom device "/dev/nosuch": no such file or directory'
    assert (done.returncode, text in done.stderr) == (127, True)  # the client makes that status of the text
    assert engine.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--device-cgroup-rule", "x"], "invalid device cgroup"),
        (["--gpus", "all"], 'could not select device driver "" with capabilities: [[gpu]]'),
        (["--blkio-weight", "5"], "ange of blkio weight is from 10 to 1000"),
        (["--memory-swappiness", "101"], "alid memory swappiness range is 0-100"),
        (["--cap-drop", "nosuch"], 'invalid CapDrop: unknown capability: "CAP_NOSUCH"'),
        (["--cap-add", "nosuch"], 'invalid CapAdd: unknown capability: "CAP_NOSUCH"'),
        (["--isolation", "process"], "Invalid isolation: \"process\" - linux only supports 'default'"),
        (["--group-add", "nosuch"], "unable to find group nosuch: no matching entries in group file"),
        (["--group-add", ""], "unable to find group : no matching entries in group file"),
        (["--group-add", "2147483648"], "uids and gids must be in range 0-2147483647"),
        (["--pid", "container:nosuch"], "No such container: nosuch"),
        (["--log-driver", "syslog"], "log driver syslog: not part of this engine yet"),
        (["--log-driver", "nosuch"], "logger: no log driver named 'nosuch' is registered"),
        (["--log-driver", "local", "--log-opt", "nosuch=1"], "unknown log opt 'nosuch' for local log driver"),
        (["--security-opt", "nosuch=x"], 'invalid --security-opt 2: "nosuch=x"'),
        (["--storage-opt", "size=1g"], "HostConfig.StorageOpt"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_refused(engine, words, text):
    done = run(engine, *words, "true")

    assert done.returncode == 125
    assert text in done.stderr
    assert engine.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"DeviceCgroupRules": ["c 1:x rwm"]}, "invalid device cgroup rule format: 'c 1:x rwm'"),
        ({"DeviceCgroupRules": ["c 1:3"]}, "invalid device cgroup rule format: 'c 1:3'"),
        ({"MemorySwappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
        ({"Devices": [{"PathOnHost": "dev"}]}, "invalid device path: dev"),
        ({"Devices": [{"PathOnHost": "/dev/null", "CgroupPermissions": "x"}]}, "invalid device mode: x"),
        ({"Devices": ["/dev/null"]}, "invalid JSON: HostConfig.Devices[0]: expected an object"),
        (
            {"BlkioDeviceReadBps": [{"Path": "/dev/null"}]},
            "invalid JSON: HostConfig.BlkioDeviceReadBps: expected a Path",
        ),
        ({"PidMode": "nosuch"}, "invalid PID mode: nosuch"),
        ({"IpcMode": "nosuch"}, "invalid IPC mode: nosuch"),
        ({"IpcMode": "container:"}, "invalid IPC mode: container:"),
    ],
    ids=str,
)
def test_what_a_client_cannot_mean_is_refused(engine, host, text):
    status, answer = engine.call("POST", "/containers/create", {"Image": "busybox", "HostConfig": host})

    assert (status, answer["message"][: len(text)]) == (400, text)


@pytest.mark.parametrize(
    ("options", "writable"), [({}, False), ({"ReadOnlyNonRecursive": True}, True)], ids=["docker's default", "mounts"]
)
def test_a_read_only_bind_is_read_only_below_too(engine, options, writable):
    mount = {"Type": "bind", "Source": "/dev", "Target": "/d", "ReadOnly": True, "BindOptions": options}
    body = {"Image": "busybox", "Cmd": ["cat", "/proc/mounts"], "HostConfig": {"Mounts": [mount]}}
    engine.call("POST", "/containers/create?name=web", body)
    shown = engine.ok("start", "-a", "web").splitlines()

    below = [line.split()[3].split(",")[0] for line in shown if line.split()[1].startswith("/d/")]
    assert below and ("rw" in below) == writable
    assert next(line.split()[3] for line in shown if line.split()[1] == "/d").startswith("ro")


# Capabilities and filters


def test_the_filter_allows_what_an_added_capability_is_for(engine):
    assert output(engine, "--cap-add", "SYS_ADMIN", "mount -t tmpfs x /tmp && echo mounted") == "mounted"
    assert (
        output(engine, "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_CHROOT", "mount -t proc p /tmp; ls /tmp/1 | wc -l")
        > "0"
    )


def test_a_profile_of_docker_s_is_the_filter(engine, tmp_path):
    """With its conditions: mkdir fails, but not with the capability; mknod always does."""
    rules = [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_TIME"]}},
        {"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "includes": {"minKernel": "4.8"}},
        {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "includes": {"arches": ["s390"]}},
    ]
    arches = [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "archMap": arches, "syscalls": rules}))
    option = ("--security-opt", f"seccomp={profile}")
    program = "mkdir /a 2> /dev/null && echo a; mknod /p p 2>&1 | grep -o implemented; ln -s x /l && echo l; true"

    assert output(engine, *option, program).split() == ["implemented", "l"]
    assert output(engine, *option, "--cap-add", "SYS_TIME", program).split() == ["a", "implemented", "l"]


def test_a_profile_that_is_none_is_refused(engine):
    status, answer = engine.call(
        "POST", "/containers/create", {"Image": "busybox", "HostConfig": {"SecurityOpt": ["seccomp={"]}}
    )

    assert (status, answer["message"][:32]) == (400, "Decoding seccomp profile failed:")


def test_groups_are_found_by_name(engine):
    assert output(engine, "--group-add", "mail", "--group-add", "77", "id -G") == "0 8 77"


def test_annotations_reach_the_runtime(engine):
    started(engine, "--annotation", "key=value") if "annotation" in engine.docker("run", "--help").stdout else None
    status, made = engine.call(
        "POST",
        "/containers/create?name=other",
        {"Image": "busybox", "HostConfig": {"NetworkMode": "none", "Annotations": {"key": "value"}}},
    )
    assert status == 201
    assert engine.call("POST", "/containers/other/start")[0] == 204
    config = json.loads((engine.data / "containers" / made["Id"] / "bundle/config.json").read_text())
    assert config["annotations"] == {"key": "value"}


# Namespaces


def test_pid_of_another_container(engine):
    id_ = started(engine)

    assert output(engine, "--pid", "container:web", "cat /proc/1/cmdline | tr '\\0' ' '") == "sleep 1000"
    engine.ok("create", "--name", "other", "--network=none", "--pid", "container:web", "busybox", "true")
    assert engine.inspect("other", ".HostConfig.PidMode") == f"container:{id_}"
    engine.ok("kill", "web")
    assert "cannot join PID namespace of a non running container" in engine.fails("start", "other")[1]


def test_ipc_of_another_container_that_shares_it(engine, dockerd):
    look = "cat /dev/shm/f; echo of other > /dev/shm/g; grep /dev/shm /proc/mounts; readlink /proc/self/ns/ipc"
    for daemon in (engine, dockerd):
        share = ["--ipc", "shareable", "busybox", "sh", "-c", "echo of web > /dev/shm/f; exec sleep 1000"]
        daemon.docker("run", "-d", "--name", "web", "--network=none", *share)
        daemon.docker("create", "--name", "other", "--ipc", "container:web", "--network=none", "busybox", "true")
        daemon.docker("rename", "web", "donor")
    try:
        wait_until(lambda: engine.docker("exec", "donor", "cat", "/dev/shm/f").stdout, "the file")
        said = engine.ok("run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", look)
        their = "cat /dev/shm/f; echo of other > /dev/shm/g; grep /dev/shm /proc/mounts"
        assert said_by_both(engine, dockerd, "run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c", their)[1]
        assert said_by_both(engine, dockerd, "exec", "donor", "cat", "/dev/shm/g")[1] == "of other\n"
        assert said.splitlines()[-1] == os.readlink(f"/proc/{engine.inspect('donor', '.State.Pid')}/ns/ipc")
        id_ = engine.inspect("donor", ".Id")
        assert engine.inspect("other", ".HostConfig.IpcMode") == f"container:{id_}"
        assert said_by_both(engine, dockerd, "start", "-a", "other")[0] == 0
        said_by_both(engine, dockerd, "kill", "donor")
        error = said_by_both(engine, dockerd, "start", "other")[2]
        assert f"can't join IPC of container {id_}: container {id_} is not running" in error
    finally:
        dockerd.docker("rm", "-f", "donor", "other")


@pytest.mark.parametrize("mode", ["private", "none", ""])
def test_ipc_of_a_container_that_keeps_it_is_refused(engine, mode):
    id_ = started(engine, *(["--ipc", mode] if mode else []))

    error = engine.fails("run", "--rm", "--ipc", "container:web", "busybox", "true")[1]

    assert f"can't join IPC of container {id_}: non-shareable IPC" in error


@pytest.mark.parametrize("option", ["--pid", "--ipc"])
def test_a_namespace_of_no_container_is_refused_before_an_image_is_pulled(engine, dockerd, option):
    status, _, error = said_by_both(engine, dockerd, "create", option, "container:nosuch", "busybox", "true")

    assert (status, error) == (1, "Error response from daemon: No such container: nosuch\n")


def test_inspect_shows_the_namespaces_that_a_container_has_by_default(engine, dockerd):
    template = "{{.HostConfig.IpcMode}} {{.HostConfig.CgroupnsMode}} {{.HostConfig.PidMode}}"
    for daemon in (engine, dockerd):
        assert daemon.docker("create", "--name", "made", "busybox", "true").returncode == 0
    try:
        said = said_by_both(engine, dockerd, "inspect", "-f", template, "made")[1]
    finally:
        dockerd.docker("rm", "made")

    v2_alone = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    assert said == f"private {'private' if v2_alone else 'host'} \n"


def test_older_clients_get_an_ipc_namespace_that_others_may_join(engine):
    body = {"Image": "busybox", "HostConfig": {"NetworkMode": "none"}}
    id_ = engine.call("POST", "/v1.39/containers/create", body)[1]["Id"]

    assert engine.inspect(id_, ".HostConfig.IpcMode") == "shareable"


def test_ipc_of_the_host_or_none(engine):
    assert output(engine, "--ipc", "none", "grep -c /dev/shm /proc/mounts || true") == "0"
    started(engine, "--ipc", "host")
    pid = engine.inspect("web", ".State.Pid")
    assert os.readlink(f"/proc/{pid}/ns/ipc") == os.readlink("/proc/self/ns/ipc")


def test_a_domain_is_no_part_of_the_host_s_name(engine, dockerd):
    program = "hostname; cat /proc/sys/kernel/domainname /etc/hostname; echo $HOSTNAME"
    for daemon in (engine, dockerd):
        words = ("--network=none", "--hostname", "web", "--domainname", "x.y", "busybox", "sh", "-c", program)
        done = daemon.docker("run", "--rm", *words)
        assert (done.stdout if daemon is engine else done.stdout.decode()).split() == ["web", "x.y", "web", "web"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("--hostname web", "web"),
        ("--hostname web --domainname x.y", "web.x.y web"),
        ("--hostname web.x.y", "web.x.y web"),
        ("--hostname web.x --domainname y", "web.x.y web"),
    ],
)
def test_the_hosts_file_has_the_name_with_its_domain_and_without(engine, options, names):
    """As dockerd's libnetwork: the dockerd of the tests has no networks."""
    shown = engine.ok("run", "--rm", *options.split(), "busybox", "cat", "/etc/hosts").splitlines()[-1]
    assert shown.partition("\t")[2] == names


# Limits


def group_files(engine, v1, v2):
    pid = engine.inspect("web", ".State.Pid")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":")
        if v1.partition(".")[0] in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers}{path}/{v1}").read_text().strip()
    return Path(f"/sys/fs/cgroup{path}/{v2}").read_text().strip()


def test_the_rate_of_a_disk_is_limited(engine):
    disks = [name for name in os.listdir("/sys/block") if os.path.exists(f"/dev/{name}")]
    if not disks:
        pytest.skip("no disk here")
    device = os.stat(f"/dev/{disks[0]}").st_rdev
    started(engine, "--device-read-bps", f"/dev/{disks[0]}:1mb", "--device-write-iops", f"/dev/{disks[0]}:100")

    name = f"{os.major(device)}:{os.minor(device)}"
    found = group_files(engine, "blkio.throttle.read_bps_device", "io.max")
    assert f"{name} {1 << 20}" in found or f"rbps={1 << 20}" in found


def test_swappiness(engine):
    if not any(":memory:" in line for line in open("/proc/self/cgroup")):
        pytest.skip("cgroup v2 has none")
    started(engine, "--memory-swappiness", "7")

    assert group_files(engine, "memory.swappiness", "") == "7"


# The log driver local


def test_the_driver_local_keeps_a_log_that_has_no_path(engine):
    engine.ok(
        "run", "--name", "web", "--network=none", "--log-driver", "local", "busybox", "sh", "-c", "echo out; echo e >&2"
    )

    assert engine.ok("logs", "web") == "out"
    assert engine.inspect("web", ".LogPath") == ""
    assert engine.inspect("web", ".HostConfig.LogConfig") == {"Type": "local", "Config": {}}
    assert "local" in json.loads(engine.ok("info", "--format", "{{json .Plugins.Log}}"))


def test_the_driver_local_is_rotated(engine):
    options = (
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=4k",
        "--log-opt",
        "max-file=2",
        "--log-opt",
        "compress=false",
    )
    program = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; done"
    engine.ok("run", "--name", "web", "--network=none", *options, "busybox", "sh", "-c", program)

    lines = engine.ok("logs", "web").splitlines()
    assert lines[-1] == "line 300" and 20 < len(lines) < 200


@pytest.mark.parametrize("enabled", ["apparmor=docker-default", "apparmor=nosuch", "label=type:x", "label:level:s0"])
def test_an_option_of_a_security_module_that_is_not_there_has_no_effect(engine, dockerd, enabled):
    if os.path.exists("/sys/fs/selinux/enforce") or os.path.exists("/sys/kernel/security/apparmor/profiles"):
        pytest.skip("the kernel has a security module")
    command = ("run", "--rm", "--network=none", "--security-opt", enabled, "busybox", "echo", "runs")

    assert said_by_both(engine, dockerd, *command)[1] == "runs\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-m", "64m", "--memory-reservation", "128m"], "can not be less than memory reservation limit"),
        (["--memory-reservation", "1m"], "Minimum memory reservation allowed is 6MB"),
        (["--cpuset-cpus", "999"], "Requested CPUs are not available - requested 999, available: 0"),
        (["--cpuset-mems", "99"], "Requested memory nodes are not available - requested 99, available: 0"),
        (["--uts", "host", "-h", "my"], "conflicting options: hostname and the UTS mode"),
        (
            ["--network", "host", "--mac-address", "02:42:00:00:00:01"],
            "conflicting options: mac-address and the network",
        ),
        (["-v", "/tmp:/x:nocopy"], "field VolumeOptions must not be specified"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_docker_refuses_is_refused_in_its_words(engine, dockerd, words, text):
    status, _, error = said_by_both(engine, dockerd, "create", *words, "busybox", "true")

    assert status == 1
    assert text in error
    assert error == dockerd.docker("create", *words, "busybox", "true").stderr.decode()


def test_a_change_of_limits_is_checked_as_their_creation(engine):
    engine.ok("create", "--name", "web", "--network=none", "-m", "64m", "--memory-reservation", "32m", "busybox")

    assert "reservation allowed is 6MB" in engine.fails("update", "--memory-reservation", "1m", "web")[1]
    assert "are not available - requested 999" in engine.fails("update", "--cpuset-cpus", "999", "web")[1]
    engine.ok(
        "update", "-m", "16m", "--memory-swap", "32m", "web"
    )  # as with dockerd, the former reservation is no obstacle


def test_a_domain_of_its_own_is_refused_where_the_names_are_the_host_s(engine):
    words = ["run", "--rm", "--uts", "host", "--domainname", "x.y", "busybox", "true"]

    assert "conflicting options: domainname and the UTS mode" in engine.fails(*words)[1]
