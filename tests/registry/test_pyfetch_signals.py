"""Signals at random moments of a pull, twice in a row: nothing half-made has a final name, and no process is left.

By default one moment of each, with --full a hundred; the counts are printed (-rP shows them).
"""

import functools
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import tree, unmount_below
from harness import wait_until
from images import Image, directory, entry, tar

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(3600)]

FEW, ALL = 1, 100
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.fixture
def slow(pyfetch, registry):
    """An image whose pull takes a while."""
    chance = random.Random(1)
    layers = [
        tar(directory(f"d{n}"), *(entry(f"d{n}/{m}", data=chance.randbytes(9000)) for m in range(40))) for n in range(3)
    ]
    registry.delay = 0.02
    return registry.add(Image(*layers))


def processes_of(group):
    found = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if line.split()[1] == str(group) and "Z" not in line.split()[2]]


def names_below(folder):
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


@pytest.mark.parametrize("mode", ["--overlay", "--copy"])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_leaves_nothing_half_made_and_nothing_running(pyfetch, slow, mode, number, full):
    chance = random.Random(number)
    began = time.monotonic()
    whole = tree(pyfetch.ok(slow, "whole", mode, "--store", "other") + "/rootfs")
    takes = time.monotonic() - began
    ended = 0
    for round_ in range(ALL if full else FEW):
        unmount_below(pyfetch.folder)
        subprocess.run(["rm", "-rf", pyfetch.store, pyfetch.folder / "bundle"], check=True)
        process = subprocess.Popen(
            [*pyfetch.command, slow, "bundle", mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=pyfetch.folder,
            env=pyfetch.environment,
            start_new_session=True,
            text=True,
            preexec_fn=functools.partial(signal.signal, number, signal.SIG_DFL),  # nohup(1) ignores one
        )
        # Before pyfetch has made its store the interpreter may be starting, which SIGQUIT ends with a core dump.
        wait_until((pyfetch.store / "oci-layout").exists, "the store", seconds=60)
        time.sleep(chance.random() * takes)
        for _ in range(2):
            if process.poll() is None:
                os.killpg(process.pid, number)
            time.sleep(chance.random() * 0.01)
        _, errors = process.communicate(timeout=30)
        what = f"{number.name}, round {round_}: {process.returncode}: {errors}"

        assert "Traceback" not in errors, what
        assert processes_of(process.pid) == [], what
        if process.returncode != 0:
            ended += 1
            assert process.returncode == 128 + number, what
        if mode == "--copy":
            assert names_below(pyfetch.folder) == [], what
        if (pyfetch.folder / "bundle").exists():
            assert (pyfetch.folder / "bundle/config.json").stat().st_size > 0, what
        assert tree(pyfetch.ok(slow, "bundle", mode) + "/rootfs").keys() == whole.keys(), what
        assert names_below(pyfetch.folder) == names_below(pyfetch.store / "layers") == [], what
    print(f"{number.name}, {mode}: {ended} pulls ended of {round_ + 1}")
    assert ended or not full


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    ("mode", "there", "delayed"),
    [
        ("--overlay", "bundle", "mount:delay_enter=1000000"),
        ("--copy", ".bundle.new", "mkdirat:delay_exit=1000000:when=1"),
    ],
)
def test_an_interruption_during_a_call_undoes_what_the_call_does(pyfetch, slow, mode, there, delayed):
    pyfetch.ok(slow, "first")
    command = ["strace", "-fqq", "-o", "/dev/null", "-e", f"inject={delayed}", *pyfetch.command]
    process = subprocess.Popen(
        [*command, slow, "bundle", mode], stderr=subprocess.PIPE, cwd=pyfetch.folder, env=pyfetch.environment, text=True
    )
    wait_until((pyfetch.folder / there).exists, "the call")
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == 130, errors
    assert not (pyfetch.folder / "bundle").exists()
    assert str(pyfetch.folder / "bundle") not in Path("/proc/self/mounts").read_text()
    assert names_below(pyfetch.folder) == []
    assert pyfetch.ok(slow, "bundle", mode)


def test_a_pull_that_is_stopped_goes_on(pyfetch, slow, full):
    chance = random.Random(20)
    for round_ in range(ALL if full else FEW):
        process = pyfetch.start(slow, f"bundle{round_}", "--copy", "--store", f"store{round_}")
        for _ in range(2):
            time.sleep(chance.random() * 0.3)
            process.send_signal(signal.SIGTSTP)
            time.sleep(0.02)
            process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)

        assert process.returncode == 0, errors
    print(f"SIGTSTP: {round_ + 1} pulls stopped twice")
