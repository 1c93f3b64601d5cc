"""Static attacks by the image, in every way that a container comes to life: `run`, `create` and `start`, `exec`; by
root, by root with a user namespace, and by an ordinary user. They run on runc and crun too.

What the image contains leads to the victim, a directory of the host to which everybody may write. Whether the runtime
refuses the container or makes it is its own affair here: nothing of the host may change, and nothing of it be read.
"""

import os
import pty
import shutil
import stat
import subprocess

import pytest
from harness import DescriptorSocket, wait_until
from hostile import Machine, make_symlink

pytestmark = pytest.mark.peers

UID = 65534
IN_DEV = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
READ = "echo ran; for file in secret */secret /*/secret; do cat $file; done 2>/dev/null; true"


def proc_is_a_symlink(bundle, victim):
    """R4: CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867."""
    make_symlink(bundle.rootfs / "proc", victim.path)


def dev_is_a_symlink(bundle, victim):
    """R5: CVE-2026-41579, CVE-2026-47766."""
    bundle.without_mount("/dev", "/dev/shm", "/dev/mqueue")
    bundle.linux["devices"] = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 5}]
    make_symlink(bundle.rootfs / "dev", victim.path)


def null_is_a_symlink(bundle, victim):
    """R6: CVE-2025-31133, CVE-2025-62161, CVE-2026-88265."""
    bundle.without_mount(*IN_DEV)
    make_symlink(bundle.rootfs / "dev/null", victim.path / "null")


def console_is_a_symlink(bundle, victim):
    """R7: CVE-2025-52565, CVE-2026-88264."""
    bundle.without_mount(*IN_DEV)
    bundle.process["terminal"] = True
    make_symlink(bundle.rootfs / "dev/console", victim.path / "new")


def destination_is_a_symlink(bundle, victim):
    """R9, R10: CVE-2021-30465, CVE-2024-45310, CVE-2019-18837."""
    bundle.mount("/link/new", "tmpfs", "tmpfs")
    make_symlink(bundle.rootfs / "link", victim.path)


def file_destination_is_a_dangling_symlink(bundle, victim):
    """R10: CVE-2024-5154."""
    (bundle.path / "given").write_text("")
    bundle.mount("/link", "bind", bundle.path / "given")
    make_symlink(bundle.rootfs / "link", victim.path / "new")


def masks_are_symlinks(bundle, victim):
    """R6, R9: CVE-2019-16884."""
    bundle.linux["maskedPaths"] = ["/link/secret"]
    bundle.linux["readonlyPaths"] = ["/link/directory"]
    make_symlink(bundle.rootfs / "link", victim.path)


def directory_is_a_symlink(bundle, victim):
    """R3: CVE-2024-21626."""
    bundle.process["cwd"] = "/link/new"
    make_symlink(bundle.rootfs / "link", victim.path)


def directory_is_a_descriptor(bundle, victim):
    """R3: CVE-2024-21626, by a symlink to what the runtime may have open of the host."""
    bundle.process["cwd"] = "/link"
    make_symlink(bundle.rootfs / "link", f"/proc/self/fd/7/../..{victim.path}")


def tree_to_copy_is_hostile(bundle, victim):
    """R11: CVE-2024-1753 and its kind."""
    bundle.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    data = bundle.rootfs / "data"
    make_symlink(data / "secret", victim.path / "secret")
    make_symlink(data / "directory", victim.path)
    os.mkfifo(data / "pipe")
    os.mknod(data / "device", stat.S_IFCHR | 0o666, os.makedev(10, 229))
    (data / "suid").write_text("")
    (data / "suid").chmod(0o4755)
    os.link(data / "suid", data / "again")


def passwd_is_a_symlink(bundle, victim):
    """F22, R28: CVE-2024-9676, CVE-2019-14271."""
    bundle.process["env"] = ["PATH=/bin"]
    make_symlink(bundle.rootfs / "etc/passwd", victim.path / "passwd")


ATTACKS = [
    proc_is_a_symlink,
    dev_is_a_symlink,
    null_is_a_symlink,
    console_is_a_symlink,
    destination_is_a_symlink,
    file_destination_is_a_dangling_symlink,
    masks_are_symlinks,
    directory_is_a_symlink,
    directory_is_a_descriptor,
    tree_to_copy_is_hostile,
    passwd_is_a_symlink,
]
# Those that need one path to be followed out of the root. For the others, runc and crun show that they work: README.md.
NOTICED = [dev_is_a_symlink, destination_is_a_symlink, directory_is_a_symlink]


class Ordinary(Machine):
    """The runtime as an ordinary user calls it."""

    def command(self, *arguments):
        user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all")
        return [*user, *super().command(*arguments)]


class Caller:
    """Somebody who makes containers: root, root who gives them a user namespace, or an ordinary user."""

    def __init__(self, kind, machine, directory):
        self.kind = kind
        self.machine = machine
        if kind == "ordinary user":
            (directory / "of-user").mkdir()
            os.chown(directory / "of-user", UID, UID)
            self.machine = Ordinary(directory / "of-user/state", shutil.copy(machine.program, directory))

    def prepare(self, bundle):
        if self.kind == "user namespace":
            bundle.user_namespace()
        elif self.kind == "ordinary user":
            bundle.user_namespace(UID, 1)
            bundle.linux.pop("resources", None)
            for mount in bundle.config["mounts"]:
                mount["options"] = [one for one in mount.get("options", ()) if one != "gid=5"]


@pytest.fixture(params=["root", "user namespace", "ordinary user"])
def caller(request, machine, directory):
    if request.param == "ordinary user" and "pyrun" not in machine.program:
        pytest.skip("runc and crun ask for more of an ordinary user than these bundles have")
    caller = Caller(request.param, machine, directory)
    yield caller
    caller.machine.clean()


def run(machine, bundle):
    """Return what `run` shows, on a terminal if the bundle asks for one."""
    bundle.save()
    words = ("run", "--bundle", bundle.path, machine.new_id())
    return on_a_terminal(machine, words) if bundle.process["terminal"] else machine.pyrun(*words).stdout


def on_a_terminal(machine, words):
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as screen:
        machine.pyrun(*words, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        try:
            return screen.read(65536).decode(errors="replace")
        except OSError:  # EIO: nothing was written
            return ""


def create_and_start(machine, bundle):
    """Return what the container shows that `create` and `start` make."""
    bundle.save()
    id_ = machine.new_id()
    socket, options = None, []
    if bundle.process["terminal"]:
        socket = DescriptorSocket(bundle.path / "console")
        os.chmod(socket.path, 0o777)
        options = ["--console-socket", socket.path]
    with open(bundle.path / "output", "w") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        created = machine.pyrun("create", "--bundle", bundle.path, *options, id_, **streams)
    if socket:
        if created.returncode == 0:
            for fd in socket.receive()[1]:
                os.close(fd)
        socket.close()
    if created.returncode == 0 and machine.pyrun("start", id_).returncode == 0:
        wait_until(lambda: machine.state(id_)["status"] == "stopped")
    return (bundle.path / "output").read_text()


WAYS = {"run": run, "create and start": create_and_start}


@pytest.mark.falls("runc", "to CVE-2026-41579")
@pytest.mark.falls("crun", "to CVE-2026-88264")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_the_image_contains_leads_nowhere(caller, bundle, host, attack, way):
    attack(bundle, host)
    bundle.process["args"] = ["/bin/sh", "-c", READ]
    caller.prepare(bundle)

    shown = WAYS[way](caller.machine, bundle)

    assert "the host's" not in shown
    assert host.is_untouched()


@pytest.mark.only_pyrun("it is built from our sources")
@pytest.mark.parametrize("attack", NOTICED)
def test_a_build_that_follows_symlinks_out_of_the_root_is_noticed(machine, bundle, victim, follows_symlinks, attack):
    """The positive control."""
    machine.program = str(follows_symlinks)
    attack(bundle, victim)
    bundle.process["args"] = ["/bin/sh", "-c", READ]
    run(machine, bundle)

    with pytest.raises(AssertionError):
        victim.is_untouched()


def terminal_of_exec_is_elsewhere(bundle, victim):
    """R7: the container has moved its devpts away."""
    os.rename(bundle.rootfs / "dev/pts", bundle.rootfs / "dev/moved")
    make_symlink(bundle.rootfs / "dev/pts", victim.path)
    return ["--tty"], READ


def directory_of_exec_is_a_symlink(bundle, victim):
    """R3."""
    make_symlink(bundle.rootfs / "link", victim.path)
    return ["--cwd", "/link/new"], READ


def directory_of_exec_is_a_descriptor(bundle, victim):
    """R3: CVE-2024-21626."""
    make_symlink(bundle.rootfs / "link", f"/proc/self/fd/7/../..{victim.path}")
    return ["--cwd", "/link"], READ


def passwd_of_exec_is_a_symlink(bundle, victim):
    """R28, F22."""
    make_symlink(bundle.rootfs / "etc/passwd", victim.path / "passwd")
    return ["--user", "1"], READ


def program_of_exec_is_a_symlink(bundle, victim):
    """R25: CVE-2022-1227; the victim's program would say that it is the host's."""
    (victim.path / "secret").write_text("#!/bin/sh\necho the host's program\n")
    victim.look_again()
    make_symlink(bundle.rootfs / "bin/tool", victim.path / "secret")
    return [], "tool; true"


EXEC_ATTACKS = [
    terminal_of_exec_is_elsewhere,
    directory_of_exec_is_a_symlink,
    directory_of_exec_is_a_descriptor,
    passwd_of_exec_is_a_symlink,
    program_of_exec_is_a_symlink,
]


@pytest.mark.parametrize("attack", EXEC_ATTACKS)
def test_what_the_container_has_made_of_its_files_leads_exec_nowhere(caller, bundle, host, attack):
    bundle.without_mount("/dev", "/dev/shm", "/dev/mqueue")
    (bundle.rootfs / "dev").mkdir()
    bundle.process["args"] = ["/bin/sleep", "1000"]
    caller.prepare(bundle)
    bundle.save()
    machine, id_ = caller.machine, caller.machine.new_id()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    assert machine.pyrun("create", "--bundle", bundle.path, id_, **streams).returncode == 0
    assert machine.pyrun("start", id_).returncode == 0
    options, script = attack(bundle, host)
    words = ("exec", *options, id_, "/bin/sh", "-c", script)

    shown = on_a_terminal(machine, words) if "--tty" in options else machine.pyrun(*words).stdout

    assert "the host's" not in shown
    assert host.is_untouched()
