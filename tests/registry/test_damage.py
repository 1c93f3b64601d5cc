"""What an older version left after a loss of power, or what a failing disk damaged, is found and mended."""

import json
import os
import subprocess

import pytest
from conftest import tree
from images import Image, directory, entry, hard_link, symlink, tar


@pytest.fixture
def image():
    lower = tar(directory("d"), entry("d/a", data=b"a" * 5000), entry("d/b", data=b"b"), symlink("l", "d/a"))
    return Image(lower, tar("d/.wh.b", entry("c", data=b"c" * 9000), hard_link("hard", "c")))


@pytest.fixture
def pulled(pyfetch, registry, image):
    """An image in the store, whose bundle is not mounted, as after a reboot."""
    name = registry.add(image)
    bundle = pyfetch.ok(name, "bundle")
    subprocess.run(["umount", f"{bundle}/rootfs"], check=True)
    return name


def layers(pyfetch):
    return {name: tree(pyfetch.store / "layers" / name) for name in os.listdir(pyfetch.store / "layers")}


def check(pyfetch):
    done = pyfetch.run("prune", "--check")
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == (done.stdout == ""), done.stderr
    assert done.returncode in (0, 6), done.stderr
    return done.stdout


def test_a_sound_store_is_left_alone(pyfetch, pulled):
    before = tree(pyfetch.store)

    assert check(pyfetch) == ""
    assert tree(pyfetch.store).keys() == before.keys()


def shorten(layer):
    os.truncate(layer / "c", 100)


def change(layer):
    status = os.stat(layer / "c")
    (layer / "c").write_bytes(b"x" * status.st_size)
    os.utime(layer / "c", ns=(status.st_mtime_ns, status.st_mtime_ns))


def lose(layer):
    os.unlink(layer / "c")


def revive(layer):
    os.unlink(layer / "d/b")


def separate(layer):
    os.unlink(layer / "hard")
    subprocess.run(["cp", "-p", layer / "c", layer / "hard"], check=True)


@pytest.mark.parametrize("damage", [shorten, change, lose, revive, separate])
def test_a_damaged_layer_is_unpacked_again(pyfetch, pulled, damage):
    before = layers(pyfetch)
    name = next(name for name, files in before.items() if "c" in files)
    damage(pyfetch.store / "layers" / name)
    told = check(pyfetch)
    after = layers(pyfetch)

    assert f"layer {name}: " in told and "unpacked again" in told and told.count("\n") == 1
    assert after.keys() == before.keys()
    assert {path: what[4] for path, what in after[name].items()} == {p: what[4] for p, what in before[name].items()}
    assert check(pyfetch) == ""


def test_a_damaged_layer_that_a_bundle_uses_is_only_reported(pyfetch, pulled):
    pyfetch.ok(pulled, "bundle")  # mounts it
    name = next(name for name, files in layers(pyfetch).items() if "c" in files)
    shorten(pyfetch.store / "layers" / name)
    told = check(pyfetch)

    assert "used by" in told and "bundle" in told
    assert os.path.getsize(pyfetch.folder / "bundle/rootfs/c") == 100


def test_a_damaged_blob_is_removed_and_with_it_the_layer_that_cannot_be_compared(pyfetch, registry, image, pulled):
    blob = pyfetch.store / "blobs" / image.manifest["layers"][1]["digest"].replace(":", "/")
    os.truncate(blob, 0)
    told = check(pyfetch)
    bundle = pyfetch.ok(pulled, "bundle")

    assert image.manifest["layers"][1]["digest"] in told and "not in the store" in told
    assert os.path.getsize(f"{bundle}/rootfs/c") == 9000
    assert check(pyfetch) == ""


def test_a_damaged_index_is_removed_and_its_images_are_fetched_again(pyfetch, registry, image, pulled):
    os.truncate(pyfetch.store / "index.json", 0)
    told = check(pyfetch)
    registry.requests.clear()
    pyfetch.ok(pulled, "bundle")

    assert "index.json" in told
    assert registry.count("GET", image.manifest["layers"][0]["digest"]) == 0
    assert check(pyfetch) == ""


@pytest.mark.parametrize("name", ["config.json", "image.json"])
def test_a_bundle_whose_files_are_empty_is_mended_by_the_next_pull_and_keeps_what_its_container_wrote(
    pyfetch, pulled, name
):
    (pyfetch.folder / "bundle/upper/written").write_text("by a container")
    os.truncate(pyfetch.folder / "bundle" / name, 0)
    told = check(pyfetch)
    bundle = pyfetch.ok(pulled, "bundle", "--", "echo", "hello")

    assert f"{bundle}: " in told
    assert json.loads(open(f"{bundle}/{name}").read())
    assert open(f"{bundle}/rootfs/written").read() == "by a container"
    assert check(pyfetch) == ""


def test_a_bundle_whose_layers_are_gone_gets_them_again(pyfetch, pulled):
    subprocess.run(["rm", "-r", *(pyfetch.store / "layers" / name for name in layers(pyfetch))], check=True)
    bundle = pyfetch.ok(pulled, "bundle")

    assert os.path.getsize(f"{bundle}/rootfs/c") == 9000


def test_a_bundle_whose_link_in_the_store_is_lost_is_linked_by_the_next_pull(pyfetch, pulled):
    for link in os.listdir(pyfetch.store / "bundles"):
        os.unlink(pyfetch.store / "bundles" / link)
    bundle = pyfetch.ok(pulled, "bundle")
    pyfetch.ok("rm", pulled)
    pyfetch.ok("prune")

    assert os.path.getsize(f"{bundle}/rootfs/c") == 9000


def test_prune_removes_what_a_killed_process_left_among_the_bundles(pyfetch, pulled):
    (pyfetch.store / "bundles/.alpine-1.new/rootfs").mkdir(parents=True)
    pyfetch.ok("prune")

    assert not [name for name in os.listdir(pyfetch.store / "bundles") if name.startswith(".")]


@pytest.mark.parametrize("next_", ["rm", "pull"])
def test_what_a_killed_rm_left_beside_the_bundle_goes(pyfetch, pulled, next_):
    left = pyfetch.folder / ".bundle.gone"
    (left / "rootfs").mkdir(parents=True)
    pyfetch.ok("rm", "bundle")
    (left / "rootfs").mkdir(parents=True)
    pyfetch.ok(pulled, "bundle")
    if next_ == "rm":
        (left / "rootfs").mkdir(parents=True)
        pyfetch.ok("rm", "bundle")

    assert not left.exists()
