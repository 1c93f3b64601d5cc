"""Capabilities, groups and ids: never more than the config says (CVE-2016-8867, CVE-2022-27650, CVE-2022-2989)."""

import os
from pathlib import Path

import pytest

CAPABILITIES = ("CAP_KILL", "CAP_CHOWN")
MASK = 1 << 5 | 1 << 0
SHOW = "grep -E '^(Cap|Groups|NoNewPrivs)' /proc/self/status"


def status(output):
    return {name: value.strip() for name, _, value in (line.partition(":") for line in output.splitlines())}


def assert_sets(found, permitted):
    assert int(found["CapInh"], 16) == 0
    assert int(found["CapAmb"], 16) == 0
    assert int(found["CapPrm"], 16) == permitted
    assert int(found["CapEff"], 16) == permitted
    assert int(found["CapBnd"], 16) == MASK


def test_a_process_of_root_has_the_configured_capabilities_and_none_to_inherit(bundle, machine):
    bundle.capabilities(*CAPABILITIES)

    result = machine.run(bundle, SHOW)

    assert_sets(status(result.stdout), MASK)


@pytest.mark.peers
def test_a_process_of_another_user_loses_its_capabilities_with_execve(bundle, machine):
    bundle.capabilities(*CAPABILITIES)
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}

    result = machine.run(bundle, SHOW)

    assert_sets(status(result.stdout), 0)


@pytest.mark.peers
def test_ambient_capabilities_that_are_not_inheritable_too_are_not_raised(bundle, machine):
    bundle.capabilities(*CAPABILITIES)
    bundle.config["process"]["capabilities"]["ambient"] = ["CAP_KILL"]
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}

    result = machine.run(bundle, SHOW)

    assert_sets(status(result.stdout), 0)


@pytest.mark.peers
@pytest.mark.falls("crun", "its --cap is without effect")
@pytest.mark.parametrize("user", ["0", "1000"])
def test_exec_with_a_capability_makes_nothing_inheritable(bundle, machine, user):
    bundle.capabilities("CAP_CHOWN")
    id_ = machine.start(bundle)

    result = machine.exec(id_, "sh", "-c", SHOW, options=("--cap", "CAP_KILL", "--user", user))

    assert_sets(status(result.stdout), MASK if user == "0" else 0)


def test_no_capabilities_at_all_means_none(bundle, machine):
    del bundle.config["process"]["capabilities"]

    found = status(machine.run(bundle, SHOW).stdout)

    assert {int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


@pytest.mark.peers
def test_a_setuid_program_gains_nothing_under_no_new_privileges(bundle, machine):
    bundle.config["process"]["noNewPrivileges"] = True
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    (bundle.rootfs / "bin/busybox").chmod(0o4755)

    result = machine.run(bundle, "id -u")

    assert result.stdout == "1000\n"


def test_an_unknown_capability_is_warned_of_and_not_granted(bundle, machine):
    bundle.capabilities(*CAPABILITIES, "CAP_EVERYTHING")

    result = machine.run(bundle, SHOW)

    assert_sets(status(result.stdout), MASK)
    assert "CAP_EVERYTHING" in result.stderr


@pytest.mark.peers
@pytest.mark.parametrize(("gids", "expected"), [([], ""), ([5], "5"), ([5, 6], "5 6")])
def test_groups_are_the_additional_ones_and_never_the_callers(bundle, machine, gids, expected):
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 7, "additionalGids": gids}

    result = machine.run(bundle, SHOW, preexec_fn=lambda: os.setgroups([4, 20, 27]))

    assert status(result.stdout)["Groups"] == expected


@pytest.mark.peers
def test_the_callers_groups_do_not_leak_into_exec(bundle, machine):
    id_ = machine.start(bundle)

    result = machine.exec(id_, "sh", "-c", SHOW, preexec_fn=lambda: os.setgroups([4, 20, 27]))

    assert status(result.stdout)["Groups"] == ""


@pytest.mark.peers
def test_the_callers_groups_do_not_leak_into_a_user_namespace(bundle, machine):
    bundle.user_namespace()

    result = machine.run(bundle, SHOW, preexec_fn=lambda: os.setgroups([4, 20, 27]))

    assert status(result.stdout)["Groups"] == ""


@pytest.mark.parametrize(("user", "ids"), [("1", "1:0"), ("01", "1:0"), ("1:5", "1:5"), ("4294967294", "4294967294:0")])
def test_a_numeric_user_of_exec_becomes_exactly_that_id(bundle, machine, user, ids):
    id_ = machine.start(bundle)

    result = machine.exec(id_, "sh", "-c", "echo $(id -u):$(id -g)", options=("--user", user))

    assert result.stdout.strip() == ids, result.stderr


@pytest.mark.peers
@pytest.mark.falls("runc", "it takes +1 for 1, and 4294967296 for 0")
@pytest.mark.falls("crun", "it takes the number that the text begins with, or 0")
@pytest.mark.parametrize(
    "user",
    ["1:", ":5", "0x1", " 1", "1 ", "-1", "+1", "4294967295", "4294967296", "18446744073709551617", "1:2:3"]
    + ["1000abc", "root", "1:root", "1.0", "1e3", "\u0661", "1\n", "1:-1", "9" * 5000],
)
def test_a_user_of_exec_that_is_no_id_is_refused_and_never_root(bundle, machine, user):
    id_ = machine.start(bundle)

    result = machine.exec(id_, "id", "-u", options=(f"--user={user}",))

    assert result.returncode != 0
    assert "not an id" in result.stderr or "pyrun" not in machine.program
    assert result.stdout == ""


def test_a_name_in_the_containers_passwd_that_is_a_number_is_not_looked_up(bundle, machine):
    (bundle.rootfs / "etc").mkdir()
    (bundle.rootfs / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\n")
    id_ = machine.start(bundle)

    result = machine.exec(id_, "id", "-u", options=("--user", "1000"))

    assert result.stdout == "1000\n"


def test_exec_enters_a_user_namespace_as_its_root(bundle, machine):
    bundle.user_namespace()
    id_ = machine.start(bundle)

    result = machine.exec(id_, "sh", "-c", "id -u; cat /proc/self/uid_map")

    assert result.stdout.split() == ["0", "0", "100000", "65536"], result.stderr


def test_exec_in_a_user_namespace_joins_the_containers_cgroups(bundle, machine):
    bundle.user_namespace()
    id_ = machine.start(bundle)
    pid_file = bundle.path / "pid"
    result = machine.exec(id_, "sleep", "100", options=("--detach", "--pid-file", pid_file), stderr=None, stdout=None)
    init = machine.state(id_)["pid"]

    assert result.returncode == 0
    assert Path(f"/proc/{pid_file.read_text()}/cgroup").read_text() == Path(f"/proc/{init}/cgroup").read_text()
