"""A system call that fails is named in the error, with what it was about and, if there is one, the way out."""

import os
import re

import pytest

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "strace"),
    pytest.mark.only_pyrun("the wording is pyrun's own"),
]


def failing(call, error):
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}"]


@pytest.mark.parametrize(
    "call, error, words",
    [
        ("clone3", "EPERM", "Operation not permitted: it needs root (CAP_SYS_ADMIN), or a user namespace"),
        ("clone3", "ENOSYS", "Function not implemented: the kernel lacks it, or the seccomp profile"),
        ("clone3", "ENOSPC", "No space left on device: too many namespaces: see the limits user.max_*_namespaces"),
        ("pivot_root", "EINVAL", "Invalid argument"),
        ("move_mount", "EPERM", "Operation not permitted"),
        ("fsopen", "ENOSYS", "proc: Function not implemented"),
        ("fsmount", "EPERM", "Operation not permitted"),
        ("sethostname", "EPERM", "Operation not permitted"),
        ("setgroups", "EPERM", "Operation not permitted"),
        ("umount2", "EPERM", ".: Operation not permitted"),
    ],
)
def test_the_call_that_fails_is_named(container, call, error, words):
    container.prefix = failing(call, error)

    message = container.run_fails("true")

    assert re.search(rf"\b{call}:? ?{re.escape(words)}", message), message
    assert os.listdir(container.root) == []
    assert container.cgroups() == []


def test_a_mount_that_fails_is_named_with_its_place(container):
    container.prefix = failing("fsmount", "EPERM")

    message = container.run_fails("true")

    assert message == 'error: error mounting "proc" to rootfs at "/proc": fsmount: Operation not permitted'


def test_an_attribute_of_a_mount_that_cannot_be_set_is_named_with_its_place(container, bundle, tmp_path):
    bundle.mount("/mnt", "bind", str(tmp_path), "bind", "ro")
    container.prefix = failing("mount_setattr", "ENOMEM")

    message = container.run_fails("true")

    assert message.endswith('to rootfs at "/mnt": mount_setattr: Cannot allocate memory'), message


def test_an_error_of_the_directory_of_the_pid_file_is_told(container, tmp_path):
    """Only a file system without O_TMPFILE lets the file be written in another way."""
    directory = tmp_path / "pids"
    directory.mkdir()
    container.prefix = [*failing("openat", "EIO"), "-P", str(directory)]

    message = container.run_fails("true", options=["--pid-file", directory / "pid"])
    container.prefix = [*failing("openat", "EOPNOTSUPP"), "-P", str(directory)]
    container.run("true", options=["--pid-file", directory / "pid"])

    assert message == f"error: {directory}/pid: Input/output error"
    assert os.listdir(directory) == ["pid"]


@pytest.mark.parametrize("verb", [("delete", "--force"), ("kill",), ("wait",)])
def test_an_init_that_cannot_be_opened_is_not_taken_for_ended(container, verb):
    container.sleeping()
    container.prefix = failing("pidfd_open", "EMFILE")

    message = container.fails(*verb, container.id)
    container.prefix = []

    assert message == "error: pidfd_open: Too many open files"
    assert container.status() == "running"


def test_a_failure_under_the_lock_gives_that_back(container, bundle):
    """The undo steps of the same command take the lock again."""
    bundle.process["args"] = ["sleep", "1000"]
    container.prefix = [*failing("newfstatat,fstat", "EIO:when=1"), "-P", str(container.root / container.id)]

    message = container.fails("run", "--detach", "--bundle", bundle.path, container.id)

    assert message == "error: fstat: Input/output error"
    assert os.listdir(container.root) == []
    assert container.cgroups() == []
