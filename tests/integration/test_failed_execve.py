"""A program that cannot be executed is told with the cause, by create, by exec and by start."""

import shutil

import pytest

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("the wording is pyrun's own")]

MACHINE_AT = slice(18, 20)
RISCV = (243).to_bytes(2, "little")
LOADERS = (b"/lib64/ld-linux-x86-64.so.2", b"/lib/ld-linux-aarch64.so.1")


def script(line, mode=0o755):
    def write(path):
        path.write_bytes(line + b"\necho\n")
        path.chmod(mode)

    return write


def foreign(path):
    shutil.copy("/bin/busybox", path)
    content = bytearray(path.read_bytes())
    content[MACHINE_AT] = RISCV
    path.write_bytes(content)


def dynamic(path):
    shutil.copy("/usr/bin/python3", path)


def musl(path):
    shutil.copy("/usr/bin/python3", path)
    data = path.read_bytes()
    for loader in LOADERS:
        data = data.replace(loader + b"\0", b"/lib/ld-musl-x86_64.so.1".ljust(len(loader), b"\0") + b"\0")
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")
    path.chmod(0o755)


def by_dynamic(path):
    """A script whose interpreter has no loader."""
    dynamic(path.with_name("interpreter"))
    script(b"#!/bin/interpreter")(path)


def by_plain(path):
    """A script whose interpreter cannot be executed."""
    script(b"#!/bin/sh", 0o644)(path.with_name("interpreter"))
    script(b"#!/bin/interpreter")(path)


def loader_without_x(path):
    dynamic(path)
    for loader in LOADERS:
        there = path.parent.parent / loader.decode()[1:]
        there.parent.mkdir(exist_ok=True)
        there.write_bytes(b"x")


# name: (what makes the program, runc's sentence, the cause)
CASES = {
    "missing ELF interpreter": (dynamic, "no such file or directory", "is missing: it was built for glibc"),
    "missing shared loader of musl": (
        musl,
        "no such file or directory",
        "ld-musl-x86_64.so.1 is missing: it was built for",
    ),
    "loader without x": (loader_without_x, "permission denied", "has no x bit: chmod +x"),
    "carriage return": (script(b"#!/bin/sh\r"), "no such file or directory", "ends in a carriage return"),
    "missing interpreter": (script(b"#!/usr/bin/perl"), "no such file or directory", "'/usr/bin/perl' is missing"),
    "interpreter's loader": (
        by_dynamic,
        "no such file or directory",
        "its interpreter '/bin/interpreter''s ELF interpreter",
    ),
    "interpreter without x": (by_plain, "permission denied", "its interpreter '/bin/interpreter' has no x bit"),
    "wrong architecture": (foreign, "exec format error", "is a program for riscv64, and this machine is"),
    "missing x bit": (script(b"#!/bin/sh", 0o644), "permission denied", "has no x bit: chmod +x"),
    "directory": (lambda path: path.mkdir(), "permission denied", "is a directory"),
    "empty file": (empty, "exec format error", "it is empty"),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_create_tells_why(container, case):
    make, sentence, cause = case
    make(container.bundle.rootfs / "bin/program")
    container.bundle.process["args"] = ["/bin/program"]
    message = container.fails("create", "-b", container.bundle.path, container.id)

    assert message.startswith(f'error: exec: "/bin/program": {sentence}: ')
    assert cause in message


def test_exec_tells_why(container, case):
    make, sentence, cause = case
    make(container.bundle.rootfs / "bin/program")
    container.sleeping()
    message = container.fails("exec", container.id, "/bin/program", status=255)

    assert f'exec: "/bin/program": {sentence}: ' in message
    assert cause in message


def test_start_tells_why(container, case):
    make, sentence, cause = case
    program = container.bundle.rootfs / "bin/program"
    script(b"#!/bin/sh")(program)
    container.bundle.process["args"] = ["/bin/program"]
    container.create()
    program.unlink()
    make(program)
    message = container.fails("start", container.id)

    assert message.lower().startswith(f"error: exec /bin/program: {sentence}: ")
    assert cause in message


def test_start_tells_that_the_program_has_gone(container):
    program = container.bundle.rootfs / "bin/program"
    script(b"#!/bin/sh")(program)
    container.bundle.process["args"] = ["/bin/program"]
    container.create()
    program.unlink()

    assert container.fails("start", container.id).endswith(": it was there when the container was created")


@pytest.mark.parametrize("verb", ["create", "exec", "start"])
def test_a_mount_with_noexec_is_told(container, tmp_path, verb):
    (tmp_path / "volume").mkdir()
    script(b"#!/bin/sh")(tmp_path / "volume/program")
    options = ["noexec"] if verb != "start" else []
    container.bundle.mount("/volume", "bind", tmp_path / "volume", *options)
    if verb == "exec":
        message = container.sleeping().fails("exec", container.id, "/volume/program", status=255)
    elif verb == "create":
        container.bundle.process["args"] = ["/volume/program"]
        message = container.fails("create", "-b", container.bundle.path, container.id)
    else:
        container.bundle.process["args"] = ["/volume/program"]
        container.create()
        container.works("mount", "-o", "noexec", container.id, tmp_path / "volume", "/volume")
        message = container.fails("start", container.id)

    assert "permission denied: " in message.lower()
    assert 'is on a mount with the option "noexec"' in message


@pytest.mark.needs("namespace user")
def test_start_tells_why_in_a_user_namespace(container):
    program = container.bundle.rootfs / "bin/program"
    script(b"#!/bin/sh")(program)
    container.bundle.process["args"] = ["/bin/program"]
    container.bundle.user_namespace()
    container.create()
    script(b"#!/bin/nothing")(program)

    assert container.fails("start", container.id).endswith("its interpreter '/bin/nothing' is missing")


def test_start_tells_why_of_a_program_with_a_long_path(container, bundle):
    path = f"/{'a-directory-with-a-long-name/' * 8}program"
    program = bundle.rootfs / path[1:]
    program.parent.mkdir(parents=True)
    script(b"#!/bin/sh")(program)
    bundle.process["args"] = [path]
    container.create()
    script(b"#!/bin/sh2")(program)

    sentence = f"error: exec {path}: no such file or directory: its interpreter '/bin/sh2' is missing"
    assert container.fails("start", container.id) == sentence


STEERING = b"\x1b[31m\r\x9b8m\xc2\x9bred"


def with_loader(name):
    """Return what makes a dynamic program whose ELF interpreter begins with `name`."""

    def write(path):
        dynamic(path)
        data = path.read_bytes()
        for loader in LOADERS:
            data = data.replace(loader + b"\0", name[: len(loader)].ljust(len(loader), b"x") + b"\0")
        path.write_bytes(data)

    return write


@pytest.mark.parametrize("options", [[], ["--log", "{log}"], ["--log", "{log}", "--log-format", "json"]])
@pytest.mark.parametrize("make", [with_loader(b"/" + STEERING), script(b"#!/bin/" + STEERING)], ids=["ELF", "script"])
def test_the_name_of_an_interpreter_does_not_steer_the_terminal(container, bundle, tmp_path, make, options):
    container.global_options = [option.format(log=tmp_path / "log") for option in options]
    make(bundle.rootfs / "bin/program")
    result = container.call("run", "--bundle", bundle.path, container.id)
    bundle.process["args"] = ["/bin/program"]
    result = container.call("run", "--bundle", bundle.path, container.id)
    log = (tmp_path / "log").read_text() if options else ""

    assert "is missing" in result.stderr
    assert (result.stderr + log).replace("\n", "").isprintable()


@pytest.mark.parametrize("verb", ["run", "explain", "validate"])
def test_names_of_the_config_do_not_steer_the_terminal(container, bundle, verb):
    bundle.process["args"] = ["/bin/\x1b[31mred"]
    bundle.process["cwd"] = "relative\x1b[31m" if verb == "validate" else "/"
    id_ = [container.id] if verb == "run" else []
    result = container.call(verb, "--bundle", bundle.path, *id_)

    assert "[31m" in result.stdout + result.stderr
    assert (result.stdout + result.stderr).replace("\n", "").isprintable()
