"""Start-up is a feature: what a verb and its children load in doing its work. unit/test_imports.py has all verbs."""

import pytest
from harness import sources_with
from startup import SLOW, modules_of

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("it is about pyrun's modules")]


@pytest.fixture
def slow_modules(container):
    """Do what the arguments say, which must work, and return the slow modules that this has loaded."""

    def slow_modules(verb, *arguments, **options):
        container.bundle.save()
        status, output, modules = modules_of("--root", container.root, verb, *arguments, **options)
        assert status == 0, output
        assert f"pyrun.commands.{verb}" in modules
        return SLOW & modules

    return slow_modules


def test_the_life_of_a_container_loads_nothing_slow(container, bundle, slow_modules, tmp_path):
    bundle.process["args"] = ["sleep", "1000"]
    id_ = container.id
    (tmp_path / "directory").mkdir()

    assert slow_modules("create", "--bundle", bundle.path, "--pid-file", container.pid_file, id_) == set()
    assert slow_modules("start", id_) == set()
    assert slow_modules("state", id_) == set()
    assert slow_modules("list") == set()
    assert slow_modules("ps", "--format", "json", id_) == set()
    assert slow_modules("pause", id_) == set()
    assert slow_modules("resume", id_) == set()
    assert slow_modules("exec", id_, "true") == set()
    assert slow_modules("update", "--pids-limit", "20", id_) == set()
    assert slow_modules("events", "--stats", id_) == set()
    assert slow_modules("stats", "--no-stream", id_) == set()
    assert slow_modules("mount", id_, tmp_path / "directory", "/tmp") == set()
    assert slow_modules("umount", id_, "/tmp") == set()
    assert slow_modules("kill", id_, "KILL") == set()
    assert slow_modules("delete", "--force", id_) == set()


def with_user_namespace(bundle):
    bundle.user_namespace()


def with_seccomp(bundle):
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}],
    }


def with_hooks(bundle):
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    bundle.config["hooks"] = {kind: [{"path": "/bin/busybox", "args": ["true"], "timeout": 5}] for kind in kinds}


def with_limits(bundle):
    bundle.linux["resources"] |= {"memory": {"limit": 64 << 20}, "pids": {"limit": 10}, "cpu": {"shares": 512}}
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]


def with_host_mounts(bundle):
    bundle.mount("/etc", "bind", "/etc", "ro")
    bundle.linux["maskedPaths"] = ["/proc/kcore"]
    bundle.linux["readonlyPaths"] = ["/proc/sys"]


@pytest.mark.parametrize(
    "change",
    [with_user_namespace, with_seccomp, with_hooks, with_limits, with_host_mounts],
    ids=lambda one: one.__name__,
)
def test_a_run_loads_nothing_slow(container, bundle, slow_modules, change):
    change(bundle)

    assert slow_modules("run", "--bundle", bundle.path, container.id) == set()


@pytest.mark.parametrize("option", ["--init", "--overlay"])
def test_a_run_with_an_option_of_its_own_loads_nothing_slow(container, bundle, slow_modules, option):
    assert slow_modules("run", "--bundle", bundle.path, option, container.id) == set()


@pytest.mark.parametrize("verb", ["validate", "explain"])
def test_a_look_at_a_bundle_loads_nothing_slow(bundle, slow_modules, verb):
    assert slow_modules(verb, "--bundle", bundle.path) == set()


# What the init calls, in a child of the runtime, before it becomes the container
SLOW_IN_A_CHILD = """

_identify = identify

def identify(config):
    import uuid
    _identify(config)
"""


def test_a_slow_module_in_a_child_would_be_noticed(container, bundle, slow_modules, tmp_path):
    sources = sources_with(tmp_path, {"pyrun/namespaces/names.py": SLOW_IN_A_CHILD})

    assert "uuid" in slow_modules("run", "--bundle", bundle.path, container.id, sources=sources)
