"""crun's annotations for the groups of the caller and for what hooks write."""

import pytest
from harness import wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")

of_crun = pytest.mark.differs("runc", "it knows no annotation of crun's")


def with_groups(*gids):
    return {"extra_groups": gids}


def test_the_callers_groups_are_lost(container, bundle):
    bundle.process["user"]["additionalGids"] = [5]

    assert container.run("id", "-G", **with_groups(20, 30)).split() == ["0", "5"]


@of_crun
@pytest.mark.proves("annotations: run.oci.keep_original_groups")
def test_the_callers_groups_are_kept_where_the_annotation_says_so(container, bundle):
    bundle.config["annotations"] = {"run.oci.keep_original_groups": "1"}
    bundle.process["args"] = ["sh", "-c", "id -G; exec sleep 1000"]
    container.run_detached(**with_groups(20, 30))
    wait_until(container.output, "it has told its groups")
    (groups,) = [line.split()[1:] for line in container.proc("status").splitlines() if line.startswith("Groups:")]

    assert {"20", "30"} <= set(groups) <= set(container.output().split())


@of_crun
def test_exec_keeps_the_groups_of_its_caller_too(container, bundle):
    bundle.config["annotations"] = {"run.oci.keep_original_groups": "1"}
    container.sleeping()

    assert "77" in container.exec("id", "-G", **with_groups(77)).split()


@of_crun
@pytest.mark.proves("annotations: run.oci.hooks.stdout", "annotations: run.oci.hooks.stderr")
@pytest.mark.parametrize(
    "kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
)
def test_what_hooks_write_is_appended_to_the_files(container, bundle, kind):
    script = "echo to stdout; echo to stderr >&2"
    bundle.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    bundle.config["annotations"] = {"run.oci.hooks.stdout": "out", "run.oci.hooks.stderr": str(bundle.path / "err")}
    (bundle.path / "out").write_text("before\n")
    container.run("true")

    assert (bundle.path / "out").read_text() == "before\nto stdout\n"
    assert (bundle.path / "err").read_text() == "to stderr\n"


@of_crun
def test_a_hook_in_a_user_namespace_writes_to_a_file_of_the_host(container, bundle):
    bundle.user_namespace()
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo here"]}]}
    bundle.config["annotations"] = {"run.oci.hooks.stdout": str(bundle.path / "out")}
    container.run("true")

    assert (bundle.path / "out").read_text() == "here\n"


@of_crun
@pytest.mark.differs("crun", "other words")
def test_a_file_for_hooks_that_cannot_be_opened_is_named(container, bundle):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    bundle.config["annotations"] = {"run.oci.hooks.stderr": "/nonexistent/err"}

    assert "/nonexistent/err: No such file" in container.run_fails("true")
    assert not container.exists()
