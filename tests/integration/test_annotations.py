"""Annotations of ours that change what the runtime does, Landlock and core scheduling, and crun's options of binds."""

import inspect
import json
import os

import machine
import pytest

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox"),
    pytest.mark.only_pyrun("runc 1.1 knows none of these, crun 1.8 none of pyrun's"),
]

ALL_FILES = ["execute", "write_file", "read_file", "read_dir", "remove_file", "make_reg", "make_dir"]
READING = ["execute", "read_file", "read_dir"]


def landlock(bundle, rules, **ruleset):
    bundle.config["annotations"] = {"run.pyrun.landlock": json.dumps({"ruleset": ruleset, "rules": rules})}


def below(access, *paths):
    return {"pathBeneath": [{"allowedAccess": access, "paths": list(paths)}]}


@pytest.mark.needs("Landlock 1")
@pytest.mark.proves("annotations: run.pyrun.landlock")
def test_landlock_denies_what_no_rule_allows(container, bundle):
    landlock(bundle, below(READING, "/bin", "/proc"), handledAccessFS=ALL_FILES)
    (bundle.rootfs / "etc/secret").write_text("secret")
    script = "cat /etc/secret || touch /tmp/x || mkdir /tmp/y || cat /proc/self/status | head -1"

    assert container.sh(script) == "Name:\tcat"
    assert not (bundle.rootfs / "tmp/x").exists()


@pytest.mark.needs("Landlock 1")
def test_landlock_holds_for_exec_too_and_for_another_user(container, bundle):
    landlock(bundle, below(READING, "/bin"), handledAccessFS=ALL_FILES)
    container.sleeping()

    container.exec("true")
    container.fails("exec", container.id, "touch", "/tmp/x", status=1)
    container.fails("exec", "--user", "1000:1000", container.id, "cat", "/etc/passwd", status=1)


@pytest.mark.needs("Landlock 1")
@pytest.mark.parametrize("is_restricted", [True, False])
def test_landlock_holds_for_a_start_container_hook(container, bundle, is_restricted):
    if is_restricted:
        landlock(bundle, below(READING, "/bin", "/proc"), handledAccessFS=ALL_FILES)
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; ! ls /etc"]}
    bundle.config["hooks"] = {"startContainer": [hook]}

    if is_restricted:
        container.run("true")
    else:
        container.run_fails("true")


@pytest.mark.needs("Landlock 1")
def test_landlock_needs_no_new_privileges_no_more_than_a_user_namespace(container, bundle):
    bundle.process["noNewPrivileges"] = False
    bundle.user_namespace()
    landlock(bundle, below(READING, "/bin"), handledAccessFS=ALL_FILES)

    assert container.sh("touch /tmp/x; echo $?") == "1"


@pytest.mark.needs("Landlock 1")
def test_landlock_allows_a_single_file(container, bundle):
    (bundle.rootfs / "etc/one").write_text("one")
    (bundle.rootfs / "etc/two").write_text("two")
    landlock(bundle, below(READING, "/bin", "/etc/one"), handledAccessFS=READING)

    assert container.sh("cat /etc/one; cat /etc/two; true") == "one"


@pytest.mark.needs("Landlock 4")
def test_landlock_allows_and_denies_ports(container, bundle):
    rules = {"netPort": [{"allowedAccess": ["bind_tcp"], "ports": [8080]}]}
    landlock(bundle, rules, handledAccessNetwork=["bind_tcp", "connect_tcp"])
    script = "for port in 8080 8081; do timeout 1 nc -l -p $port; echo $?; done"

    assert container.sh(script).split() == ["143", "1"]


@pytest.mark.needs("Landlock 6")
def test_landlock_confines_signals(container, bundle):
    landlock(bundle, {}, scoped=["signal"])
    container.sleeping()

    container.fails("exec", container.id, "kill", "-CONT", "1", status=1)


@pytest.mark.needs("Landlock 1")
def test_a_landlock_rule_for_what_the_image_lacks_is_an_error(container, bundle):
    landlock(bundle, below(READING, "/missing"), handledAccessFS=READING)

    assert container.run_fails("true") == "error: landlock: /missing: No such file or directory"


@pytest.mark.needs("Landlock 1")
def test_a_program_that_landlock_does_not_let_run_is_an_error_of_start(container, bundle):
    landlock(bundle, below(READING, "/etc"), handledAccessFS=READING)

    assert container.run_fails("true") == "error: exec /bin/true: permission denied"


@pytest.mark.skipif(not machine.lacks("core scheduling"), reason="this machine has core scheduling")
def test_core_scheduling_is_refused_by_name_where_there_is_none(container, bundle):
    bundle.config["annotations"] = {"run.pyrun.sched_core": "1"}

    assert "run.pyrun.sched_core" in container.run_fails("true")
    assert not container.exists()


@pytest.mark.needs("core scheduling")
@pytest.mark.proves("annotations: run.pyrun.sched_core")
def test_the_processes_of_a_container_share_a_core_scheduling_cookie(new_container):
    cookies = []
    for container in (new_container(), new_container()):
        bundle = container.bundle
        bundle.config["annotations"] = {"run.pyrun.sched_core": "1"}
        for path in ("/usr", "/lib", "/lib64"):
            bundle.mount(path, "bind", path, "ro")
        inside = container.look(f"/usr/bin/python3 -ISc '{inspect.getsource(machine.cookie_of)}\nprint(cookie_of(0))'")
        options = ["--detach", "--pid-file", bundle.path / "pid"]
        container.exec("sh", "-c", "exec sleep 100 >/dev/null 2>&1", options=options)
        joined = int((bundle.path / "pid").read_text())
        cookies.append(machine.cookie_of(container.pid()))

        assert int(inside) == machine.cookie_of(container.pid()) == machine.cookie_of(joined) != 0
    assert cookies[0] != cookies[1]
    assert machine.cookie_of(os.getpid()) == 0


def test_the_features_list_the_annotations(container):
    unsafe = json.loads(container.works("features"))["potentiallyUnsafeConfigAnnotations"]

    assert {"run.oci.keep_original_groups", "run.oci.hooks.stdout", "run.oci.hooks.stderr"} <= set(unsafe)
    assert {"run.pyrun.landlock", "run.pyrun.sched_core"} <= set(unsafe)


@pytest.mark.proves("mounts[].options=copy-symlink")
def test_copy_symlink_makes_the_same_symlink(container, bundle, tmp_path):
    source = tmp_path / "link"
    source.symlink_to("/target")
    bundle.mount("/etc/link", "bind", source, "copy-symlink")

    assert container.run("readlink", "/etc/link") == "/target\n"
    assert container.run("readlink", "/etc/link") == "/target\n"
    assert os.readlink(bundle.rootfs / "etc/link") == "/target"


def test_copy_symlink_does_not_replace_another_file(container, bundle, tmp_path):
    source = tmp_path / "link"
    source.symlink_to("/target")
    bundle.mount("/etc/link", "bind", source, "copy-symlink")
    (bundle.rootfs / "etc/link").symlink_to("/elsewhere")

    assert "is not the same symlink" in container.run_fails("true")


def test_copy_symlink_binds_what_is_no_symlink(container, bundle, tmp_path):
    (tmp_path / "file").write_text("content")
    bundle.mount("/etc/file", "bind", tmp_path / "file", "copy-symlink", "ro")

    assert container.run("cat", "/etc/file") == "content"


@pytest.mark.proves("mounts[].options=src-nofollow")
def test_src_nofollow_binds_the_symlink_itself(container, bundle, tmp_path):
    source = tmp_path / "link"
    source.symlink_to("/bin/busybox")
    bundle.mount("/etc/link", "bind", source, "src-nofollow")

    assert container.run("readlink", "/etc/link") == "/bin/busybox\n"
    assert not (bundle.rootfs / "etc/link").is_symlink()


@pytest.mark.parametrize("option", ["copy-symlink", "src-nofollow"])
def test_options_of_symlinks_are_for_binds(container, bundle, option):
    bundle.mount("/tmp", "tmpfs", "tmpfs", option)

    assert f'"{option}" is for a bind mount' in container.run_fails("true")


def test_landlock_is_refused_by_name_where_the_kernel_has_none(container, bundle):
    if machine.landlock_version() > 0:
        pytest.skip("this machine has Landlock")
    landlock(bundle, {}, handledAccessFS=READING)

    assert "Landlock is not enabled on this machine" in container.run_fails("true")
