"""Device nodes and FIFOs of the image, where the runtime reads a file of it.

The runtime is root of the host, and outside of the container's devices cgroup: by opening a node it would do what the
container may not. The kernel itself tells (inotify(7), IN_OPEN) whether anybody has opened the node; O_PATH does not
count. The device is c 10:229, /dev/fuse, which does nothing when it is opened.
"""

import ctypes
import os
import stat
import struct

import pytest

FUSE = os.makedev(10, 229)
NODES = {"device": (stat.S_IFCHR | 0o777, FUSE), "FIFO": (stat.S_IFIFO | 0o777, 0)}
IN_OPEN, IN_NONBLOCK = 0x20, 0o4000
_libc = ctypes.CDLL(None, use_errno=True)


class Watched:
    """A node of the image, and whether it was opened."""

    def __init__(self, path, kind):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(path, *NODES[kind])
        os.chmod(path, 0o777)
        self.fd = _libc.inotify_init1(IN_NONBLOCK)
        assert _libc.inotify_add_watch(self.fd, os.fsencode(path), IN_OPEN) > 0

    def is_opened(self):
        try:
            events = os.read(self.fd, 4096)
        except BlockingIOError:
            return False
        return any(struct.unpack_from("iI", events, at)[1] & IN_OPEN for at in range(0, len(events), 16))


@pytest.fixture(params=NODES)
def watch(request):
    """Make a node of one of the kinds at a path of the bundle, and watch it."""
    made = []

    def watch(path):
        made.append(Watched(path, request.param))
        return made[-1]

    yield watch
    for one in made:
        os.close(one.fd)


def without_home(bundle):
    bundle.config["process"]["env"] = ["PATH=/bin"]


def joined_pid_namespace(bundle, machine, make_bundle):
    """Have the runtime stay out of the container's cgroups until its last process, as it does for a pod."""
    pod = make_bundle()
    bundle.namespace("pid", f"/proc/{machine.state(machine.start(pod))['pid']}/ns/pid")


def test_an_opened_node_would_be_noticed(bundle, watch):
    watched = watch(bundle.rootfs / "node")
    os.close(os.open(bundle.rootfs / "node", os.O_RDONLY | os.O_NONBLOCK))

    assert watched.is_opened()


def test_the_container_itself_may_not_open_the_device(bundle, machine):
    os.mknod(bundle.rootfs / "node", *NODES["device"])
    bundle.capabilities("CAP_MKNOD", "CAP_DAC_OVERRIDE")

    assert "Operation not permitted" in machine.run(bundle, ": </node").stderr


@pytest.mark.parametrize("joined", [False, True], ids=["own pid namespace", "joined pid namespace"])
def test_create_does_not_open_etc_passwd_that_is_no_file(bundle, machine, make_bundle, watch, joined):
    if joined:
        joined_pid_namespace(bundle, machine, make_bundle)
    without_home(bundle)
    watched = watch(bundle.rootfs / "etc/passwd")
    result = machine.run(bundle, "echo $HOME")

    assert result.stdout == "/\n", result.stderr
    assert not watched.is_opened()


def test_exec_does_not_open_etc_passwd_that_is_no_file(bundle, machine, watch):
    without_home(bundle)
    id_ = machine.start(bundle)
    watched = watch(bundle.rootfs / "etc/passwd")
    result = machine.exec(id_, "sh", "-c", "echo $HOME")

    assert result.stdout == "/\n", result.stderr
    assert not watched.is_opened()


def test_etc_passwd_that_leads_to_the_host_s_messages_is_not_read(bundle, machine):
    without_home(bundle)
    (bundle.rootfs / "etc").mkdir()
    os.symlink("/proc/kmsg", bundle.rootfs / "etc/passwd")
    with open("/proc/kmsg", "rb", buffering=0) as messages, open("/dev/kmsg", "wb", buffering=0) as log:
        os.set_blocking(messages.fileno(), False)
        _drain(messages)
        log.write(b"a message for the host's syslogd\n")
        assert machine.run(bundle, "echo $HOME").stdout == "/\n"

        assert b"a message for the host's syslogd" in _drain(messages)


def _drain(messages):
    found = b""
    while part := messages.read(65536):
        found += part
    return found


@pytest.mark.parametrize("joined", [False, True], ids=["own pid namespace", "joined pid namespace"])
def test_create_does_not_open_a_program_that_is_no_file(bundle, machine, make_bundle, watch, joined):
    if joined:
        joined_pid_namespace(bundle, machine, make_bundle)
    watched = watch(bundle.rootfs / "bin/node")
    bundle.config["process"]["args"] = ["/bin/node"]
    result = machine.run(bundle)

    assert result.returncode == 1
    assert 'exec: "/bin/node": permission denied: /bin/node is a device, a pipe or a socket' in result.stderr
    assert not watched.is_opened()


@pytest.mark.parametrize("name", ["/bin/node", "node"])
def test_exec_does_not_open_a_program_that_is_no_file(bundle, machine, watch, name):
    id_ = machine.start(bundle)
    watched = watch(bundle.rootfs / "bin/node")
    result = machine.exec(id_, name)

    assert result.returncode == 255
    assert f'exec: "{name}": permission denied: /bin/node is a device, a pipe or a socket' in result.stderr
    assert not watched.is_opened()


def test_exec_does_not_open_an_interpreter_that_is_no_file(bundle, machine, watch):
    id_ = machine.start(bundle)
    watched = watch(bundle.rootfs / "bin/node")
    (bundle.rootfs / "bin/script").write_text("#!/bin/node\n")
    (bundle.rootfs / "bin/script").chmod(0o755)
    result = machine.exec(id_, "script")

    assert result.returncode == 255
    assert "its interpreter '/bin/node' is a device, a pipe or a socket" in result.stderr
    assert not watched.is_opened()


def test_start_does_not_open_a_program_that_has_become_no_file(bundle, machine, watch):
    program = bundle.rootfs / "bin/program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    bundle.config["process"]["args"] = ["/bin/program"]
    id_ = machine.create(bundle)
    program.unlink()
    watched = watch(program)
    result = machine.pyrun("start", id_)

    assert result.returncode == 1
    assert "it is a device, a pipe or a socket" in result.stderr
    assert not watched.is_opened()


def test_a_namespace_to_join_that_is_none_is_not_opened(bundle, machine, watch):
    watched = watch(bundle.path / "node")
    bundle.namespace("network", str(bundle.path / "node"))
    result = machine.run(bundle, "true")

    assert result.returncode == 1
    assert "node is not a namespace" in result.stderr
    assert not watched.is_opened()
