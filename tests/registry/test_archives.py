"""Layouts and archives, in and out."""

import bz2
import gzip
import json
import lzma
import os
import shutil
import stat
import subprocess
import tarfile

import pytest
from conftest import podman_in
from images import Image, digest_of, entry, index_of, symlink, tar, write_layout, zstd


def members(*entries):
    return tar(*(entry(name, data=data) for name, data in entries))


def old_docker_archive(image, tag="test:1"):
    """What docker save wrote before docker 25: folders with layer.tar, linked where they occur twice."""
    config = image.blobs[image.manifest["config"]["digest"]]
    layers = [gzip.decompress(layer) for layer in image.layers]
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    document = [{"Config": "abc.json", "RepoTags": [tag], "Layers": names}]
    files = [entry("abc.json", data=config), entry("manifest.json", data=json.dumps(document).encode())]
    for n, layer in enumerate(layers):
        twin = layers.index(layer)
        files.append(entry(names[n], data=layer) if twin == n else symlink(names[n], f"../{names[twin]}"))
    return tar(*files)


def test_a_layout_is_read(pyfetch):
    Image(tar("x")).write_layout(pyfetch.folder / "layout", "one")

    assert os.listdir(pyfetch.copy("oci:layout:one")) == ["x"]
    assert pyfetch.ok("oci:layout")


def test_a_layout_with_several_images_needs_a_name(pyfetch):
    images = [Image(tar("a")), Image(tar("b"))]
    blobs = {**images[0].blobs, **images[1].blobs}
    name = "org.opencontainers.image.ref.name"
    entries = [{**i.descriptor, "annotations": {name: n}} for i, n in zip(images, ("a", "b"))]
    write_layout(str(pyfetch.folder / "layout"), blobs, entries)
    status, error = pyfetch.fails("oci:layout")

    assert status == 2
    assert "a, b" in error
    assert os.listdir(pyfetch.copy("oci:layout:b")) == ["b"]
    assert pyfetch.fails("oci:layout:c")[0] == 3


def linked_layout(pyfetch, image, target):
    """A layout whose layer is a link to `target`, or to itself elsewhere."""
    image.write_layout(pyfetch.folder / "layout", "one")
    blob = pyfetch.folder / "layout/blobs" / image.manifest["layers"][0]["digest"].replace(":", "/")
    shutil.move(blob, pyfetch.folder / "elsewhere")
    blob.symlink_to(target or pyfetch.folder / "elsewhere")


def test_a_layout_of_links_is_read(pyfetch):
    """nix links the files, bazel the folders, and files once more."""
    linked_layout(pyfetch, Image(tar("x")), None)
    for name in ("layout/index.json", "layout/blobs"):
        shutil.move(pyfetch.folder / name, moved := pyfetch.folder / f"real-{os.path.basename(name)}")
        (pyfetch.folder / name).symlink_to(moved)

    assert os.listdir(pyfetch.copy("oci:layout")) == ["x"]


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "nothing", "circle", "other file", "proc"])
def test_a_link_of_a_layout_to_what_is_not_the_blob_is_refused_unopened(pyfetch, kind):
    target = pyfetch.folder / "target"
    make = {
        "fifo": lambda: os.mkfifo(target),
        "device": lambda: os.mknod(target, 0o600 | stat.S_IFCHR, os.makedev(1, 1)),
        "folder": target.mkdir,
        "nothing": lambda: None,
        "circle": lambda: target.symlink_to(target),
        "other file": lambda: target.write_text("precious"),
        "proc": lambda: target.symlink_to("/proc/kmsg"),
    }
    make[kind]()
    linked_layout(pyfetch, image := Image(tar("x")), target)
    trace = pyfetch.folder / "trace"
    pyfetch.command = ["strace", "-fqq", "-e", "trace=open,openat", "-o", str(trace), *pyfetch.command]
    status, error = pyfetch.fails("oci:layout", "bundle", "--copy")

    assert status in (3, 6), error
    assert not os.path.exists(pyfetch.folder / "bundle")
    layer_and_after = trace.read_text().partition(image.manifest["layers"][0]["digest"][7:])[2]
    assert kind in ("other file", "proc") or "/proc/self/fd" not in layer_and_after


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lzma.compress, bz2.compress, zstd])
def test_an_old_docker_archive_is_read(pyfetch, pack):
    image = Image(tar("a"), tar("b"), tar("a"))
    (pyfetch.folder / "image.tar").write_bytes(pack(old_docker_archive(image)))

    assert sorted(os.listdir(pyfetch.copy("docker-archive:image.tar"))) == ["a", "b"]
    assert "docker.io/library/test:1" in pyfetch.ok("images")


def test_an_archive_of_skopeo_is_read(pyfetch):
    Image(tar("x")).write_layout(pyfetch.folder / "layout", "one")
    for kind in ("docker-archive", "oci-archive"):
        command = [
            "skopeo",
            "copy",
            "-q",
            f"oci:{pyfetch.folder}/layout:one",
            f"{kind}:{pyfetch.folder}/{kind}.tar:t:1",
        ]
        subprocess.run(command, check=True, capture_output=True)

        assert pyfetch.ok(f"{kind}:{kind}.tar", "--copy")


def two_streams(data):
    return lzma.compress(data[:5000]) + lzma.compress(data[5000:])


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, zstd, two_streams])
def test_layers_of_a_docker_archive_may_be_compressed_as_docker_loads_them(pyfetch, pack):
    layers = [tar(entry("a", data=os.urandom(100_000))), tar(entry("b", data=bytes(100_000)))]
    image = Image(*layers)
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    document = [{"Config": "abc.json", "RepoTags": ["test:1"], "Layers": names}]
    config = image.blobs[image.manifest["config"]["digest"]]
    packed = [entry(name, data=pack(layer)) for name, layer in zip(names, layers)]
    archive = tar(entry("abc.json", data=config), entry("manifest.json", data=json.dumps(document).encode()), *packed)
    (pyfetch.folder / "image.tar").write_bytes(archive)
    root = pyfetch.copy("docker-archive:image.tar")

    assert {name: os.path.getsize(f"{root}/{name}") for name in os.listdir(root)} == {"a": 100_000, "b": 100_000}


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress])
def test_a_compressed_docker_archive_that_is_cut_is_refused(pyfetch, pack):
    (pyfetch.folder / "image.tar").write_bytes(pack(old_docker_archive(Image(tar("a"))))[:-20])

    assert "end too early" in pyfetch.fails("docker-archive:image.tar")[1]


def tagged(pyfetch, tags):
    image = Image(layer := tar("x"))
    config = image.blobs[image.manifest["config"]["digest"]]
    document = json.dumps([{"Config": "c", "RepoTags": tags, "Layers": ["l"]}]).encode()
    archive = members(("c", config), ("l", layer), ("manifest.json", document))
    (pyfetch.folder / "image.tar").write_bytes(archive)
    return archive


def test_an_image_has_the_tag_that_was_asked_for(pyfetch):
    tagged(pyfetch, ["first:1", "second:2"])
    pyfetch.ok("docker-archive:image.tar:second:2")

    assert [line.split()[0] for line in pyfetch.ok("images").splitlines()[1:]] == ["docker.io/library/second:2"]


def test_an_image_is_chosen_by_its_number(pyfetch):
    image = Image(tar("x"))
    other = Image(tar("y"))
    entries = [{"Config": f"c{n}", "RepoTags": [f"number:{n}"], "Layers": [f"l{n}"]} for n in (0, 1)]
    configs = [one.blobs[one.manifest["config"]["digest"]] for one in (image, other)]
    files = (("c0", configs[0]), ("l0", tar("x")), ("c1", configs[1]), ("l1", tar("y")))
    (pyfetch.folder / "image.tar").write_bytes(members(*files, ("manifest.json", json.dumps(entries).encode())))

    assert os.listdir(pyfetch.copy("docker-archive:image.tar:@1")) == ["y"]
    assert "docker.io/library/number:1" in pyfetch.ok("images")
    assert "no image @2" in pyfetch.fails("docker-archive:image.tar:@2", "other")[1]


@pytest.mark.parametrize("tags", [None, [], ["<none>:<none>"]])
def test_an_image_without_a_tag_has_the_name_of_its_archive(pyfetch, tags):
    tagged(pyfetch, tags)
    pyfetch.ok("docker-archive:image.tar")

    assert f"docker-archive:{pyfetch.folder}/image.tar" in pyfetch.ok("images")


@pytest.mark.parametrize("manifests", [[], None])
def test_what_docker_25_saves_by_digest_is_read_from_standard_input(pyfetch, manifests):
    """Its index.json names nothing, since the image has no tag; manifest.json does."""
    image = Image(layer := tar("x"))
    config = image.blobs[image.manifest["config"]["digest"]]
    names = [f"blobs/sha256/{digest_of(data)[7:]}" for data in (config, layer)]
    document = [{"Config": names[0], "RepoTags": None, "Layers": names[1:]}]
    files = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": {"schemaVersion": 2, "manifests": manifests}}
    files = {name: json.dumps(value).encode() for name, value in {**files, "manifest.json": document}.items()}
    archive = members(*files.items(), (names[0], config), (names[1], layer))
    path = pyfetch.ok("-", "bundle", "--copy", input=archive, text=False).decode()

    assert os.listdir(f"{path}/rootfs") == ["x"]


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lzma.compress])
def test_an_archive_may_come_on_standard_input(pyfetch, pack):
    data = pack(old_docker_archive(Image(tar("x"))))
    path = pyfetch.ok("-", "bundle", "--copy", input=data, text=False).decode()

    assert os.listdir(f"{path}/rootfs") == ["x"]


def test_a_saved_image_is_read_by_pyfetch_skopeo_and_docker(pyfetch, registry):
    image = Image(tar("a"), tar("b"))
    name = registry.add(image)
    pyfetch.ok(name)
    pyfetch.ok("save", name, "-o", "saved.tar")
    inspected = subprocess.run(
        ["skopeo", "inspect", f"oci-archive:{pyfetch.folder}/saved.tar"], capture_output=True, check=True
    )
    with tarfile.open(pyfetch.folder / "saved.tar") as archive:
        docker = json.load(archive.extractfile("manifest.json"))

    assert json.loads(inspected.stdout)["Digest"] == image.digest
    assert docker[0]["RepoTags"] == [name]
    store = str(pyfetch.folder / "other")
    path = pyfetch.ok("oci-archive:saved.tar", "--store", store, "--copy", "bundle")
    assert sorted(os.listdir(f"{path}/rootfs")) == ["a", "b"]
    assert name in pyfetch.ok("images", "--store", store)


@pytest.mark.needs("root", "dockerd", "docker")
def test_docker_loads_a_saved_image(pyfetch, registry, busybox, docker):
    name = saved(pyfetch, registry, busybox)
    loaded = docker("load", "--input", pyfetch.folder / "saved.tar", check=True).output
    ran = docker("run", "--rm", "--network", "none", name, check=True).output

    assert loaded == f"Loaded image: {name}\n"
    assert ran == "hello\n"


@pytest.mark.needs("root", "podman")
def test_podman_loads_a_saved_image(pyfetch, registry, busybox):
    name = saved(pyfetch, registry, busybox)
    with podman_in(pyfetch.folder) as podman:
        loaded = podman("load", "--quiet", "--input", str(pyfetch.folder / "saved.tar"))
        inspected = podman("image", "inspect", "--format", "{{.Id}} {{.Config.Cmd}}", name)

    assert loaded == f"Loaded image: {name}"
    assert inspected == f"{busybox.manifest['config']['digest'][7:]} [/bin/sh -c echo hello]"


def saved(pyfetch, registry, image):
    """Save `image` as saved.tar; return its name."""
    name = registry.add(image)
    pyfetch.ok(name)
    pyfetch.ok("save", name, "--output", "saved.tar")
    return name


def test_save_writes_the_same_bytes_to_standard_output(pyfetch, registry):
    name = registry.add(Image(tar("x")))
    pyfetch.ok(name)
    pyfetch.ok("save", name, "-o", "saved.tar")

    assert pyfetch.run("save", name, text=False).stdout == (pyfetch.folder / "saved.tar").read_bytes()


def test_save_does_not_leave_a_part(pyfetch):
    assert pyfetch.fails("save", "nothing", "-o", "x")[0] == 3
    assert not [n for n in os.listdir(pyfetch.folder) if n.startswith("x")]


def test_an_index_in_a_layout_is_chosen_from(pyfetch):
    blobs, top = index_of(
        (Image(tar("arm"), platform=("linux", "arm64")), {"os": "linux", "architecture": "arm64"}),
        (Image(tar("intel")), {"os": "linux", "architecture": "amd64"}),
    )
    write_layout(str(pyfetch.folder / "layout"), blobs, [top])

    assert os.listdir(pyfetch.copy("oci:layout")) == ["intel"]


@pytest.mark.parametrize("kind", ["dir:x", "containers-storage:x", "https://example.com/x"])
def test_other_kinds_of_places_are_refused_by_name(pyfetch, kind):
    status, error = pyfetch.fails(kind)

    assert status == 2
    assert "not supported" in error


@pytest.mark.parametrize("place", ["oci:nothing", "oci-archive:nothing", "docker-archive:nothing"])
def test_a_missing_file_is_not_found(pyfetch, place):
    assert pyfetch.fails(place)[0] == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x1f\x8b\x08",
        b"x" * 4096,
        members(("manifest.json", b"[]")),
        members(("manifest.json", b"{")),
        members(("manifest.json", b'[{"Config":"../../etc/passwd","Layers":[]}]')),
        members(("manifest.json", b'[{"Config":7,"Layers":[]}]')),
        tar(symlink("manifest.json", "manifest.json")),
        members(("index.json", b"{}")),
        members(("index.json", b'{"manifests":[{"digest":"sha256:../../x","size":1}]}')),
    ],
)
def test_a_file_that_is_no_image_is_an_error(pyfetch, data):
    (pyfetch.folder / "file").write_bytes(data)
    for kind in ("docker-archive:file", "oci-archive:file"):
        assert pyfetch.fails(kind, "bundle")[0] in (3, 6)
    assert not os.path.exists(pyfetch.folder / "bundle")


def test_a_blob_with_another_digest_is_refused(pyfetch):
    image = Image(tar("x"))
    layout = image.write_layout(pyfetch.folder / "layout", "one")
    digest = image.manifest["layers"][0]["digest"]
    data = bytearray(image.blobs[digest])
    data[-9] ^= 1
    (layout / "blobs" / digest.replace(":", "/")).write_bytes(data)
    status, error = pyfetch.fails("oci:layout", "bundle")

    assert status == 6
    assert f"filesystem layer verification failed for digest {digest}" in error
    assert digest_of(bytes(data)) != digest
