"""spec and features: the documents that the runtime writes."""

import json
import os
import subprocess

import pytest
from harness import TIMEOUT

pytestmark = pytest.mark.needs("root", "/bin/busybox")


@pytest.fixture
def spec(runtime, tmp_path):
    """Run `spec` in an empty directory, and return the result."""
    directory = tmp_path / "here"
    directory.mkdir()

    def spec(*options):
        command = [runtime, "spec", *options]
        return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT)

    spec.file = directory / "config.json"
    return spec


def test_spec_writes_a_config_and_says_nothing(spec):
    result = spec()

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert json.loads(spec.file.read_text())["process"]["args"] == ["sh"]


@pytest.mark.differs("crun", "the wording is its own")
def test_spec_does_not_overwrite(spec):
    spec.file.write_text("mine")
    result = spec()

    assert result.returncode == 1
    assert "File config.json exists. Remove it first" in result.stderr
    assert spec.file.read_text() == "mine"


@pytest.mark.differs("runc", "1.1 does")
@pytest.mark.differs("crun", "1.8 does")
def test_spec_does_not_write_through_a_symlink(spec, tmp_path):
    spec.file.symlink_to(tmp_path / "elsewhere")

    assert spec().returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_spec_writes_into_the_bundle(spec, tmp_path):
    (tmp_path / "bundle").mkdir()
    result = spec("--bundle", str(tmp_path / "bundle"))

    assert result.returncode == 0
    assert json.loads((tmp_path / "bundle/config.json").read_text())["root"]["path"] == "rootfs"
    assert not spec.file.exists()


def test_spec_names_a_bundle_that_is_not_there(spec):
    result = spec("--bundle", "/nonexistent/bundle")

    assert result.returncode == 1
    assert "/nonexistent/bundle" in result.stderr


@pytest.mark.differs("crun", "1.8 leaves the mappings out")
def test_spec_rootless_has_a_user_namespace_and_no_resources(spec):
    spec("--rootless")
    linux = json.loads(spec.file.read_text())["linux"]

    assert {"type": "user"} in linux["namespaces"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert "resources" not in linux


@pytest.mark.only_pyrun("runc and crun take no command after the id")
@pytest.mark.parametrize("options", [[], ["--rootless"]], ids=["root", "rootless"])
def test_what_spec_writes_runs(container, bundle, options):
    bundle.save = lambda: None
    container.works("spec", "--bundle", bundle.path, *options)

    assert container.works("run", "--bundle", bundle.path, container.id, "--", "echo", "hello") == "hello\n"


@pytest.fixture
def features(runtime):
    return subprocess.run([runtime, "features"], capture_output=True, text=True, timeout=TIMEOUT)


@pytest.mark.only_pyrun("runc 1.1 warns that it is experimental, crun 1.8 has none")
def test_features_is_one_json_document_and_nothing_else(features):
    document = json.loads(features.stdout)

    assert (features.returncode, features.stderr) == (0, "")
    assert features.stdout.endswith("}\n")
    assert document.keys() == {
        "ociVersionMin",
        "ociVersionMax",
        "hooks",
        "mountOptions",
        "linux",
        "annotations",
        "potentiallyUnsafeConfigAnnotations",
    }


@pytest.mark.only_pyrun("crun 1.8 has no features")
def test_features_has_what_engines_look_for(features):
    document = json.loads(features.stdout)
    linux = document["linux"]

    assert "rro" in document["mountOptions"]
    assert "createRuntime" in document["hooks"]
    assert {"mount", "pid", "user"} <= set(linux["namespaces"])
    assert linux["cgroup"]["v1"] and linux["cgroup"]["v2"]
    assert linux["seccomp"]["enabled"]
    assert "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]


@pytest.mark.only_pyrun("what pyrun lists")
def test_every_namespace_of_the_features_can_be_had(container, bundle, features):
    for type_ in json.loads(features.stdout)["linux"]["namespaces"]:
        bundle.namespace(type_)
    bundle.user_namespace()

    assert container.run("echo", "alive") == "alive\n"
