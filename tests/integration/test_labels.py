"""process.apparmorProfile, process.selinuxLabel, linux.mountLabel, under a kernel that enforces a policy of the test's.

test_security_modules.py runs these tests in virtual machines: no kernel has both modules at work, and many have none.
"""

import os
import subprocess
from pathlib import Path

import machine
import pytest
from harness import TIMEOUT, without_executable_memfds

pytestmark = pytest.mark.needs("root", "/bin/busybox")

PROFILES = """
profile pyrun-test flags=(attach_disconnected) {
  file, capability, network, signal, unix, mount, ptrace,
  deny /**/forbidden w,
}
profile pyrun-other flags=(attach_disconnected) { file, capability, signal, }
"""

# A policy that knows three classes, and allows what it does not know (checkpolicy -U allow).
POLICY = """
class process
class file
class dir
sid kernel
sid security
sid unlabeled
sid fs
sid file
sid file_labels
sid init
sid any_socket
sid port
sid netif
sid netmsg
sid node
sid igmp_packet
sid icmp_socket
sid tcp_socket
sid sysctl_modprobe
sid sysctl
sid sysctl_fs
sid sysctl_kernel
sid sysctl_net
sid sysctl_net_unix
sid sysctl_vm
sid sysctl_dev
sid kmod
sid policy
sid scmp_packet
sid devnull
class process { transition dyntransition }
class file { entrypoint }
class dir { reparent }
policycap nnp_nosuid_transition;
type base_t;
type container_t;
type strange_t;
role base_r;
role base_r types { base_t container_t strange_t };
allow base_t { base_t container_t }:process { transition dyntransition };
allow { base_t container_t } base_t:file entrypoint;
allow { base_t container_t } { base_t container_t }:dir reparent;
user test_u roles { base_r };
"""
LABEL = "test_u:base_r:container_t"
FILE_LABEL = "test_u:object_r:container_t"


def policy():
    sids = [line.split()[1] for line in POLICY.splitlines() if line.startswith("sid ")]
    contexts = [f"sid {sid} test_u:{'base_r' if sid in ('kernel', 'init') else 'object_r'}:base_t" for sid in sids]
    file_systems = [f"fs_use_trans {type_} test_u:object_r:base_t;" for type_ in ("tmpfs", "devpts", "mqueue")]
    return POLICY + "\n".join([*contexts, *file_systems, "genfscon proc / test_u:object_r:base_t"]) + "\n"


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory):
    """The policy of whichever module this kernel has, at work."""
    directory = tmp_path_factory.mktemp("policy")
    if not machine.lacks("AppArmor"):
        (directory / "profiles").write_text(PROFILES)
        subprocess.run(["apparmor_parser", "--replace", "--skip-cache", directory / "profiles"], check=True)
    if not machine.lacks("SELinux"):
        if not os.path.exists("/sys/fs/selinux/enforce"):
            subprocess.run(["mount", "-t", "selinuxfs", "selinuxfs", "/sys/fs/selinux"], check=True)
        (directory / "policy.conf").write_text(policy())
        compiled = directory / "policy"
        subprocess.run(["checkpolicy", "-U", "allow", "-o", compiled, directory / "policy.conf"], check=True)
        Path("/sys/fs/selinux/load").write_bytes(compiled.read_bytes())
        Path("/sys/fs/selinux/enforce").write_text("1")


def label_of(pid):
    return Path(f"/proc/{pid}/attr/current").read_text().rstrip("\0\n")


apparmor = pytest.mark.needs("AppArmor", "apparmor_parser")
selinux = pytest.mark.needs("SELinux", "checkpolicy")


@apparmor
def test_the_program_runs_under_its_profile(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"

    assert container.sh("cat /proc/self/attr/current") == "pyrun-test (enforce)"


@apparmor
@pytest.mark.proves("process.apparmorProfile")
def test_the_host_sees_the_profile_and_what_it_forbids_is_forbidden(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"
    container.sleeping()

    assert label_of(container.pid()) == "pyrun-test (enforce)"
    assert container.exec("cat", "/proc/1/attr/current") == "pyrun-test (enforce)\n"
    assert container.call("exec", container.id, "touch", "/tmp/forbidden").returncode == 1
    container.exec("touch", "/tmp/allowed")


@apparmor
def test_a_created_container_is_not_started_before_it_has_its_profile(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"
    bundle.process["args"] = ["cat", "/proc/self/attr/current"]
    container.create().start().wait_until("stopped")

    assert container.output() == "pyrun-test (enforce)\n"


@apparmor
def test_exec_takes_the_profile_of_the_container_or_its_own(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"
    container.sleeping()
    command = ["cat", "/proc/self/attr/current"]

    assert container.exec(*command) == "pyrun-test (enforce)\n"
    assert container.exec(*command, options=["--apparmor", "pyrun-other"]) == "pyrun-other (enforce)\n"


@apparmor
@pytest.mark.parametrize("how", ["user", "joined pid", "host pid", "no proc", "no user privileges"])
def test_a_profile_does_not_depend_on_the_containers_own_proc(new_container, how):
    container = new_container()
    bundle = container.bundle
    bundle.process["apparmorProfile"] = "pyrun-test"
    if how == "user":
        bundle.user_namespace()
    if how == "joined pid":
        other = new_container().sleeping()
        bundle.namespace("pid", f"/proc/{other.pid()}/ns/pid")
    if how == "host pid":
        bundle.without_namespace("pid")
    if how == "no proc":
        bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["type"] != "proc"]
    if how == "no user privileges":
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
        bundle.process["capabilities"] = {}
    container.sleeping()

    assert label_of(container.pid()) == "pyrun-test (enforce)"
    container.exec("true")


@apparmor
@pytest.mark.needs("/proc/sys/vm/memfd_noexec")
def test_python_writes_the_profile_if_it_replaces_the_stub(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"
    bundle.process["args"] = ["cat", "/proc/self/attr/current"]
    bundle.save()
    command = without_executable_memfds(*container.command("run", "--bundle", bundle.path, container.id))
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert (result.stdout, result.stderr) == ("pyrun-test (enforce)\n", "")


@apparmor
def test_masked_paths_in_a_user_namespace_do_not_keep_exec_from_its_profile(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"
    bundle.user_namespace()
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/sys"]
    container.sleeping()

    assert container.exec("cat", "/proc/self/attr/current") == "pyrun-test (enforce)\n"


@apparmor
def test_a_file_that_looks_like_the_attribute_is_not_written(container, bundle, tmp_path):
    """CVE-2019-16884: an image with a /proc of its own."""
    bundle.process["apparmorProfile"] = "pyrun-test"
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["type"] != "proc"]
    fakes = [bundle.rootfs / "proc" / name / "attr" for name in ("self", "thread-self", "1")]
    for fake in fakes:
        (fake / "apparmor").mkdir(parents=True)
        (fake / "exec").touch()
        (fake / "apparmor/exec").touch()
    container.sleeping()

    assert label_of(container.pid()) == "pyrun-test (enforce)"
    assert all((fake / "exec").stat().st_size == (fake / "apparmor/exec").stat().st_size == 0 for fake in fakes)


@apparmor
def test_a_profile_that_is_not_loaded_is_an_error_of_create(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-missing"
    message = container.fails("create", "--bundle", bundle.path, container.id)

    assert "pyrun-missing" in message or container.name != "pyrun"
    assert not container.exists()


@apparmor
def test_a_hook_in_the_container_runs_under_the_profile_too(container, bundle):
    bundle.process["apparmorProfile"] = "pyrun-test"
    script = "cat /proc/self/attr/current > /tmp/label"
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    container.run("true")

    assert (bundle.rootfs / "tmp/label").read_text() == "pyrun-test (enforce)\n"


@pytest.mark.skipif(not machine.lacks("AppArmor"), reason="this machine has AppArmor")
@pytest.mark.parametrize("name, module", [("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")])
def test_a_label_for_a_module_that_is_not_there_is_refused_by_name(container, bundle, name, module):
    if not machine.lacks(module):
        pytest.skip(f"this machine has {module}")
    bundle.process[name] = "a:b:c"
    message = container.run_fails("true")

    assert name in message and module in message or container.name != "pyrun"


@pytest.mark.skipif(not machine.lacks("AppArmor"), reason="this machine has AppArmor")
def test_unconfined_needs_no_apparmor(container, bundle):
    bundle.process["apparmorProfile"] = "unconfined"
    if container.name != "pyrun":
        pytest.skip("runc and crun write the profile whatever it is")

    container.run("true")


@pytest.mark.skipif(not machine.lacks("SELinux"), reason="this machine has SELinux")
@pytest.mark.differs("crun", "1.8 ignores it")
def test_a_mount_label_without_selinux_is_refused_by_name(container, bundle):
    bundle.linux["mountLabel"] = FILE_LABEL
    message = container.run_fails("true")

    assert "linux.mountLabel: SELinux is not enabled" in message or container.name != "pyrun"


@selinux
def test_the_program_runs_under_its_label(container, bundle):
    bundle.process["selinuxLabel"] = LABEL

    assert container.sh("cat /proc/self/attr/current").rstrip("\0") == LABEL


@selinux
@pytest.mark.proves("process.selinuxLabel")
def test_exec_takes_the_label_of_the_container_or_its_own(container, bundle):
    bundle.process["selinuxLabel"] = LABEL
    container.sleeping()
    command = ["cat", "/proc/self/attr/current"]

    assert label_of(container.pid()) == LABEL
    assert container.exec("cat", "/proc/1/attr/current").rstrip("\0\n") == LABEL
    assert container.exec(*command).rstrip("\0\n") == LABEL
    own = "test_u:base_r:base_t"
    assert container.exec(*command, options=["--process-label", own]).rstrip("\0\n") == own


@selinux
@pytest.mark.parametrize("label", ["test_u:base_r:strange_t", "no:such:label"])
def test_a_label_that_the_policy_does_not_allow_is_an_error(container, bundle, label):
    bundle.process["selinuxLabel"] = label

    container.run_fails("true")
    assert not container.exists()


@selinux
def test_the_keyring_has_the_label_of_the_process(container, bundle):
    bundle.process["selinuxLabel"] = LABEL
    for path in ("/usr", "/lib", "/lib64"):
        bundle.mount(path, "bind", path, "ro")
    # keyctl(2): KEYCTL_GET_SECURITY of KEY_SPEC_SESSION_KEYRING, which is not another process's to ask for.
    call = "from ctypes import *; b = create_string_buffer(99); CDLL(None).syscall(250, 17, -3, b, 99); print(b.value)"

    assert container.run("/usr/bin/python3", "-c", call) == f"{LABEL.encode()}\n"


@selinux
@pytest.mark.proves("linux.mountLabel")
def test_what_is_mounted_for_the_container_has_the_mount_label(container, bundle):
    bundle.process["selinuxLabel"] = LABEL
    bundle.linux["mountLabel"] = FILE_LABEL
    bundle.linux["maskedPaths"] = ["/proc/sys"]
    bundle.mount("/dev/mqueue", "mqueue", "mqueue")
    bundle.mount("/tmp", "tmpfs", "tmpfs", "mode=1777")
    inside = container.look("cat /proc/mounts").splitlines()
    root = f"/proc/{container.pid()}/root"
    labels = {
        path: os.getxattr(f"{root}{path}", "security.selinux").rstrip(b"\0").decode()
        for path in ("/dev", "/dev/pts", "/dev/mqueue", "/tmp", "/proc/sys", "/proc")
    }

    assert labels.pop("/proc") != FILE_LABEL
    assert labels == dict.fromkeys(labels, FILE_LABEL)
    for path in ("/dev", "/dev/pts", "/tmp"):
        (options,) = [line.split()[3] for line in inside if line.split()[1] == path]
        assert f"context={FILE_LABEL}" in options
