"""inspect without a fetch, several images in one call, archives for all platforms."""

import json
import os
import subprocess

import pytest
from images import Image, index_of, tar


def two_platforms(registry):
    """Put an image for two platforms at the registry; return its name, its index and the images."""
    images = [Image(tar(name), platform=("linux", name)) for name in ("amd64", "arm64")]
    entries = [(image, {"os": "linux", "architecture": image.config["architecture"]}) for image in images]
    attestation = Image(tar("attestation"), media_type="application/vnd.in-toto+json")
    blobs, top = index_of(*entries, (attestation, {"os": "unknown", "architecture": "unknown"}))
    registry.blobs.update(blobs)
    registry.tags["1"] = top
    return f"{registry.host}/test:1", top, images


def test_an_image_is_described_without_fetching_its_layers(pyfetch, registry):
    name, top, images = two_platforms(registry)
    found = json.loads(pyfetch.ok("inspect", f"docker://{name}", "--platform", "linux/arm64"))

    assert found["name"] == name
    assert (found["digest"], found["manifest"]) == (top["digest"], images[1].digest)
    assert found["platforms"] == ["linux/amd64", "linux/arm64"]
    assert found["layers"][0]["digest"] == images[1].manifest["layers"][0]["digest"]
    assert found["config"] == images[1].config
    assert not any(image.manifest["layers"][0]["digest"] in r.path for image in images for r in registry.requests)
    assert pyfetch.fails("inspect", name)[0] == 3  # it is not in the store


def test_an_image_in_a_file_is_described_too(pyfetch, busybox):
    busybox.write_layout(pyfetch.folder / "layout", "x")
    found = json.loads(pyfetch.ok("inspect", "oci:layout"))

    assert (found["digest"], found["platforms"]) == (busybox.digest, ["linux/amd64"])


def test_several_images_are_fetched_in_one_call(pyfetch, registry, busybox):
    names = [registry.add(busybox), registry.add(Image(tar("x")), "2")]
    done = pyfetch.run("pull", "--no-bundle", *names)

    assert done.stdout.splitlines() == names
    assert [line.split()[0] for line in pyfetch.ok("images").splitlines()[1:]] == names
    assert os.listdir(pyfetch.store / "bundles") == []
    registry.requests.clear()
    assert pyfetch.ok("--pull", "never", names[0])
    assert registry.requests == []


@pytest.mark.needs("root")
def test_a_layer_that_another_image_has_in_another_form_is_fetched_for_those_who_send_it(pyfetch, registry, receiver):
    first, second = Image(tar("x")), Image(tar("x"), compress=lambda data: data)
    pyfetch.ok(registry.add(first))
    name = registry.add(second, "2")
    pyfetch.ok(name)
    assert "pyfetch --no-bundle" in pyfetch.fails("push", name, f"{receiver.host}/test:2")[1]

    pyfetch.ok("--no-bundle", name)
    pyfetch.ok("push", name, f"{receiver.host}/test:2")
    assert receiver.tags["2"]["digest"] == second.digest


def test_an_image_that_fails_does_not_keep_the_others_from_coming(pyfetch, registry, busybox):
    name = registry.add(busybox)
    done = pyfetch.run("pull", "--no-bundle", f"{registry.host}/test:missing", name)

    assert (done.returncode, done.stdout) == (3, f"{name}\n")
    assert "manifest unknown" in done.stderr


@pytest.mark.parametrize("options", [["--user", "web"], ["-t"], ["--", "ls"]])
def test_what_is_for_a_bundle_is_refused_without_one(pyfetch, options):
    assert pyfetch.fails("pull", "--no-bundle", "a", *options)[0] == 2


def test_a_password_serves_all_images_of_a_call(pyfetch, locked_registry, busybox):
    login = ("--username", "me", "--password-stdin")
    busybox.write_layout(pyfetch.folder / "layout", "x")
    names = [f"{locked_registry}/several:{tag}" for tag in "12"]
    for name in names:
        pyfetch.ok("push", "oci:layout", name, *login, input="secret\n")

    assert pyfetch.ok("--no-bundle", *names, *login, input="secret\n").splitlines() == names


def test_an_archive_for_all_platforms_has_what_the_store_lacks(pyfetch, registry):
    name, top, images = two_platforms(registry)
    pyfetch.ok("--no-bundle", "--platform", "linux/amd64", name)
    registry.tags.clear()  # the tag may have moved since
    pyfetch.ok("save", "--all-platforms", name, "-o", "all.tar")
    archive = f"oci-archive:{pyfetch.folder}/all.tar"
    command = ["skopeo", "copy", "-q", "--all", "--preserve-digests", archive, f"oci:{pyfetch.folder}/copy:x"]
    subprocess.run(command, check=True, capture_output=True)

    with open(pyfetch.folder / "copy/index.json") as file:
        assert json.load(file)["manifests"][0]["digest"] == top["digest"]
    for image in images:
        platform = f"linux/{image.config['architecture']}"
        found = json.loads(pyfetch.ok("inspect", "oci-archive:all.tar", "--platform", platform))
        assert found["manifest"] == image.digest


def test_docker_loads_its_platform_from_an_archive_for_all(pyfetch, registry, docker):
    name = two_platforms(registry)[0]
    pyfetch.ok("--no-bundle", "--platform", "linux/amd64", name)
    pyfetch.ok("save", "--all-platforms", name, "-o", "all.tar")

    assert name in docker("load", "-i", str(pyfetch.folder / "all.tar")).output
    assert docker("image", "inspect", "-f", "{{.Architecture}}", name).output == "amd64\n"
    docker("rmi", name)
