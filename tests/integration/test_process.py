"""The process of config.json: arguments, environment, directory, user, limits, privileges."""

import os
import resource
import subprocess

import pytest
from harness import TIMEOUT, without_executable_memfds

pytestmark = pytest.mark.needs("root", "/bin/busybox")

ALL_KINDS = ("bounding", "effective", "inheritable", "permitted", "ambient")
EMPTY = "0" * 16


def status_of(container):
    """Return /proc/self/status as the container's program sees it."""
    lines = container.run("cat", "/proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_arguments_arrive_as_they_are(container):
    arguments = ["a b", "", "-n", "\u00e9\U0001f600", "new\nline", "$HOME", "\\", "x" * 100_000]

    output = container.run("sh", "-c", 'for one; do printf "%s\\0" "$one"; done', "sh", *arguments)

    assert output.encode("utf-8", "surrogateescape") == "".join(f"{one}\0" for one in arguments).encode()


def test_the_environment_is_exactly_the_configs(container, bundle):
    bundle.process["env"] = ["PATH=/bin", "HOME=/tmp", "A=1", "B=with = signs", "EMPTY="]

    assert sorted(container.run("env").splitlines()) == ["A=1", "B=with = signs", "EMPTY=", "HOME=/tmp", "PATH=/bin"]


def test_nothing_of_the_callers_environment_comes_in(container):
    assert "SECRET" not in container.run("env", env={**os.environ, "SECRET": "1"})


def test_home_is_looked_up_in_the_containers_passwd(container, bundle):
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin"]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}

    assert container.sh("echo $HOME") == "/home/user"


@pytest.mark.only_pyrun("crun 1.8 and runc 1.1 leave an empty HOME")
def test_an_empty_home_is_looked_up_too(container, bundle):
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin", "HOME="]

    assert container.sh("echo $HOME") == "/root"


def test_the_program_is_searched_in_the_configs_path(container, bundle):
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/mine").write_text("#!/bin/sh\necho mine\n")
    (bundle.rootfs / "opt/mine").chmod(0o755)
    bundle.process["env"] = ["PATH=/nowhere:/opt:/bin"]

    assert container.run("mine") == "mine\n"


def test_a_program_by_a_relative_path_is_below_the_directory(container, bundle):
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/mine").write_text("#!/bin/sh\necho mine\n")
    (bundle.rootfs / "opt/mine").chmod(0o755)
    bundle.process["cwd"] = "/opt"

    assert container.run("./mine") == "mine\n"


def test_the_working_directory_is_the_configs(container, bundle):
    bundle.process["cwd"] = "/tmp"

    assert container.run("pwd") == "/tmp\n"


def test_a_working_directory_that_is_not_there_is_made(container, bundle):
    bundle.process["cwd"] = "/new/deep"

    assert container.run("pwd") == "/new/deep\n"


def test_user_and_groups_are_the_configs(container, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 2000, "additionalGids": [3000, 4000]}
    status = status_of(container)

    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["2000"] * 4
    assert status["Groups"].split() == ["3000", "4000"]


def test_the_callers_groups_are_lost(container):
    caller = {"extra_groups": [12345, 23456]}

    assert container.run("cat", "/proc/self/status", **caller).split("Groups:")[1].splitlines()[0].strip() == ""


def test_the_umask_is_the_configs(container, bundle):
    bundle.process["user"] = {"uid": 0, "gid": 0, "umask": 0o027}

    assert container.sh("umask") == "0027"


def test_the_umask_is_the_callers_by_default(container):
    assert container.sh("umask", umask=0o012) in ("0012", "0022")  # runc and crun have 0022 of their own


def test_there_are_no_capabilities_by_default(container, bundle):
    del bundle.process["capabilities"]
    status = status_of(container)

    assert [status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [EMPTY] * 5


@pytest.mark.parametrize("wanted", [["CAP_KILL"], ["CAP_CHOWN", "CAP_NET_RAW"], ["CAP_SETFCAP"]])
def test_all_five_capability_sets_are_the_configs(container, bundle, wanted):
    numbers = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_NET_RAW": 13, "CAP_SETFCAP": 31}
    bundle.process["capabilities"] = dict.fromkeys(ALL_KINDS, wanted)
    expected = f"{sum(1 << numbers[one] for one in wanted):016x}"
    status = status_of(container)

    assert [status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [expected] * 5


def test_sets_can_differ(container, bundle):
    bundle.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL"],
        "permitted": ["CAP_CHOWN"],
        "effective": ["CAP_CHOWN"],
    }
    status = status_of(container)

    assert [status[f"Cap{kind}"] for kind in ("Bnd", "Inh", "Amb")] == [f"{1 << 0 | 1 << 5:016x}", EMPTY, EMPTY]


def test_another_user_has_only_ambient_capabilities(container, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    kinds = ("bounding", "effective", "inheritable", "permitted")
    bundle.process["capabilities"] = {**dict.fromkeys(kinds, ["CAP_KILL", "CAP_CHOWN"]), "ambient": ["CAP_KILL"]}

    assert status_of(container)["CapEff"] == f"{1 << 5:016x}"


def test_a_capability_that_the_caller_lacks_is_not_given(container, bundle):
    bundle.process["capabilities"] = dict.fromkeys(ALL_KINDS[:4], ["CAP_CHOWN", "CAP_SYS_RESOURCE"])
    own = open("/proc/self/status").read().split("CapPrm:")[1].split()[0]
    expected = (1 << 0 | 1 << 24) & int(own, 16)

    assert status_of(container)["CapPrm"] == f"{expected:016x}"


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges_is_the_configs(container, bundle, wanted):
    bundle.process["noNewPrivileges"] = wanted

    assert status_of(container)["NoNewPrivs"] == str(int(wanted))


@pytest.mark.parametrize(
    "type_, line, value",
    [
        ("RLIMIT_NOFILE", "Max open files", 100),
        ("RLIMIT_NOFILE", "Max open files", 8),
        ("RLIMIT_CORE", "Max core file size", 0),
        ("RLIMIT_CPU", "Max cpu time", 600),
        ("RLIMIT_FSIZE", "Max file size", 1 << 20),
        ("RLIMIT_STACK", "Max stack size", 1 << 20),
        ("RLIMIT_AS", "Max address space", 1 << 30),
        ("RLIMIT_DATA", "Max data size", 1 << 28),
        ("RLIMIT_MEMLOCK", "Max locked memory", 4096),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size", 4096),
        ("RLIMIT_NPROC", "Max processes", 512),
        ("RLIMIT_SIGPENDING", "Max pending signals", 100),
        ("RLIMIT_LOCKS", "Max file locks", 100),
        ("RLIMIT_NICE", "Max nice priority", 0),
        ("RLIMIT_RTPRIO", "Max realtime priority", 0),
        ("RLIMIT_RTTIME", "Max realtime timeout", 100000),
        ("RLIMIT_RSS", "Max resident set", 1 << 30),
    ],
)
def test_every_limit_can_be_lowered(container, bundle, type_, line, value):
    bundle.process["rlimits"] = [{"type": type_, "soft": value, "hard": value}]
    limits = container.run("cat", "/proc/self/limits")

    assert next(one for one in limits.splitlines() if one.startswith(line))[26:].split()[:2] == [str(value)] * 2


def test_soft_and_hard_limits_can_differ(container, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]

    assert container.sh("ulimit -Sn; ulimit -Hn") == "100\n200"


@pytest.mark.needs("CAP_SYS_RESOURCE")
def test_a_limit_can_be_raised(container, bundle):
    hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[1] + 1
    bundle.process["rlimits"] = [{"type": "RLIMIT_MSGQUEUE", "soft": hard, "hard": hard}]

    assert f"Max msgqueue size {hard} {hard} bytes" in " ".join(container.run("cat", "/proc/self/limits").split())


def test_a_limit_that_cannot_be_raised_is_named(container, bundle):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": hard, "hard": hard}]
    bundle.process["args"] = ["true"]
    result = container.call("run", "--bundle", bundle.path, container.id)
    if result.returncode == 0:
        pytest.skip("this machine's root may raise it")

    assert "RLIMIT_NOFILE" in result.stderr or container.name != "pyrun"
    assert not container.exists()


def test_the_oom_score_is_the_configs(container, bundle):
    bundle.process["oomScoreAdj"] = 500

    assert container.run("cat", "/proc/self/oom_score_adj") == "500\n"


def test_the_oom_score_of_the_caller_stays_as_it_is(container, bundle):
    bundle.process["oomScoreAdj"] = 500
    container.run("true")

    assert open("/proc/self/oom_score_adj").read() != "500\n"


def test_signals_have_their_defaults(container):
    status = status_of(container)

    assert (status["SigIgn"], status["SigBlk"]) == (EMPTY, EMPTY)


def test_only_the_standard_streams_are_open(container):
    assert container.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # and that of ls itself


@pytest.mark.needs("/proc/sys/vm/memfd_noexec")
@pytest.mark.only_pyrun("its own fallback")
def test_only_the_standard_streams_are_open_where_python_is_the_last_mile(container, bundle):
    bundle.process["args"] = ["sh", "-c", "ls /proc/$$/fd; true"]
    bundle.save()
    command = without_executable_memfds(*container.command("run", "--bundle", bundle.path, container.id))
    leak = ["sh", "-c", 'exec 3</ 4</ 5</ 6</ 7</ 8</ 9</; exec "$@"', "sh", *command]
    result = subprocess.run(leak, capture_output=True, text=True, timeout=TIMEOUT)

    assert (result.stdout.split(), result.stderr) == (["0", "1", "2"], "")


def test_descriptors_of_the_caller_do_not_leak(container):
    with open("/etc/hostname") as file:
        listed = container.sh("ls -l /proc/self/fd", pass_fds=[file.fileno()])

    assert "/etc/hostname" not in listed


def test_descriptors_to_preserve_keep_their_numbers(container, bundle, tmp_path):
    (tmp_path / "given").write_text("given")
    bundle.process["args"] = ["cat", "/proc/self/fd/3"]
    bundle.save()
    command = " ".join(container.command("run", "--preserve-fds", "1", "--bundle", bundle.path, container.id))
    result = subprocess.run(["sh", "-c", f"exec 3<{tmp_path}/given; exec {command}"], capture_output=True, text=True)

    assert result.stdout == "given"
