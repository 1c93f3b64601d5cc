"""explain tells what create does: each of its parts is compared with what a real container then is."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import TIMEOUT, cgroups_named, mounts_below

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox"),
    pytest.mark.only_pyrun("explain is pyrun's own"),
]


def explained(container):
    """Return the lines of `explain` by the title of their section."""
    text = container.works("explain", "--bundle", container.bundle.path)
    sections = {}
    for part in text.split("\n\n")[1:]:
        title, *lines = part.rstrip("\n").split("\n")
        sections[title] = [line.removeprefix("    ") for line in lines]
    return sections


def section(container, beginning):
    return next(lines for title, lines in explained(container).items() if title.startswith(beginning))


def test_nothing_is_done(container, bundle):
    before = sorted(os.listdir(bundle.rootfs))
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/touch", "args": ["touch", f"{bundle.path}/touched"]}]}
    explained(container)

    assert not container.root.exists()
    assert cgroups_named("ID") == []
    assert mounts_below(bundle.path) == []
    assert sorted(os.listdir(bundle.rootfs)) == before
    assert not (bundle.path / "touched").exists()


def test_the_limits_are_what_the_cgroup_then_has(container, bundle):
    bundle.resources["pids"] = {"limit": 100}
    bundle.resources["memory"] = {"limit": 64 << 20}
    bundle.resources["cpu"] = {"quota": 50000, "period": 100000}
    limits = [line.split(" = ") for line in section(container, "limit resources") if " = " in line]
    container.sleeping()
    values = {file: Path(re.sub(r"/ID/", f"/{container.id}/", file)).read_text().strip() for file, _ in limits}

    assert len(limits) >= 3
    assert values == dict(limits)


def test_the_mounts_are_those_of_the_container_in_their_order(container, bundle):
    bundle.mount("/tmp", "tmpfs", "tmpfs", "ro", "nosuid", "size=1m")
    bundle.mount("/mnt/etc", "bind", "/etc", "ro", "private")
    explained_mounts = section(container, "mount")[1:]
    mountinfo = container.run("cat", "/proc/self/mountinfo").splitlines()
    points = [line.split()[4] for line in mountinfo if line.split()[4] != "/"]
    by_point = {line.split()[4]: line.split()[5].split(",") for line in mountinfo}

    destinations = [re.search(r" at ([^,]+)", line)[1] for line in explained_mounts]
    assert destinations == points[: len(destinations)]
    for destination, line in zip(destinations, explained_mounts):
        words = set(line.split(", ")[1:]) & {"ro", "nosuid", "nodev", "noexec", "noatime"}
        assert words <= set(by_point[destination])


def test_a_service_s_caller_sees_the_mount_of_the_notify_socket(container, monkeypatch):
    before = explained(container)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    after = explained(container)

    assert [line for line in after["mount"] if line not in before["mount"]] == [
        f"mount bind {container.root}/ID/notify at /run/notify, ro, nosuid, nodev, noexec"
    ]


def test_the_devices_are_those_of_the_container(container, bundle):
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "gid": 7}]
    told = section(container, "make devices")
    found = container.sh("cd /dev; for i in *; do [ -L $i ] || [ -c $i ] && stat -c '%A %t:%T %u:%g %n' $i; done")

    assert "/dev/mine crw------- 1:3, of 0:7" in told
    nodes = {line.split()[0] for line in told if "->" not in line}
    assert nodes <= {f"/dev/{line.split()[-1]}" for line in found.splitlines()}
    assert "crw------- 1:3 0:7 mine" in found


@pytest.mark.needs("strace")
def test_the_stub_makes_these_system_calls(container, bundle, tmp_path):
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    rows = section(container, "carry out the stub's table")
    told = []
    for row in rows:
        if row.endswith("only if the runtime was killed"):
            continue
        times = re.search(r"\((\d+) of these\)", row)
        told += [row.split("(")[0]] * (int(times[1]) if times else 1)
    command = ["strace", "-f", "-o", tmp_path / "trace", *container.command("run", "-b", bundle.path, container.id)]
    subprocess.run(command, check=True, timeout=TIMEOUT)

    assert calls_of_the_stub((tmp_path / "trace").read_text()) == told


def calls_of_the_stub(trace):
    """Return the calls of the process that became the ELF, from there to its program."""
    lines = [line.split(None, 1) for line in trace.splitlines()]
    pid = next(pid for pid, call in lines if call.startswith("execveat("))
    own = [call for number, call in lines if number == pid and not call.startswith(("<...", "---"))]
    begin = next(i for i, call in enumerate(own) if call.startswith("execveat(")) + 1
    names = [call.split("(")[0] for call in own[begin:]]
    return names[: names.index("execve") + 1]


def test_a_config_that_create_refuses_is_refused_with_the_same_words(container, bundle):
    bundle.config["hostname"] = "x" * 100
    refusal = container.fails("create", "--bundle", bundle.path, container.id)

    assert container.fails("explain", "--bundle", bundle.path) == refusal


def test_the_filter_is_summed_up(container, bundle):
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    told = section(container, "load the seccomp filter")

    assert "SCMP_ACT_ALLOW: 3 call(s): read write execve" in told
    assert "by arguments: 1 call(s): personality" in told
    assert any(line.startswith("SCMP_ACT_ERRNO(Operation not permitted): ") for line in told)


def test_the_rest_is_told_by_its_names(container, bundle):
    bundle.user_namespace()
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/true", "timeout": 5}]}
    bundle.linux["maskedPaths"] = ["/proc/kcore"]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    text = "\n".join(line for lines in explained(container).values() for line in lines)

    for line in (
        "uid 0 to 65535 are the host's 100000 to 165535",
        "new   user",
        "poststop: /bin/true, at most 5 s",
        "hide      /proc/kcore",
        "sysctl net.ipv4.ip_forward = 1",
        "hostname box",
        "effective capabilities: KILL NET_BIND_SERVICE AUDIT_WRITE",
    ):
        assert line in text


def test_an_unprivileged_user_is_told_what_goes_without_privileges(container, bundle, tmp_path):
    bundle.user_namespace(host_id=65534, size=1)
    bundle.save()
    for directory in (tmp_path, bundle.path):
        directory.chmod(0o755)
    own = shutil.copy(container.runtime, "/var/tmp")
    try:
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        command = [*nobody, own, "explain", "--bundle", bundle.path]
        told = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    finally:
        os.unlink(own)

    assert (told.returncode, told.stderr) == (0, "")
    assert "make cgroups" not in told.stdout  # which this user may not
    assert "deny" not in told.stdout
