"""Several pyfetch processes on one store and one bundle: each succeeds, or says in one line who was faster.

By default one round of each, with --full two hundred; the counts are printed (-rP shows them).
"""

import fcntl
import hashlib
import os
import random
import time
from pathlib import Path

import pytest
from conftest import tree, unmount_below
from harness import wait_until
from images import Image, directory, entry, tar

pytestmark = [pytest.mark.needs("root"), pytest.mark.timeout(3600)]

FEW, ALL = 1, 200
LOST_A_RACE = (
    "no such bundle",
    "no such image",
    "no such folder",
    "another process has removed it",
    "exists already",
    "exists, and is not a bundle",
    "used by a container",
)
PULL, COPY = ("NAME", "bundle"), ("NAME", "bundle", "--copy")
RM, PRUNE, PRUNE_ALL, FORGET = ("rm", "bundle"), ("prune",), ("prune", "--all"), ("rm", "NAME")
OTHER = ("NAME",)


def test_a_bundle_that_is_removed_while_a_pull_waits_for_it_is_said_to_be_gone(pyfetch, registry):
    name = registry.add(Image(tar(entry("file"))))
    bundle = Path(pyfetch.ok(name, "bundle"))
    lock = pyfetch.store / f"locks/bundle-{hashlib.sha256(os.fsencode(bundle)).hexdigest()}"
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = pyfetch.start(name, "bundle")
        wait_until(lambda: f"-> FLOCK  ADVISORY  WRITE {process.pid} " in Path("/proc/locks").read_text(), "the pull")
        unmount_below(pyfetch.folder)
        bundle.rename(pyfetch.folder / "elsewhere")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 3
    assert errors.decode().endswith(f"pyfetch: error: {bundle}: another process has removed it\n")


@pytest.mark.parametrize(
    "commands",
    [
        (PULL, PULL, OTHER),
        (COPY, COPY, PULL),
        (PULL, RM, RM),
        (COPY, RM, PULL),
        (PULL, PRUNE, OTHER),
        (PULL, PRUNE_ALL, OTHER, RM),
        (PULL, FORGET, PRUNE, PULL),
    ],
    ids=lambda commands: ", ".join(" ".join(command) for command in commands),
)
def test_processes_at_once_succeed_or_say_who_was_faster(pyfetch, registry, commands, full):
    layers = [
        tar(directory(f"d{n}"), *(entry(f"d{n}/{m}", data=os.urandom(3000)) for m in range(20))) for n in range(2)
    ]
    name = registry.add(Image(*layers))
    whole = tree(pyfetch.ok(name, "whole", "--copy", "--store", "other") + "/rootfs").keys()
    chance = random.Random(len(commands))
    lost = 0
    for _ in range(ALL if full else FEW):
        processes = []
        for command in commands:
            processes.append(pyfetch.start(*(name if word == "NAME" else word for word in command)))
            time.sleep(chance.random() * 0.08)  # about as long as one takes
        for command, process in zip(commands, processes):
            _, errors = process.communicate(timeout=60)
            text = errors.decode()
            lines = [line for line in text.splitlines() if line.startswith("pyfetch: error: ")]
            what = f"{commands}: {command}: {process.returncode}: {text}"
            assert "Traceback" not in text, what
            assert len(lines) == (process.returncode != 0), what
            assert process.returncode == 0 or any(words in lines[0] for words in LOST_A_RACE), what
            lost += process.returncode != 0

        bundle = pyfetch.ok(name, "bundle")
        assert tree(f"{bundle}/rootfs").keys() == whole
        assert open("/proc/self/mounts").read().count(f" {bundle}/rootfs ") <= 1
        pyfetch.ok("prune")
        kept = [path for folder in ("layers", "bundles", "partial") for path in os.listdir(pyfetch.store / folder)]
        assert [path for path in [*kept, *os.listdir(pyfetch.folder)] if path.startswith(".")] == []
        if chance.random() < 0.7:
            pyfetch.ok("rm", "bundle", name)
            pyfetch.ok("prune", "--all")
            unmount_below(pyfetch.store)
    print(f"{commands}: {lost} of {(ALL if full else FEW) * len(commands)} processes lost a race")
