"""Real images by real tools, through Debian's docker-registry: the trees equal those of umoci and of podman."""

import hashlib
import os
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import Pyfetch, differences, podman_in, push, tree, unmount_below
from images import OCI, Image, busybox_layer, directory, entry, tar, zstd
from tools import Tool

DEBIAN = ["--variant=minbase", "--include=perl,tzdata,ca-certificates", "bookworm"]
ENOUGH_MEMORY = 8 << 20  # kilobytes: all that is made here takes a third of it
# security.capability of revision 2 (linux/capability.h): cap_net_raw, effective and permitted.
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder in memory, where there is enough: nobody cares for these files when the machine goes down."""
    folder = tmp_path_factory.mktemp("real")
    with open("/proc/meminfo") as file:
        available = int(next(line for line in file if line.startswith("MemAvailable")).split()[1])
    if available > ENOUGH_MEMORY and os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5G", "real", folder], check=True)
    yield folder
    unmount_below(folder)
    subprocess.run(["umount", "-lq", folder])
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture
def pyfetch(workshop):
    folder = Path(tempfile.mkdtemp(dir=workshop))
    yield Pyfetch(folder)
    unmount_below(folder)
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module")
def buildah(workshop):
    storage = ["--root", workshop / "buildah", "--runroot", workshop / "buildah-run"]
    yield Tool("buildah", *storage)
    unmount_below(workshop / "buildah")


class Expected:
    """An image in the registry, and the trees that umoci and podman make of it."""

    def __init__(self, name, workshop):
        self.name = name
        folder = tempfile.mkdtemp(dir=workshop)
        layout = f"oci:{folder}/layout:x"
        copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{name}", layout]
        subprocess.run(copy, check=True, capture_output=True)
        unpack = ["umoci", "unpack", "--image", f"{folder}/layout:x", f"{folder}/umoci"]
        subprocess.run(unpack, check=True, capture_output=True)
        self.umoci = tree(f"{folder}/umoci/rootfs")
        with podman_in(folder) as podman:
            podman("pull", "-q", "--tls-verify=false", name)
            self.podman = tree(podman("image", "mount", name))
        # podman's root is 0555 and as old as the pull, whatever the layers say.
        self.podman["."] = self.umoci["."]
        subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module")
def distribution(workshop, docker_registry, buildah):
    """Debian's minimal system of about 10,000 files, by debootstrap; then three steps of a Dockerfile by buildah."""
    context = workshop / "distribution"
    context.mkdir()
    made = subprocess.run(["debootstrap", *DEBIAN, context / "root"], capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stdout[-2000:]
    for rest in ("var/cache/apt/archives", "var/lib/apt/lists"):  # half of the bytes, and of the time
        subprocess.run(["find", context / "root" / rest, "-type", "f", "-delete"], check=True)
    os.setxattr(context / "root/usr/bin/perl", "security.capability", CAP_NET_RAW)
    pack = ["tar", "-C", context / "root", "--xattrs", "--xattrs-include=*", "-cf", context / "root.tar", "."]
    subprocess.run(pack, check=True)
    subprocess.run(["rm", "-rf", context / "root"], check=True)
    (context / "Dockerfile").write_text(
        "FROM scratch\n"
        "ADD root.tar /\n"
        "RUN rm -r /usr/share/doc && mkdir /usr/share/doc && echo new >/usr/share/doc/file && rm -r /var/cache/apt\n"
        "RUN useradd -m app && chown -R app:app /srv && ln /etc/passwd /srv/link && mv /usr/share/perl /srv/perl\n"
        "CMD /bin/bash\n"
        "RUN chmod 4755 /usr/bin/perl && rm /bin/more && mkfifo /srv/pipe && touch -d @1 /srv/pipe /usr/share\n"
    )
    name = f"{docker_registry}/distribution:1"
    build = Tool(*buildah.command, environment={"BUILDAH_ISOLATION": "chroot"})
    build("bud", "--layers", "--tag", "distribution", context, check=True)
    build("push", "-q", "--tls-verify=false", "distribution", f"docker://{name}", check=True)
    (context / "root.tar").unlink()
    return Expected(name, workshop)


def check(pyfetch, expected, mode):
    """Compare every file of our tree with umoci's and with podman's; return ours."""
    ours = tree(pyfetch.ok(expected.name, mode) + "/rootfs")

    assert list(differences(ours, expected.umoci).items())[:3] == []
    assert list(differences(ours, expected.podman).items())[:3] == []
    return ours


@pytest.mark.needs("root", "debootstrap", "Debian mirror", "buildah", "umoci", "podman", "skopeo")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["--copy", "--overlay"])
def test_a_distribution_built_by_buildah_equals_umocis_and_podmans(pyfetch, distribution, mode):
    ours = check(pyfetch, distribution, mode)

    assert 8_000 < len(ours) < 12_000
    assert ours["usr/bin/perl"][5] == {}  # chmod by the last layer's copy of the file took its capabilities
    assert ours["srv/pipe"][2] == 10**9


@pytest.fixture(scope="module")
def docker_image(workshop, docker_registry, docker):
    """An image that docker has built from a Dockerfile, and pushed."""
    context = workshop / "docker-image"
    context.mkdir()
    (context / "root.tar").write_bytes(busybox_layer())
    (context / "Dockerfile").write_text(
        "FROM scratch\n"
        "ADD root.tar /\n"
        "ENV PATH=/bin\n"
        "COPY --chown=33:34 Dockerfile /srv/a/b/\n"
        "RUN echo one >/srv/a/one; /bin/busybox mkdir /gone; touch /gone/x; /bin/busybox ln /srv/a/one /srv/link\n"
        "RUN /bin/busybox rm -r /gone /bin/wget; /bin/busybox mv /srv/a /srv/c; /bin/busybox chmod 2711 /srv/c\n"
        "RUN /bin/busybox rm -r /srv/c/b; /bin/busybox mkdir /srv/c/b; touch /srv/c/b/new\n"
        "RUN /bin/busybox mkdir /data\n"  # pyfetch makes a volume that is missing, as docker does; umoci does not
        "VOLUME /data\nUSER web\nWORKDIR /srv/c\nCMD cat one; id -u\n"
    )
    name = f"{docker_registry}/docker-image:1"
    docker("build", "--network", "none", "--tag", name, context, check=True)
    docker("push", name, check=True)
    return Expected(name, workshop)


@pytest.mark.needs("root", "dockerd", "docker", "runc", "umoci", "podman", "skopeo")
@pytest.mark.parametrize("mode", ["--copy", "--overlay"])
def test_an_image_built_and_pushed_by_docker_equals_umocis_and_podmans_and_runs(pyfetch, docker_image, mode):
    ours = check(pyfetch, docker_image, mode)
    bundle = pyfetch.ok(docker_image.name, mode)
    ran = subprocess.run(["runc", "run", "-b", bundle, pyfetch.folder.name], capture_output=True, text=True)

    assert "srv/c/b/new" in ours and "srv/c/b/Dockerfile" not in ours and "gone" not in ours
    assert (ran.stdout, ran.stderr) == ("one\n33\n", "")


@pytest.mark.needs("root", "umoci", "podman", "skopeo")
@pytest.mark.parametrize("mode", ["--copy", "--overlay"])
def test_forty_layers_with_whiteouts_equal_umocis_and_podmans(pyfetch, forty_layers, mode):
    check(pyfetch, forty_layers, mode)


def prefixes(parts):
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


@pytest.fixture(scope="module")
def forty_layers(workshop, docker_registry):
    """Files and folders that come and go, with an entry for each folder, as real builders write them."""
    chance = random.Random(5)
    layers, there = [], {}
    for _ in range(40):
        made = {"./": directory("./", mtime=7)}
        for _ in range(12):
            parts = [f"d{chance.choice('abc')}", *(chance.choice("abc") for _ in range(chance.randint(0, 2)))]
            for folder in prefixes(parts):
                mode = chance.choice([0o700, 0o755, 0o1777])
                made[folder] = directory(folder, mode=mode, mtime=chance.randint(1, 10**9))
            name = "/".join([*parts, f"f{chance.randint(0, 5)}"])
            owner = {"uid": chance.randint(0, 5), "gid": chance.randint(0, 70_000)}
            mode = chance.choice([0o644, 0o600, 0o4755])
            made[name] = entry(name, data=chance.randbytes(20), mode=mode, mtime=chance.randint(1, 10**9), **owner)
        # What the layer brings again is not taken away by it: podman would show both the old and the new.
        for _ in range(3 if there else 0):
            gone = chance.choice(sorted(there.keys() - made.keys()))
            *above, last = gone.split("/")
            made.update({folder: there[folder] for folder in prefixes(above) if folder not in made})
            mark = "/".join([*above, f".wh.{last}"])
            made[mark] = entry(mark)
            there = {name: what for name, what in there.items() if not f"{name}/".startswith(f"{gone}/")}
        there.update({name: what for name, what in made.items() if ".wh." not in name})
        layers.append(tar(*(made[name] for name in sorted(made))))
    name = push(Image(*layers), tempfile.mkdtemp(dir=workshop), f"{docker_registry}/forty:1")
    return Expected(name, workshop)


@pytest.mark.needs("buildah", "skopeo")
def test_an_index_made_by_buildah_gives_each_platform_its_own(pyfetch, buildah, docker_registry, workshop):
    name = f"{docker_registry}/index:1"
    buildah("manifest", "create", "index", check=True)
    for architecture in ("arm64", "amd64", "riscv64"):
        image = Image(tar(architecture), platform=("linux", architecture))
        one = push(image, tempfile.mkdtemp(dir=workshop), f"{docker_registry}/index:{architecture}")
        buildah("manifest", "add", "--tls-verify=false", "index", f"docker://{one}", check=True)
    buildah("manifest", "push", "-q", "--all", "--tls-verify=false", "index", f"docker://{name}", check=True)
    found = {
        architecture: os.listdir(pyfetch.ok(name, "--platform", f"linux/{architecture}") + "/rootfs")
        for architecture in ("arm64", "amd64", "riscv64")
    }

    assert found == {"arm64": ["arm64"], "amd64": ["amd64"], "riscv64": ["riscv64"]}
    assert "linux/arm64, linux/amd64, linux/riscv64" in pyfetch.fails(name, "--platform", "linux/s390x")[1]


@pytest.mark.needs("skopeo", "zstd")
@pytest.mark.timeout(300)
def test_a_layer_of_a_gigabyte_needs_little_memory(pyfetch, docker_registry):
    """Its content is cheap, or its making would take longer than the test: 4 MiB that repeat."""
    data = random.Random(3).randbytes(4 << 20) * 256
    image = Image(
        tar(entry("big", data=data)),
        compress=lambda raw: zstd(raw, "-1", "--long=23"),
        media_type=f"{OCI}.layer.v1.tar+zstd",
    )
    name = push(image, pyfetch.folder / "layout", f"{docker_registry}/big:1")
    _, kilobytes, _ = pyfetch.measure(name, "bundle", "--copy", "-q")
    found = hashlib.sha256()
    with open(pyfetch.folder / "bundle/rootfs/big", "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)

    assert kilobytes < 64 << 10
    assert found.digest() == hashlib.sha256(data).digest()
