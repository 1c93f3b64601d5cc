"""pyrun validate: all findings of a config.json at once, without running it."""

import json
import subprocess

import pytest
from harness import REPOSITORY

pytestmark = pytest.mark.only_pyrun("a command of its own")

FIXTURES = REPOSITORY / "spec-fixtures/config"


@pytest.fixture
def validate(runtime, tmp_path):
    def validate(config, *options):
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        command = [runtime, "validate", "--bundle", tmp_path, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    return validate


def minimal(**properties):
    return {"ociVersion": "1.3.0", "process": {"cwd": "/", "args": ["sh"]}, "root": {"path": "rootfs"}, **properties}


def test_a_config_without_fault_is_silent(validate):
    result = validate(minimal())

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_mount_at_the_root_is_found(validate):
    config = minimal()
    config["mounts"] = [{"destination": "/tmp/..", "type": "tmpfs", "source": "tmpfs"}]
    result = validate(config)

    assert result.returncode == 1
    assert "mounts[0].destination" in result.stdout + result.stderr


def test_every_finding_has_a_line(validate):
    result = validate(minimal(ociVersion="2.0.0", hostname="box", root={"path": ""}))

    assert result.returncode == 1
    assert [line.partition(": config.json: ")[2].partition(":")[0] for line in result.stdout.splitlines()] == [
        "ociVersion",
        "root.path",
        "hostname",
    ]


def test_faults_of_mounts_and_of_the_filter_are_found(validate):
    mounts = [{"destination": "/a", "type": "bind", "source": "/b", "options": ["bind", "size=1"]}]
    result = validate(minimal(mounts=mounts, linux={"seccomp": {"defaultAction": "SCMP_ACT_NONE"}}))

    assert "mounts[0].options: a bind mount takes no option" in result.stdout
    assert "linux.seccomp.defaultAction: string 'SCMP_ACT_NONE' is not a valid action for seccomp" in result.stdout


@pytest.mark.parametrize(
    "config, line",
    [
        (minimal(hostnam="box"), "config.json: hostnam: is unknown and ignored: did you mean 'hostname'?"),
        (minimal(zzz=1), "config.json: zzz: is unknown and ignored"),
    ],
    ids=["a letter", "nothing like it"],
)
def test_an_unknown_name_is_a_warning_with_the_nearest_known_one(validate, config, line):
    result = validate(config)

    assert (result.returncode, result.stdout) == (0, f"warning: {line}\n")


def test_a_name_in_another_case_is_not_an_unknown_one(validate):
    result = validate(minimal(HostName="box", linux={"Namespaces": [{"TYPE": "uts"}]}))

    assert (result.returncode, result.stdout) == (0, "")


def test_names_of_other_platforms_are_no_unknown_ones(validate):
    result = validate((FIXTURES / "valid/other-platforms.json").read_text())

    assert result.stdout == ""


def test_json_has_path_and_reason(validate):
    result = validate(minimal(root={"path": ""}, zzz=1), "--format", "json")

    assert result.returncode == 1
    assert json.loads(result.stdout) == {
        "valid": False,
        "findings": [
            {"level": "error", "path": "root.path", "reason": "must not be empty"},
            {"level": "warning", "path": "zzz", "reason": "is unknown and ignored"},
        ],
    }


def test_what_is_no_json_is_a_finding(validate):
    result = validate("{")

    assert result.returncode == 1
    assert result.stdout.startswith("error: config.json: ")


def test_a_missing_file_is_an_error(runtime, tmp_path):
    command = [runtime, "validate", "--bundle", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert result.returncode == 1
    assert "config.json: No such file or directory" in result.stderr


def test_every_invalid_fixture_has_its_message_among_the_findings(validate):
    for path in sorted((FIXTURES / "invalid").glob("*.json"))[::8]:
        expected = path.with_suffix(".error").read_text()

        assert f"error: {expected}" in validate(path.read_bytes().decode("utf-8", "surrogateescape")).stdout
