"""Namespaces: each type new, or joined by its path."""

import os
import subprocess
from pathlib import Path

import pytest
from harness import TIMEOUT, mounts_below, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")

NO_TIME = "no time namespaces"
# type in config.json: name in /proc/PID/ns
TYPES = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
}


def identity(pid, name):
    return os.readlink(f"/proc/{pid}/ns/{name}")


@pytest.fixture
def holder():
    """A process in new namespaces of its own, as an engine's pause container is."""
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--net",
        "--ipc",
        "--uts",
        "--cgroup",
        "--time",
        "--mount",
        "sleep",
        "1000",
    ]
    unshare = subprocess.Popen(command)
    children = f"/proc/{unshare.pid}/task/{unshare.pid}/children"
    wait_until(lambda: open(children).read().split(), "it has forked")
    pid = int(open(children).read().split()[0])
    wait_until(lambda: open(f"/proc/{pid}/comm").read() == "sleep\n", "it sleeps")
    yield pid
    os.kill(pid, 9)
    unshare.wait(TIMEOUT)


def of_each(*types):
    """Return a parameter for each type, with the marks that time namespaces need."""
    time = (pytest.mark.differs("runc", NO_TIME), pytest.mark.differs("crun", NO_TIME))
    return pytest.mark.parametrize("type_", [pytest.param(one, marks=time if one == "time" else ()) for one in types])


def seen_inside(container, name):
    """Run the container and return its namespace as its program sees it."""
    return container.look(f"readlink /proc/self/ns/{name}")


@pytest.mark.proves(*(f"linux.namespaces[].type={type_}" for type_ in TYPES))
@of_each(*TYPES)
def test_a_new_namespace_is_another_than_the_hosts(container, bundle, type_):
    bundle.namespace(type_)
    inside = seen_inside(container, TYPES[type_])

    assert inside == identity(container.pid(), TYPES[type_])
    assert inside != identity("self", TYPES[type_])


@pytest.mark.parametrize("type_", ["network", "ipc", "uts", "pid"])
def test_a_type_that_is_not_listed_stays_the_hosts(container, bundle, type_):
    bundle.without_namespace(type_)
    if type_ == "uts":
        del bundle.config["hostname"]
    container.sleeping()

    assert identity(container.pid(), TYPES[type_]) == identity("self", TYPES[type_])


def mounts_of_the_host():
    """Return the lines of mountinfo, but for those that tests mount."""
    with open("/proc/self/mountinfo") as file:
        return [line for line in file if not line.split()[4].startswith("/tmp/")]


@pytest.fixture
def without_mount_namespace(container):
    """A container whose mounts are made on the host, which is to be as it was before."""
    container.bundle.without_namespace("mount")
    container.bundle.mount("/tmp", "tmpfs", "tmpfs")
    before = mounts_of_the_host()
    yield container
    container.call("delete", "--force", container.id)
    assert mounts_of_the_host() == before


ON_THE_HOST = "runc leaves its mounts on the host, and changes the host's propagation; crun fails"


@pytest.mark.only_pyrun(ON_THE_HOST)
@pytest.mark.parametrize("verb", ["run", "create"])
def test_without_a_mount_namespace_it_is_the_hosts(without_mount_namespace, verb):
    container = without_mount_namespace
    script = "ls / /tmp; touch /tmp/x; readlink /proc/self/ns/mnt; test -c /dev/null && sleep 1000"
    container.bundle.process["args"] = ["sh", "-c", script]
    if verb == "run":
        container.run_detached()
    else:
        container.create().start()
    wait_until(lambda: "mnt:" in container.output(), "it has shown its namespace")

    assert os.readlink("/proc/self/ns/mnt") in container.output()
    assert "usr" not in container.output().split()
    mounted = [path.removeprefix(str(container.bundle.rootfs)) for path in mounts_below(container.bundle.path)]
    assert sorted(mounted) == ["", "/dev", "/dev/pts", "/proc", "/tmp"]
    assert container.exec("ls", "/", "/tmp").split()[-1] == "x"
    container.works("kill", container.id, "KILL")
    container.wait_until("stopped")
    container.delete()
    assert mounts_below(container.bundle.path) == []


@pytest.mark.only_pyrun(ON_THE_HOST)
def test_without_a_mount_namespace_nothing_is_left_when_it_ends(without_mount_namespace):
    without_mount_namespace.bundle.config["root"]["readonly"] = True

    assert without_mount_namespace.sh("touch /x 2>&1; echo y >/tmp/y; cat /tmp/y").endswith("Read-only file system\ny")
    assert mounts_below(without_mount_namespace.bundle.path) == []
    (without_mount_namespace.bundle.rootfs / "writable").touch()


@pytest.mark.only_pyrun(ON_THE_HOST)
def test_without_a_mount_namespace_nothing_is_left_of_a_container_that_fails(without_mount_namespace):
    bundle = without_mount_namespace.bundle
    bundle.mount("/mnt", "bind", "/not/there")
    without_mount_namespace.run_fails("true")
    assert mounts_below(bundle.path) == []

    bundle.config["mounts"].pop()
    without_mount_namespace.run_fails("/not/there")
    assert mounts_below(bundle.path) == []


@pytest.mark.only_pyrun(ON_THE_HOST)
def test_what_is_mounted_without_a_mount_namespace_appears_nowhere_else(without_mount_namespace, tmp_path):
    """Although the host's own mounts are shared."""
    bundle = without_mount_namespace.bundle
    subprocess.run(["mount", "--bind", bundle.path, bundle.path], check=True)
    subprocess.run(["mount", "--make-shared", bundle.path], check=True)
    other = subprocess.Popen(["unshare", "--mount", "--propagation", "unchanged", "sleep", "1000"])
    try:
        wait_until(lambda: open(f"/proc/{other.pid}/comm").read() == "sleep\n", "it sleeps")
        without_mount_namespace.sleeping()
        with open(f"/proc/{other.pid}/mountinfo") as file:
            seen = [line.split()[4] for line in file]
        without_mount_namespace.delete("--force")
    finally:
        other.kill()
        other.wait()
        subprocess.run(["umount", bundle.path], check=True)

    assert not [path for path in seen if path.startswith(f"{bundle.rootfs}/")]


@pytest.mark.only_pyrun("has no --overlay")
def test_without_a_mount_namespace_there_is_no_overlay(container, bundle):
    bundle.without_namespace("mount")

    assert "--overlay: " in container.run_fails("true", options=["--overlay"])


@pytest.mark.proves("linux.namespaces[].path", "linux.namespaces[].path: of each type")
@of_each("network", "ipc", "uts", "cgroup", "time", "mount")
def test_a_namespace_is_joined_by_its_path(container, bundle, holder, type_):
    """Of user and pid namespaces below, and in test_user_namespace.py."""
    bundle.namespace(type_, f"/proc/{holder}/ns/{TYPES[type_]}")
    inside = seen_inside(container, TYPES[type_])

    assert inside == identity(container.pid(), TYPES[type_]) == identity(holder, TYPES[type_])


def test_a_pid_namespace_is_joined_by_its_path(container, bundle, holder):
    bundle.namespace("pid", f"/proc/{holder}/ns/pid")
    container.sleeping()

    assert identity(container.pid(), "pid") == identity(holder, "pid")
    assert "sleep" in container.exec("cat", "/proc/1/comm")


def test_all_types_are_joined_at_once(container, bundle, holder):
    for type_ in ("pid", "network", "ipc", "uts"):
        bundle.namespace(type_, f"/proc/{holder}/ns/{TYPES[type_]}")
    container.sleeping()

    for type_ in ("pid", "network", "ipc", "uts"):
        assert identity(container.pid(), TYPES[type_]) == identity(holder, TYPES[type_])


@pytest.mark.parametrize("type_, other", [("network", "uts"), ("uts", "ipc"), ("ipc", "pid"), ("pid", "net")])
@pytest.mark.only_pyrun("the wording")
def test_the_path_of_another_type_is_refused(container, bundle, type_, other):
    path = f"/proc/{os.getpid()}/ns/{other}"
    bundle.namespace(type_, path)

    message = container.run_fails()

    assert f"config.json: linux.namespaces: {path} is a " in message
    assert not container.exists()


@pytest.mark.only_pyrun("the wording")
def test_a_path_that_is_no_namespace_is_refused(container, bundle):
    bundle.namespace("uts", "/etc/hostname")

    assert "/etc/hostname is not a namespace" in container.run_fails()


@pytest.mark.only_pyrun("the wording")
def test_a_path_that_is_not_there_is_refused(container, bundle):
    bundle.namespace("uts", "/nonexistent/uts")

    assert "/nonexistent/uts: No such file or directory" in container.run_fails()


@pytest.mark.only_pyrun("their own programs can be seen in a joined pid namespace")
def test_no_interpreter_is_ever_seen_from_a_joined_pid_namespace(container, new_container, bundle, full):
    """A pod: the first container watches the processes that come to life beside it."""
    watch = "while :; do for one in /proc/[0-9]*; do readlink $one/exe; done; done 2>/dev/null | grep -v busybox"
    bundle.process["args"] = ["sh", "-c", f"{watch}; sleep 1000"]
    everything = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"])
    bundle.process["capabilities"] = everything
    container.run_detached()
    peer = new_container()
    peer.bundle.namespace("pid", f"/proc/{container.pid()}/ns/pid")
    for _ in range(100 if full else 20):
        peer.run("true")

    assert not [line for line in container.output().splitlines() if "python" in line]


def test_the_first_process_is_pid_1(container):
    assert container.sh("echo $$") == "1"


def test_the_network_namespace_has_a_loopback_that_is_up(container, bundle):
    bundle.process["capabilities"] = {}
    result = container.run("ip", "addr")

    assert [line.split()[1] for line in result.splitlines() if line[0] != " "] == ["lo:"]
    assert "<LOOPBACK,UP,LOWER_UP>" in result
    assert "127.0.0.1/8" in result


def test_the_loopback_of_a_user_namespace_is_up(container, bundle):
    bundle.user_namespace()

    assert "127.0.0.1/8" in container.run("ip", "-o", "addr")


def in_its_uts_namespace(container, *command):
    """Run a program of the host that sees the container's names."""
    nsenter = ["nsenter", "--target", str(container.pid()), "--uts", *command]
    return subprocess.run(nsenter, capture_output=True, text=True, check=True).stdout


@pytest.mark.proves("hostname")
def test_hostname_is_the_configs_and_not_the_hosts(container, bundle):
    bundle.config["hostname"] = "inside"
    container.sleeping()

    assert container.exec("hostname") == "inside\n"
    assert in_its_uts_namespace(container, "uname", "-n") == "inside\n"
    assert os.uname().nodename != "inside"


@pytest.mark.proves("domainname")
@pytest.mark.differs("runc", "1.1 ignores it")
def test_domainname_is_the_configs(container, bundle):
    bundle.config["domainname"] = "example.org"
    container.sleeping()

    assert container.exec("cat", "/proc/sys/kernel/domainname") == "example.org\n"
    assert in_its_uts_namespace(container, "cat", "/proc/sys/kernel/domainname") == "example.org\n"
    assert Path("/proc/sys/kernel/domainname").read_text() != "example.org\n"


def test_a_hostname_without_a_uts_namespace_is_refused(container, bundle):
    before = os.uname().nodename
    bundle.without_namespace("uts")

    container.run_fails()

    assert os.uname().nodename == before


@pytest.mark.proves("linux.sysctl")
@pytest.mark.parametrize(
    "key, value, path",
    [
        ("net.ipv4.ip_default_ttl", "33", "net/ipv4/ip_default_ttl"),
        ("net/ipv4/ping_group_range", "0 10", "net/ipv4/ping_group_range"),
        ("kernel.msgmax", "4096", "kernel/msgmax"),
        ("kernel.shmmni", "100", "kernel/shmmni"),
        ("fs.mqueue.msg_max", "7", "fs/mqueue/msg_max"),
        ("kernel.domainname", "example.org", "kernel/domainname"),
    ],
)
def test_a_sysctl_is_set_in_its_namespace_alone(container, bundle, key, value, path):
    bundle.linux["sysctl"] = {key: value}
    inside = container.look(f"cat /proc/sys/{path}")
    enter = ["nsenter", "--target", str(container.pid()), "--net", "--ipc", "--uts"]
    from_the_host = subprocess.run([*enter, "cat", f"/proc/sys/{path}"], capture_output=True, text=True, check=True)

    assert inside.split() == from_the_host.stdout.split() == value.split()
    assert open(f"/proc/sys/{path}").read().split() != value.split()


@pytest.mark.needs("ip")
@pytest.mark.differs("runc", "1.1 makes a directory of each dot")
@pytest.mark.differs("crun", "1.8 makes a directory of each dot")
@pytest.mark.parametrize("key", ["net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"])
def test_a_sysctl_of_an_interface_with_a_dot_in_its_name_is_set(container, bundle, key):
    holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        wait_until(lambda: open(f"/proc/{holder.pid}/comm").read() == "sleep\n", "it sleeps")
        enter = ["nsenter", "--target", str(holder.pid), "--net"]
        subprocess.run([*enter, "ip", "link", "add", "eth0.1", "type", "veth", "peer", "name", "eth9"], check=True)
        bundle.namespace("network", f"/proc/{holder.pid}/ns/net")
        bundle.linux["sysctl"] = {key: "1"}

        assert container.sh("cat /proc/sys/net/ipv4/conf/eth0.1/forwarding") == "1"
    finally:
        holder.kill()
        holder.wait()


def test_a_sysctl_of_a_namespace_that_is_the_hosts_is_refused(container, bundle):
    bundle.without_namespace("network")
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "33"}

    container.run_fails()

    assert open("/proc/sys/net/ipv4/ip_default_ttl").read() != "33\n"


def test_a_sysctl_that_is_not_there_is_an_error(container, bundle):
    bundle.linux["sysctl"] = {"net.nonsense": "1"}

    container.run_fails()
