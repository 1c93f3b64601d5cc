"""pyrun doctor: what is there, what is missing, what it means, and what mends it."""

import json
import subprocess

import pytest

pytestmark = pytest.mark.only_pyrun("has no doctor")


def ask(runtime, prefix=(), script=None):
    """Return (exit status, findings by name) of doctor behind the command `prefix`, or as `script` calls it."""
    command = (
        [*prefix, "sh", "-c", script.format(runtime=runtime)] if script else [*prefix, runtime, "doctor", "-f", "json"]
    )
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert document["ok"] == (result.returncode == 0)
    return result.returncode, {one["name"]: one for one in document["findings"]}


def test_a_machine_that_runs_containers_passes(runtime, container):
    status, found = ask(runtime)
    container.run("true")

    assert status == 0
    assert {one["area"] for one in found.values()} == {"kernel", "lsm", "cgroup", "privileges", "programs"}
    assert {one["state"] for one in found.values()} <= {"ok", "limited"}


def test_every_lack_says_what_it_means(runtime):
    _, found = ask(runtime, ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"])
    lacking = [one for one in found.values() if one["state"] != "ok"]

    assert lacking
    assert all(one["meaning"] for one in lacking)
    assert all(not one["meaning"] for one in found.values() if one["state"] == "ok")


def test_the_table_ends_with_a_verdict(container):
    text = container.works("doctor")

    assert text.splitlines()[-1].startswith("containers run here: ")
    assert "\nkernel\n  ok " in f"\n{text}"


def test_a_needed_capability_that_is_missing_fails(runtime):
    status, found = ask(runtime, ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-all"])

    assert status == 1
    assert found["CAP_SYS_ADMIN"]["state"] == "missing"
    assert found["CAP_SYS_ADMIN"]["meaning"] == "namespaces and mounts cannot be made"
    assert "docker run --cap-add SYS_ADMIN" in found["CAP_SYS_ADMIN"]["remedy"]


def test_a_capability_that_only_some_need_is_limited(runtime):
    status, found = ask(runtime, ["setpriv", "--bounding-set", "-mknod", "--inh-caps", "-all"])

    assert status == 0
    assert found["CAP_MKNOD"]["state"] == "limited"


def test_what_it_says_mends_missing_cgroups(runtime):
    without = "umount -R /sys/fs/cgroup && mkdir -p /sys/fs/cgroup; {runtime} doctor -f json"
    status, found = ask(runtime, ["unshare", "-m"], without)
    remedy = found["layout"]["remedy"]
    mended = without.replace("; {runtime}", f"; {remedy} && {{runtime}}")
    after, found = ask(runtime, ["unshare", "-m"], mended)

    assert (status, remedy) == (1, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    assert after == 0
    assert found["layout"]["found"] == "v2"


def test_what_it_says_mends_forbidden_user_namespaces(runtime):
    # In a user namespace of its own, whose limit is for what is below it.
    prefix = ["unshare", "-Ur"]
    forbid = "echo 0 >/proc/sys/user/max_user_namespaces; {runtime} doctor -f json"
    _, found = ask(runtime, prefix, forbid)
    remedy = found["user namespaces"]["remedy"]
    _, mended = ask(runtime, prefix, forbid.replace("; {runtime}", f"; {remedy} >/dev/null; {{runtime}}"))

    assert found["user namespaces"]["state"] == "limited"
    assert remedy == "sysctl -w user.max_user_namespaces=15000"
    assert mended["user namespaces"]["state"] == "ok"


def test_a_program_that_is_missing_is_named_with_its_package(runtime):
    _, found = ask(runtime, ["env", "PATH=/nowhere"])

    assert found["ps"]["remedy"] == "apt-get install procps"


def test_a_user_without_privileges_is_told_what_that_needs(runtime, tmp_path):
    prefix = ["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups"]
    copy = tmp_path / "pyrun"
    copy.write_bytes(runtime.read_bytes())
    copy.chmod(0o755)
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o055)
    _, found = ask(copy, prefix)

    assert found["user"]["state"] == "limited"
    assert found["subordinate ids"]["remedy"].endswith(" 4242")


def test_an_unknown_format_is_refused(container):
    assert container.fails("doctor", "-f", "xml") == 'error: invalid format option "xml": table or json'
