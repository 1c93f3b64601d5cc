"""The cache of builds, its removal, and layers that are the same each time."""

import json
import os
import time
from pathlib import Path

import pytest
from builds import build, run
from daemon import wait_until

pytestmark = pytest.mark.usefixtures("removed")

DOCKERFILE = (
    'FROM busybox\nARG WHO=me\nWORKDIR /w\nCOPY f g /d/\nRUN date +%s%N > /when; echo $WHO\nCMD ["cat", "/when"]\n'
)

NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")  # as setcap cap_net_raw+ep writes it


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "context"
    made.mkdir()
    for name, text in (("Dockerfile", DOCKERFILE), ("f", "f"), ("g", "g")):
        (made / name).write_text(text)
    return made


def layers(engine):
    return {path.name for path in (engine.data / "images/layers").iterdir() if not path.name.startswith(".")}


def hits(shown):
    return shown.count(" ---> Using cache")


def test_a_second_build_does_nothing_again(engine, folder):
    build(engine, folder, "-t", "first")
    os.utime(folder / "f")

    shown = build(engine, folder, "-t", "second")

    assert hits(shown) == 5 and "Running in" not in shown
    assert engine.inspect("first", ".Id") == engine.inspect("second", ".Id")
    engine.ok("rmi", "first", "second")


@pytest.mark.parametrize(
    "change, count",
    [
        (lambda folder: (folder / "g").write_text("changed"), 2),
        (lambda folder: (folder / "g").chmod(0o755), 2),
        (lambda folder: (folder / "unrelated").write_text("x"), 5),
        (lambda folder: (folder / "Dockerfile").write_text(DOCKERFILE.replace("RUN date", "RUN true; date")), 3),
        (lambda folder: (folder / "Dockerfile").write_text(DOCKERFILE.replace("CMD", "LABEL a=b\nCMD")), 4),
    ],
    ids=["content", "mode", "unrelated", "command", "label"],
)
def test_the_cache_ends_at_what_has_changed(engine, folder, change, count):
    build(engine, folder, "-t", "first")
    change(folder)

    assert hits(build(engine, folder, "-t", "second")) == count
    engine.ok("rmi", "first", "second")


@pytest.mark.parametrize(
    "one, other, template",
    [
        ("HEALTHCHECK --interval=5s CMD x", "HEALTHCHECK --interval=50s CMD x", ".Config.Healthcheck"),
        ("ENV A=1 B=2", 'ENV A="1 B=2"', ".Config.Env"),
        ("LABEL A=1 B=2", 'LABEL A="1 B=2"', ".Config.Labels"),
        ('VOLUME ["/a b"]', 'VOLUME ["/a", "b"]', ".Config.Volumes"),
        ('CMD ["a", "b"]', r'CMD ["a\" \"b"]', ".Config.Cmd"),
        ('SHELL ["/bin/sh", "-c"]\nCMD x', 'SHELL ["/bin/sh -c"]\nCMD x', ".Config.Shell"),
    ],
    ids=["healthcheck", "env", "label", "volume", "cmd", "shell"],
)
@pytest.mark.parametrize("is_named", [False, True], ids=["own", "cache-from"])
def test_settings_that_look_alike_are_not_taken_for_each_other(engine, folder, one, other, template, is_named):
    found = []
    for tag, text in (("first", one), ("second", other)):
        (folder / "Dockerfile").write_text(f"FROM busybox\n{text}\n")
        build(engine, folder, *(("--cache-from", "first") if is_named and found else ()), "-t", tag)
        found.append(engine.inspect(tag, template))
    engine.ok("rmi", "-f", "first", "second")

    (folder / "Dockerfile").write_text(f"FROM busybox\n{other}\n")
    build(engine, folder, "--no-cache", "-t", "third")
    assert found[0] != found[1] == engine.inspect("third", template)
    engine.ok("rmi", "third")


def test_the_owner_and_the_mode_of_a_copy_are_those_of_its_arguments(engine, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nARG U\nARG M\nCOPY --chown=$U --chmod=$M f /f\n")
    for owner, mode in (("1000", "600"), ("2000", "600"), ("2000", "644")):
        arguments = ("--build-arg", f"U={owner}", "--build-arg", f"M={mode}")
        build(engine, folder, *arguments, "-t", "made")
        assert run(engine, "made", "stat", "-c", "%u %g %a", "/f") == f"{owner} {owner} {mode}"

        assert hits(build(engine, folder, *arguments, "-t", "made")) == 3
        engine.ok("rmi", "made")


def test_a_file_that_got_a_capability_is_another_one(engine, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY f /f\n")
    build(engine, folder, "-t", "first")
    os.setxattr(folder / "f", "security.capability", NET_RAW)

    assert hits(build(engine, folder, "-t", "second")) == 0

    layer = engine.inspect("second", ".GraphDriver.Data.UpperDir")
    assert os.getxattr(f"{layer}/f", "security.capability") == NET_RAW
    engine.ok("rmi", "first", "second")


def test_arguments_are_a_part_of_a_command_and_proxies_are_not(engine, folder):
    build(engine, folder, "-t", "one")

    assert hits(build(engine, folder, "-t", "two", "--build-arg", "WHO=you")) == 3
    assert hits(build(engine, folder, "-t", "three", "--build-arg", "http_proxy=p:1")) == 5
    assert hits(build(engine, folder, "-t", "four", "--no-cache")) == 0
    engine.ok("rmi", "one", "two", "three", "four")


def test_an_image_outlives_the_cache_and_the_cache_an_image(engine, folder):
    engine.ok("builder", "prune", "-af")
    build(engine, folder, "-t", "kept")
    when = run(engine, "kept", "cat", "/when")
    engine.ok("rmi", "kept")
    assert hits(build(engine, folder, "-t", "again")) == 5

    shown = engine.ok("builder", "prune", "-af")

    assert "Total reclaimed space: 0B" in shown  # the image has all of it
    assert run(engine, "again", "cat", "/when") == when
    assert hits(build(engine, folder, "-t", "anew")) == 0
    engine.ok("rmi", "again", "anew")


def test_the_removal_of_the_cache_frees_what_only_it_has(engine, tmp_path):
    upper = ".GraphDriver.Data.UpperDir"
    engine.ok("builder", "prune", "-af")
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=5\nRUN false\n")
    before = set(engine.inspect("busybox", ".GraphDriver.Data.LowerDir").split(":"))
    before = {path.rpartition("/")[2] for path in before} | {engine.inspect("busybox", upper).rpartition("/")[2]}
    wait_until(lambda: layers(engine) == before, "the removal of earlier layers")
    build(engine, folder, "--force-rm", status=1)
    assert len(layers(engine)) == len(before) + 1

    usage = engine.call("GET", "/system/df")[1]["BuildCache"]
    shown = engine.ok("builder", "prune", "-f")

    assert [one["Size"] >= 5 << 20 for one in usage] == [True]
    assert "5.243MB" in shown
    wait_until(lambda: layers(engine) == before, "the removal of the layer")


def test_a_cache_of_thousands_of_layers_is_listed_and_removed(engine, folder):
    engine.ok("builder", "prune", "-af")
    build(engine, folder)
    kept = engine.data / "images/kept"
    record = next(one for one in map(json.loads, map(Path.read_text, kept.iterdir())) if one["size"])
    for number in range(6000):
        record["layers"][-1] = f"{number:032x}"
        (kept / f"build-{number:064x}").write_text(json.dumps(record))

    assert len(engine.call("GET", "/system/df?type=build-cache")[1]["BuildCache"]) > 6000
    assert len(engine.call("POST", "/build/prune")[1]["CachesDeleted"]) > 6000
    assert list(kept.iterdir()) == []


def test_a_source_date_makes_the_same_image_each_time(engine, folder):
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY f /d/\nRUN echo x > /d/x; mkdir /e\nWORKDIR /new\n")
    ids = []
    for name in ("one", "two"):
        build(engine, folder, "--no-cache", "-t", name, "--build-arg", "SOURCE_DATE_EPOCH=1000000000")
        ids.append(engine.inspect(name, ".Id"))
        os.utime(folder / "f")
        time.sleep(0.01)

    assert ids[0] == ids[1]
    assert engine.inspect("one", ".Created").startswith("2001-09-09T01:46:40")
    assert run(engine, "one", "stat", "-c", "%Y", "/d/x", "/e", "/new").split() == ["1000000000"] * 3
    engine.ok("rmi", "one", "two")


def test_a_damaged_record_is_no_record(engine, folder):
    build(engine, folder, "-t", "first")
    for record in (engine.data / "images/kept").iterdir():
        record.write_bytes(record.read_bytes()[:20])

    assert hits(build(engine, folder, "-t", "second")) == 0
    engine.ok("rmi", "first", "second")


@pytest.fixture
def source(engine, folder):
    """An image of the folder, whose steps only the image itself knows."""
    build(engine, folder, "-t", "source")
    engine.ok("builder", "prune", "-af")
    yield "source"
    engine.ok("rmi", "-f", "source")


def test_the_steps_of_an_image_are_taken_from_it(engine, folder, source):
    shown = build(engine, folder, "--cache-from", "nosuch", "--cache-from", source, "-t", "second")

    assert hits(shown) == 5 and "Running in" not in shown
    assert engine.inspect("second", ".Id") == engine.inspect(source, ".Id")
    engine.ok("rmi", "second")


def test_an_image_is_a_cache_as_far_as_its_steps_are_the_same(engine, folder, source):
    (folder / "Dockerfile").write_text(
        DOCKERFILE.replace("RUN date", "RUN true; date").replace("WORKDIR", "LABEL a=b\nWORKDIR")
    )
    assert hits(build(engine, folder, "--cache-from", source, "-t", "second")) == 1
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("RUN date", "ENV A=b\nRUN date"))

    shown = build(engine, folder, "--cache-from", source, "-t", "third")

    assert hits(shown) == 3
    assert engine.inspect("third", ".RootFS.Layers")[:4] == engine.inspect(source, ".RootFS.Layers")[:4]
    assert engine.inspect("third", ".Config.Env")[-1] == "A=b"
    assert run(engine, "third", "cat", "/d/f") == "f"
    engine.ok("rmi", "second", "third")


@pytest.mark.parametrize("names", [["busybox"], ["nosuch"], ["nosuch", "busybox"]], ids=" ".join)
def test_where_images_are_named_the_engine_s_own_cache_is_not_used(engine, folder, names):
    build(engine, folder, "-t", "first")

    shown = build(engine, folder, *(word for name in names for word in ("--cache-from", name)), "-t", "second")

    assert hits(shown) == 0
    assert hits(build(engine, folder, "--cache-from", "second", "-t", "third")) == 5
    engine.ok("rmi", "-f", "first", "second", "third")
