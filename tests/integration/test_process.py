"""The process of config.json: arguments, environment, directory, user, limits, privileges."""

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import TIMEOUT, wait_until, without_executable_memfds

pytestmark = pytest.mark.needs("root", "/bin/busybox")

ALL_KINDS = ("bounding", "effective", "inheritable", "permitted", "ambient")
EMPTY = "0" * 16
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def status_of(container):
    """Return /proc/PID/status as the container's program sees it; what is told of its privileges, the host sees too."""
    inside, outside = map(fields, container.both_sides("status"))
    for name in ("Uid", "Gid", "Groups", "Umask", "NoNewPrivs", *SETS):
        assert inside[name] == outside[name]
    return inside


def fields(text):
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def strings(container, name):
    """Return the strings of a file of /proc/PID that ends each with NUL, from the host."""
    return Path(f"/proc/{container.pid()}", name).read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.proves("process.args")
def test_arguments_arrive_as_they_are(container, bundle):
    arguments = ["a b", "", "-n", "\u00e9\U0001f600", "new\nline", "$HOME", "\\", "x" * 100_000]
    script = 'for one; do printf "%s\\0" "$one"; done; echo end; sleep 1000; :'
    bundle.process["args"] = ["sh", "-c", script, "sh", *arguments]
    container.run_detached()
    wait_until(lambda: container.output().endswith("end\n"), "the arguments are shown")

    assert container.output() == "".join(f"{one}\0" for one in arguments) + "end\n"
    assert strings(container, "cmdline") == bundle.process["args"]


@pytest.mark.proves("process.env")
def test_the_environment_is_exactly_the_configs(container, bundle):
    bundle.process["env"] = ["PATH=/bin", "HOME=/tmp", "A=1", "B=with = signs", "EMPTY="]
    bundle.process["args"] = ["sh", "-c", "env; echo end; sleep 1000; :"]
    container.run_detached()
    wait_until(lambda: container.output().endswith("end\n"), "the environment is shown")

    expected = ["A=1", "B=with = signs", "EMPTY=", "HOME=/tmp", "PATH=/bin"]
    own = ("PWD=/", "SHLVL=1", "end")  # the shell's
    assert sorted(one for one in container.output().splitlines() if one not in own) == expected
    assert sorted(strings(container, "environ")) == expected


def test_nothing_of_the_callers_environment_comes_in(container):
    assert "SECRET" not in container.run("env", env={**os.environ, "SECRET": "1"})


@pytest.mark.proves("process.env: HOME of the container's passwd")
def test_home_is_looked_up_in_the_containers_passwd(container, bundle):
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin"]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}

    assert container.sh("echo $HOME") == "/home/user"
    container.sleeping()
    assert "HOME=/home/user" in strings(container, "environ")


@pytest.mark.only_pyrun("crun 1.8 and runc 1.1 leave an empty HOME")
def test_an_empty_home_is_looked_up_too(container, bundle):
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin", "HOME="]

    assert container.sh("echo $HOME") == "/root"


@pytest.mark.proves("process.args: found in the container's PATH")
def test_the_program_is_searched_in_the_configs_path(container, bundle):
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/mine").write_text("#!/bin/sh\necho mine\nread line </proc/self/stat; sleep 1000\n")
    (bundle.rootfs / "opt/mine").chmod(0o755)
    bundle.process["env"] = ["PATH=/nowhere:/opt:/bin"]
    bundle.process["args"] = ["mine"]
    container.run_detached()
    wait_until(lambda: container.output() == "mine\n", "the program runs")

    assert strings(container, "cmdline") == ["/bin/sh", "/opt/mine"]


def test_a_program_by_a_relative_path_is_below_the_directory(container, bundle):
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/mine").write_text("#!/bin/sh\necho mine\n")
    (bundle.rootfs / "opt/mine").chmod(0o755)
    bundle.process["cwd"] = "/opt"

    assert container.run("./mine") == "mine\n"


@pytest.mark.proves("process.cwd")
def test_the_working_directory_is_the_configs(container, bundle):
    bundle.process["cwd"] = "/tmp"

    assert container.run("pwd") == "/tmp\n"
    container.sleeping()
    assert os.path.samefile(f"/proc/{container.pid()}/cwd", bundle.rootfs / "tmp")


@pytest.mark.proves("process.cwd: made where it is missing")
def test_a_working_directory_that_is_not_there_is_made(container, bundle):
    bundle.process["cwd"] = "/new/deep"

    assert container.run("pwd") == "/new/deep\n"
    container.sleeping()
    assert os.path.samefile(f"/proc/{container.pid()}/cwd", bundle.rootfs / "new/deep")


@pytest.mark.proves("process.user.uid", "process.user.gid", "process.user.additionalGids")
def test_user_and_groups_are_the_configs(container, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 2000, "additionalGids": [3000, 4000]}
    status = status_of(container)

    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["2000"] * 4
    assert status["Groups"].split() == ["3000", "4000"]


def test_the_callers_groups_are_lost(container):
    caller = {"extra_groups": [12345, 23456]}

    assert container.run("cat", "/proc/self/status", **caller).split("Groups:")[1].splitlines()[0].strip() == ""


@pytest.mark.proves("process.user.umask")
def test_the_umask_is_the_configs(container, bundle):
    bundle.process["user"] = {"uid": 0, "gid": 0, "umask": 0o027}

    assert container.sh("umask") == "0027"
    assert status_of(container)["Umask"] == "0027"


def test_the_umask_is_the_callers_by_default(container):
    assert container.sh("umask", umask=0o012) in ("0012", "0022")  # runc and crun have 0022 of their own


def test_there_are_no_capabilities_by_default(container, bundle):
    del bundle.process["capabilities"]
    status = status_of(container)

    assert [status[name] for name in SETS] == [EMPTY] * 5


@pytest.mark.proves("process.capabilities.inheritable", "process.capabilities.ambient")
@pytest.mark.parametrize("wanted", [["CAP_KILL"], ["CAP_CHOWN", "CAP_NET_RAW"], ["CAP_SETFCAP"]])
def test_all_five_capability_sets_are_the_configs(container, bundle, wanted):
    numbers = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_NET_RAW": 13, "CAP_SETFCAP": 31}
    bundle.process["capabilities"] = dict.fromkeys(ALL_KINDS, wanted)
    expected = f"{sum(1 << numbers[one] for one in wanted):016x}"
    status = status_of(container)

    assert [status[name] for name in SETS] == [expected] * 5


def bits(*names):
    numbers = {"CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_NET_RAW": 13}
    return f"{sum(1 << numbers[name] for name in names):016x}"


@pytest.mark.proves("process.capabilities.bounding", "process.capabilities.permitted")
def test_every_set_can_differ(container, bundle):
    """With no new privileges, what root gains by execve(2) is cut down to what was permitted before it."""
    bundle.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_SETGID", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_SETGID", "CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    }
    status = status_of(container)

    assert status["CapBnd"] == bits("CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_NET_RAW")
    assert status["CapPrm"] == bits("CAP_CHOWN", "CAP_SETGID", "CAP_NET_RAW")
    assert status["CapInh"] == bits("CAP_SETGID", "CAP_NET_RAW")
    assert status["CapAmb"] == bits("CAP_NET_RAW")


@pytest.mark.proves("process.capabilities.effective")
@pytest.mark.parametrize("effective", [["CAP_DAC_OVERRIDE"], []], ids=["effective", "not effective"])
def test_an_effective_capability_works_until_the_program_runs(container, bundle, effective):
    """Of another user than root execve(2) leaves none that is not ambient, but it is already the user's itself."""
    program = bundle.rootfs / "for-root-alone/busybox"
    program.parent.mkdir()
    shutil.copy(bundle.rootfs / "bin/busybox", program)
    program.chmod(0o700)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    kinds = ("bounding", "permitted")
    bundle.process["capabilities"] = {**dict.fromkeys(kinds, ["CAP_DAC_OVERRIDE"]), "effective": effective}
    bundle.process["args"] = ["/for-root-alone/busybox", "true"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert (result.returncode == 0) == bool(effective)


def test_another_user_has_only_ambient_capabilities(container, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    kinds = ("bounding", "effective", "inheritable", "permitted")
    bundle.process["capabilities"] = {**dict.fromkeys(kinds, ["CAP_KILL", "CAP_CHOWN"]), "ambient": ["CAP_KILL"]}

    assert status_of(container)["CapEff"] == f"{1 << 5:016x}"


@pytest.mark.differs("crun", "1.8 leaves them out in silence")
@pytest.mark.proves("process.capabilities: unknown ones are left out")
def test_an_unknown_capability_is_warned_of_and_left_out(container, bundle, tmp_path):
    bundle.process["capabilities"] = dict.fromkeys(ALL_KINDS, ["CAP_KILL", "CAP_UNHEARD_OF"])
    container.global_options = ["--log", tmp_path / "log"]
    status = status_of(container)

    assert [status[name] for name in SETS] == [bits("CAP_KILL")] * 5
    assert "CAP_UNHEARD_OF" in (tmp_path / "log").read_text()


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 fail there")
def test_a_capability_that_the_caller_lacks_is_not_given(container, bundle):
    bundle.process["capabilities"] = dict.fromkeys(ALL_KINDS[:4], ["CAP_CHOWN", "CAP_SYS_RESOURCE"])
    own = open("/proc/self/status").read().split("CapPrm:")[1].split()[0]
    expected = (1 << 0 | 1 << 24) & int(own, 16)

    assert status_of(container)["CapPrm"] == f"{expected:016x}"


@pytest.mark.proves("process.noNewPrivileges")
@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges_is_the_configs(container, bundle, wanted):
    bundle.process["noNewPrivileges"] = wanted

    assert status_of(container)["NoNewPrivs"] == str(int(wanted))


LIMITS = {
    "RLIMIT_NOFILE": ("Max open files", 100),
    "RLIMIT_CORE": ("Max core file size", 0),
    "RLIMIT_CPU": ("Max cpu time", 600),
    "RLIMIT_FSIZE": ("Max file size", 1 << 20),
    "RLIMIT_STACK": ("Max stack size", 1 << 20),
    "RLIMIT_AS": ("Max address space", 1 << 30),
    "RLIMIT_DATA": ("Max data size", 1 << 28),
    "RLIMIT_MEMLOCK": ("Max locked memory", 4096),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 4096),
    "RLIMIT_NPROC": ("Max processes", 512),
    "RLIMIT_SIGPENDING": ("Max pending signals", 100),
    "RLIMIT_LOCKS": ("Max file locks", 100),
    "RLIMIT_NICE": ("Max nice priority", 0),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0),
    "RLIMIT_RTTIME": ("Max realtime timeout", 100000),
    "RLIMIT_RSS": ("Max resident set", 1 << 30),
}


def limits_of(text, type_):
    """Return (soft, hard) of what /proc/PID/limits says."""
    return next(tuple(one[26:].split()[:2]) for one in text.splitlines() if one.startswith(LIMITS[type_][0]))


@pytest.mark.parametrize(
    "type_", [pytest.param(one, marks=pytest.mark.proves(f"process.rlimits[].type={one}")) for one in LIMITS]
)
def test_every_limit_can_be_lowered(container, bundle, type_):
    value = LIMITS[type_][1]
    bundle.process["rlimits"] = [{"type": type_, "soft": value, "hard": value}]
    inside, outside = container.both_sides("limits")

    assert limits_of(inside, type_) == limits_of(outside, type_) == (str(value), str(value))


@pytest.mark.differs("crun", "1.8 needs more descriptors after it has set the limit")
def test_a_limit_may_be_lower_than_the_runtimes_own_needs(container, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 8, "hard": 8}]

    assert container.sh("ulimit -Hn") == "8"


@pytest.mark.proves("process.rlimits[].soft", "process.rlimits[].hard")
def test_soft_and_hard_limits_can_differ(container, bundle):
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]

    assert container.sh("ulimit -Sn; ulimit -Hn") == "100\n200"
    container.sleeping()
    assert limits_of(container.proc("limits"), "RLIMIT_NOFILE") == ("100", "200")


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


@pytest.mark.proves("process.oomScoreAdj")
def test_the_oom_score_is_the_configs(container, bundle):
    bundle.process["oomScoreAdj"] = 500

    assert container.both_sides("oom_score_adj") == ("500\n", "500\n")


def test_the_oom_score_of_the_caller_stays_as_it_is(container, bundle):
    bundle.process["oomScoreAdj"] = 500
    container.run("true")

    assert open("/proc/self/oom_score_adj").read() != "500\n"


def test_signals_have_their_defaults(container):
    status = fields(container.run("cat", "/proc/self/status"))

    assert (status["SigIgn"], status["SigBlk"]) == (EMPTY, EMPTY)


def test_only_the_standard_streams_are_open(container):
    assert container.sh("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # and that of ls itself


@pytest.mark.needs("/proc/sys/vm/memfd_noexec")
@pytest.mark.only_pyrun("its own fallback")
def test_only_the_standard_streams_are_open_if_python_replaces_the_stub(container, bundle):
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


@pytest.mark.differs("crun", "1.8 hands on all of them")
def test_of_several_entries_with_one_name_the_last_is_the_environment_s(container, bundle):
    bundle.process["env"] = ["PATH=/nowhere", "NAME=1", "HOME=/x", "NAME=2=3", "PATH=/bin", "OTHER="]

    assert container.run("env").split() == ["PATH=/bin", "NAME=2=3", "HOME=/x", "OTHER="]


@pytest.mark.parametrize("env", [["HOME="], ["HOME=/x", "HOME="], []])
def test_a_home_that_is_empty_in_the_end_is_looked_up(container, bundle, env):
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/of-root:/bin/sh\n")
    bundle.process["env"] = ["PATH=/bin", *env]

    assert "HOME=/of-root" in container.run("env").split()


@pytest.mark.only_pyrun("the wording is pyrun's own; runc warns as well")
def test_a_capability_that_cannot_be_ambient_is_warned_of(container, bundle):
    bundle.process["capabilities"]["ambient"] = ["CAP_KILL"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.returncode == 0
    assert "process.capabilities.ambient: 'CAP_KILL' cannot be raised" in result.stderr
