"""What is printed, and where: scripts read it."""

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import struct
import subprocess
import termios

import pytest
from conftest import COMMAND
from images import Image, entry, tar


def test_standard_output_is_the_path_and_the_rest_is_dockers_lines(pyfetch, registry):
    image = Image(tar("x"))
    name = registry.add(image)
    done = pyfetch.run(name)
    layer = image.manifest["layers"][0]["digest"][7:19]

    assert done.stdout.count("\n") == 1 and os.path.isdir(done.stdout.strip())
    assert done.stderr.splitlines() == [
        f"Unable to find image '{name}' locally",
        "1: Pulling from test",
        f"{layer}: Pulling fs layer",
        f"{layer}: Verifying Checksum",
        f"{layer}: Download complete",
        f"{layer}: Pull complete",
        f"Digest: {image.digest}",
        f"Status: Downloaded newer image for {name}",
    ]


def test_an_image_that_is_there_is_up_to_date(pyfetch, registry):
    image = Image(tar("x"))
    name = registry.add(image)
    pyfetch.ok(name)

    assert pyfetch.run(name).stderr.splitlines() == [
        "1: Pulling from test",
        f"Digest: {image.digest}",
        f"Status: Image is up to date for {name}",
    ]


def test_a_layer_that_is_there_already_exists(pyfetch, registry):
    first = tar("a")
    pyfetch.ok(registry.add(Image(first)))
    image = Image(first, tar("b"))

    assert f"{image.manifest['layers'][0]['digest'][7:19]}: Already exists" in pyfetch.run(registry.add(image)).stderr


def test_quiet_says_nothing(pyfetch, registry):
    done = pyfetch.run("-q", registry.add(Image(tar("x"))))

    assert done.returncode == 0
    assert done.stderr == ""


def test_json_is_one_event_a_line(pyfetch, registry):
    image = Image(tar("x"))
    done = pyfetch.run("--json", registry.add(image))
    events = [json.loads(line) for line in done.stderr.splitlines()]
    layer = image.manifest["layers"][0]

    assert {"status": "Pull complete", "progressDetail": {}, "id": layer["digest"][7:19]} in events
    bar = f"[{'=' * 50}>] "
    assert any(event.get("progress", "").startswith(bar) for event in events)
    assert {"current": layer["size"], "total": layer["size"]} in [e.get("progressDetail") for e in events]


def test_off_a_terminal_no_escape_is_printed(pyfetch, registry):
    done = pyfetch.run(registry.add(Image(tar("x"))))

    assert "\x1b" not in done.stdout + done.stderr


def test_a_terminal_gets_bars(pyfetch, registry):
    name = registry.add(Image(tar("x")))
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*COMMAND, name], env={**pyfetch.environment, "TERM": "xterm"}, stderr=theirs, stdout=-3)
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65536):
            text += piece
    except OSError:
        pass  # the other end is closed

    assert process.wait() == 0
    assert b"\x1b[1A\x1b[J" in text
    assert text.rstrip().endswith(f"Status: Downloaded newer image for {name}".encode())


def test_a_wide_terminal_shows_how_far_how_fast_and_how_long(pyfetch, registry):
    registry.delay = 0.05
    name = registry.add(Image(tar(entry("x", data=random.Random(1).randbytes(1 << 20)))))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    process = subprocess.Popen([*COMMAND, name], env={**pyfetch.environment, "TERM": "xterm"}, stderr=theirs, stdout=-3)
    os.close(theirs)
    text = ""
    with contextlib.suppress(OSError):  # at the end, when the other side is closed
        while piece := os.read(ours, 65536):
            text += piece.decode()

    assert process.wait() == 0
    bar = r"[0-9a-f]{12}: Downloading \[=*> *\]  [0-9.]+kB/1.049MB  [0-9.]+[kM]?B/s  0:0\d left"
    assert re.search(bar, text), text[-2000:]


def test_a_hostile_error_text_cannot_steer_the_terminal(pyfetch, registry):
    body = json.dumps({"errors": [{"code": "DENIED", "message": "\x1b]0;owned\x07 \u202e x\r\nnext"}]}).encode()
    registry.before = lambda handler: handler.path != "/v2/" and (handler.reply(403, body), True)[1]
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status == 4
    assert "\x1b" not in error and "\u202e" not in error and "\x07" not in error


WRONG = [
    "",
    "--no-such-option x",
    "--platform a/b/c/d x",
    "--pull sometimes x",
    "--overlay=1 x",
    "-q=1 x",
    "--env =x x",
    "--user 4294967295 x",
    "--user : x",
    "--workdir relative x",
    "--network bridge x",
    "--authfile missing x",
    "--username me x",
    "--password-stdin x",
    "--retries many x",
    "--timeout 0 x",
    "--jobs 0 x",
    "--max-size 1Q x",
    "--max-files -3 x",
    "--entrypoint x",
    "a b c",
    "images x",
    "rm",
    "save a b",
]


@pytest.mark.parametrize("words", WRONG)
def test_what_is_typed_wrong_is_a_usage_error_in_one_line_and_makes_nothing(pyfetch, registry, busybox, words):
    name = registry.add(busybox)
    words = [name if word == "x" and at else word for at, word in enumerate(words.split())]
    status, _ = pyfetch.fails(*words)

    assert status == 2
    assert registry.count("GET", "/blobs/") <= 1  # the config, which may say who the user is
    assert not (pyfetch.store / "bundles").exists() or os.listdir(pyfetch.store / "bundles") == []


@pytest.mark.parametrize("command", ["{name}", "images", "save {name}", "--help"])
def test_a_full_standard_output_is_a_disk_error(pyfetch, registry, busybox, command):
    name = registry.add(busybox)
    pyfetch.ok(name)
    with open("/dev/full", "w") as full:
        command = [*pyfetch.command, *command.format(name=name).split()]
        done = subprocess.run(command, env=pyfetch.environment, stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 7
    assert done.stderr.splitlines()[-1] == "pyfetch: error: standard output: No space left on device"


@pytest.mark.needs("root")
def test_a_read_only_file_system_is_a_disk_error_that_names_the_place(pyfetch, registry, busybox):
    name = registry.add(busybox)
    pyfetch.ok(name)
    frozen = pyfetch.folder / "frozen"
    frozen.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "frozen", frozen], check=True)
    tries = [[name, frozen / "b"], ["save", name, "-o", frozen / "x"], ["--store", frozen / "store", name]]
    failures = [pyfetch.fails(*words) for words in tries]

    assert [status for status, _ in failures] == [7, 7, 7]
    assert [error.split(": ")[2] for _, error in failures] == [f"{frozen}/{part}" for part in ("b", "x", "store")]


def test_help_and_version_are_printed(pyfetch):
    assert "BUNDLE" in pyfetch.ok("pull", "--help")
    assert "images" in pyfetch.ok("--help")
    assert pyfetch.ok("--version").startswith("pyfetch ")


@pytest.mark.parametrize("closed", ["1", "2", "0 1 2"])
def test_a_closed_stream_gets_no_place_among_the_files_that_are_written(pyfetch, registry, closed):
    name = registry.add(Image(tar("x"), tar("y")))
    redirections = " ".join(f"{stream}>&-" for stream in closed.split())
    pyfetch.command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *COMMAND]
    done = pyfetch.run(name, "bundle", "--copy")

    assert sorted(os.listdir(pyfetch.folder / "bundle/rootfs")) == ["x", "y"]
    assert done.returncode == (1 if "1" in closed else 0)
    if closed == "1":
        assert done.stderr.splitlines()[-1] == "pyfetch: error: standard output: Bad file descriptor"


@pytest.mark.parametrize("verb", ["images", "--version", "save"])
def test_a_closed_standard_output_is_one_line(pyfetch, registry, verb):
    pyfetch.ok(name := registry.add(Image(tar("x"))))
    pyfetch.command = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND]

    assert "Bad file descriptor" in pyfetch.fails(verb, *([name] if verb == "save" else []))[1]


def test_whoever_stops_reading_is_not_told(pyfetch, registry):
    pyfetch.ok(name := registry.add(Image(tar(entry("x", data=random.Random(1).randbytes(1 << 20))))))
    pyfetch.command = ["sh", "-c", '"$@" | head -c 1 >/dev/null', "sh", *COMMAND]

    assert pyfetch.run("save", name).stderr == ""


def test_an_argument_that_config_json_cannot_hold_is_refused(pyfetch, registry):
    name = registry.add(Image(tar("x")))
    status, error = pyfetch.fails(name, "--", os.fsdecode(b"\xff"))

    assert (status, "not UTF-8" in error) == (2, True)
