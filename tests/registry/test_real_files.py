"""Images of real files, by real tools: the trees equal those of umoci and of podman."""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest
from conftest import COMMAND, push, tree
from images import Image

# What a distribution consists of: programs with set-user-ID, links, documents, configuration, folders of other owners.
FOLDERS = [
    "bin",
    "sbin",
    "etc",
    "usr/bin",
    "usr/sbin",
    "usr/share/doc",
    "usr/share/perl5",
    "var/log",
    "var/mail",
    "var/spool",
]


@pytest.fixture(scope="module")
def distribution(docker_registry, tmp_path_factory):
    """The name of an image of about 10,000 of this machine's files in the registry, and its layout."""
    folders = [folder for folder in FOLDERS if os.path.lexists(f"/{folder}")]
    find = ["find", *folders, "-xdev", "(", "-not", "-type", "f", "-o", "-size", "-100k", ")", "-print0"]
    names = subprocess.run(find, cwd="/", capture_output=True, check=True).stdout
    command = ["tar", "-C", "/", "--xattrs", "--no-recursion", "--null", "-T", "-", "-c"]
    done = subprocess.run(command, input=names, capture_output=True)
    folder = tmp_path_factory.mktemp("distribution")
    name = push(Image(done.stdout), folder, f"{docker_registry}/distribution:1")
    return name, folder


def differences(ours, theirs):
    return {
        key: (ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    }


@pytest.mark.parametrize("mode", ["--copy", "--overlay"])
def test_a_distribution_equals_umocis(pyfetch, distribution, mode):
    name, layout = distribution
    root = pyfetch.ok(name, mode) + "/rootfs"
    command = ["umoci", "unpack", "--image", f"{layout}:x", str(pyfetch.folder / "umoci")]
    subprocess.run(command, check=True, capture_output=True)
    ours, theirs = tree(root), tree(pyfetch.folder / "umoci/rootfs")
    # Folders that are above those in the archive have no entry: umoci gives them the time of the run.
    implied = {".", "usr", "usr/share", "var"}

    assert len(ours) > 2000
    assert set(differences(ours, theirs)) - implied == set()


def test_a_distribution_equals_podmans(pyfetch, distribution):
    name, _ = distribution
    root = pyfetch.ok(name, "--copy") + "/rootfs"
    runroot = tempfile.mkdtemp(prefix="podman-")  # podman wants at most 50 characters
    storage = ["podman", "--root", str(pyfetch.folder / "podman"), "--runroot", runroot]
    pulled = subprocess.run([*storage, "pull", "-q", "--tls-verify=false", name], capture_output=True, text=True)
    assert pulled.returncode == 0, pulled.stderr
    mounted = subprocess.run(
        [*storage, "image", "mount", name], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        ours, theirs = tree(root), tree(mounted)
    finally:
        subprocess.run([*storage, "image", "unmount", "-f", name], capture_output=True)
        shutil.rmtree(runroot)
    implied = {".", "usr", "usr/share", "var"}

    assert set(differences(ours, theirs)) - implied == set()


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_layer_of_a_gigabyte_needs_little_memory(pyfetch, registry, compression):
    """Written in the blink of an eye by neither side, so the content is cheap: 4 MiB that repeat."""
    import random

    from images import entry, tar, zstd

    data = random.Random(3).randbytes(4 << 20) * 256
    options = {"compress": lambda raw: zstd(raw, "-1"), "media_type": "application/vnd.oci.image.layer.v1.tar+zstd"}
    image = Image(tar(entry("big", data=data)), **(options if compression == "zstd" else {"compress": lambda raw: raw}))
    name = registry.add(image)
    script = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True, stdout=-3); "
    script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    command = [sys.executable, "-c", script, *COMMAND, name, "bundle", "--copy", "-q"]
    done = subprocess.run(
        command, env=pyfetch.environment, cwd=pyfetch.folder, capture_output=True, text=True, timeout=120
    )

    assert int(done.stdout) < 64 << 10, done.stderr
    assert os.path.getsize(pyfetch.folder / "bundle/rootfs/big") == 1 << 30
