"""Images made to do harm: each ends in the right result or in one clear line, and nothing outside is touched."""

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import tarfile

import pytest
from images import Image, digest_of, directory, entry, hard_link, index_of, symlink, tar, zstd
from misbehaving import Server


@pytest.fixture
def victim(pyfetch):
    """A folder that nothing may touch; what is in it is compared at the end."""
    folder = pyfetch.folder / "victim"
    folder.mkdir()
    (folder / "file").write_text("precious")
    (folder / "empty").mkdir()
    (folder / ".wh.file").write_text("")
    before = snapshot(folder)
    yield str(folder)
    assert snapshot(folder) == before


def snapshot(folder):
    paths = [folder, *sorted(folder.rglob("*"))]
    return [
        (str(p), p.stat().st_mode, p.stat().st_uid, p.stat().st_mtime_ns, p.is_file() and p.read_text()) for p in paths
    ]


def refused(pyfetch, *layers, config=None, options=(), compress=None):
    """Pull both ways; return the error, which must be one line, the same status, and leave nothing."""
    Image(*layers, config=config, compress=compress).write_layout(pyfetch.folder / "layout", "x")
    results = [pyfetch.fails("oci:layout:x", "bundle", mode, *options) for mode in ("--copy", "--overlay")]
    left = os.listdir(pyfetch.store / "layers") + os.listdir(pyfetch.folder)
    assert "bundle" not in left and not [n for n in left if n.startswith(".bundle")]
    assert {status for status, _ in results} <= {6, 2}, results
    return results[0][1]


def applied(pyfetch, *layers, mode="--copy", **options):
    Image(*layers, **options).write_layout(pyfetch.folder / "layout", "x")
    return os.path.join(pyfetch.ok("oci:layout:x", mode), "rootfs")


BOTH = pytest.mark.parametrize("mode", ["--copy", "--overlay"])

# F1


@pytest.mark.parametrize("name", ["../x", "a/../../x", "a/..", "..", "/../x", "a/" * 2500 + "x", ""])
def test_a_name_that_leads_out_is_refused(pyfetch, victim, name):
    refused(pyfetch, tar("first", entry(name)))


@BOTH
@pytest.mark.parametrize("name", ["/etc/x", "./etc//x", "etc/./x", "//etc/x/"])
def test_an_absolute_or_odd_name_is_one_inside(pyfetch, mode, name):
    assert os.path.lexists(applied(pyfetch, tar(entry(name)), mode=mode) + "/etc/x")


def test_a_name_that_is_too_long_for_the_file_system_is_refused(pyfetch):
    Image(tar(entry("n" * 300))).write_layout(pyfetch.folder / "layout", "x")
    status, error = pyfetch.fails("oci:layout:x", "bundle", "--copy")

    assert "File name too long" in error


# F2


@BOTH
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "target", ["{victim}", "../../../../../../../../../..{victim}", "up/up/up/up/up/up/up/up{victim}"]
)
def test_a_link_that_leads_out_is_followed_inside_only(pyfetch, victim, mode, split, target):
    links = [symlink("up", ".."), symlink("l", target.format(victim=victim))]
    files = [entry("l/file", data=b"owned"), directory("l/empty", mode=0o777), entry("l/new")]
    layers = [tar(*links), tar(*files)] if split else [tar(*links, *files)]
    applied(pyfetch, *layers, mode=mode)

    assert not os.path.exists(f"{victim}/new")


@BOTH
def test_a_file_is_never_written_through_a_link_of_its_own_name(pyfetch, victim, mode):
    root = applied(pyfetch, tar(symlink("f", f"{victim}/file")), tar(entry("f", data=b"owned")), mode=mode)

    assert open(f"{root}/f").read() == "owned"


def test_links_in_a_circle_are_refused(pyfetch):
    assert "too many levels of symbolic links" in refused(pyfetch, tar(symlink("a", "b"), symlink("b", "a"), "a/x"))


def test_a_long_chain_of_links_is_refused(pyfetch):
    chain = [symlink(f"l{n}", f"l{n + 1}") for n in range(60)]

    assert "too many levels" in refused(pyfetch, tar(*chain, directory("l60"), "l0/x"))


def test_a_chain_of_links_that_is_longer_than_a_path_leads_nowhere(pyfetch, victim):
    """CVE-2025-4517 and its kind: a check of the expanded path gives up, and the kernel follows the short one."""
    letters, step, below, chain = "abcdefghijklmno", "d" * 247, "", []
    for letter in letters:
        chain += [directory(f"{below}{step}"), symlink(f"{below}{letter}", step)]
        below += f"{step}/"
    last = "/".join(letters) + "/" + "l" * 254
    chain += [symlink(last, "../" * len(letters)), symlink("out", f"{last}/../../..{victim}"), entry("out/new")]
    Image(tar(*chain)).write_layout(pyfetch.folder / "layout", "x")
    for mode in ("--copy", "--overlay"):
        assert pyfetch.run("oci:layout:x", mode).returncode in (0, 6)

    assert not os.path.exists(f"{victim}/new")


@BOTH
def test_all_orders_of_a_directory_a_link_and_a_child_stay_inside(pyfetch, victim, mode):
    parts = [
        directory("d"),
        symlink("d", victim),
        entry("d/file", data=b"owned"),
        entry("d/.wh.file"),
        entry("d/.wh..wh..opq"),
    ]
    for order in itertools.islice(itertools.permutations(parts, 4), 0, None, 7):
        Image(tar(*order[:2]), tar(*order[2:])).write_layout(pyfetch.folder / "layout", "x")
        pyfetch.run("oci:layout:x", mode)


# F3


@pytest.mark.parametrize("target", ["../victim/file", "{victim}/file", "l/file", "nothing", "d", "", ".", "later"])
def test_a_hard_link_to_what_is_not_a_file_inside_is_refused(pyfetch, victim, target):
    target = target.format(victim=victim)
    refused(pyfetch, tar(symlink("l", victim), directory("d"), hard_link("x", target), "later"))


def test_a_hard_link_is_not_resolved_from_our_working_directory(pyfetch, victim):
    refused(pyfetch, tar(hard_link("x", "victim/file")))


@BOTH
def test_a_hard_link_entrys_own_attributes_are_ignored(pyfetch, mode):
    root = applied(pyfetch, tar(entry("a", mode=0o640, uid=3)), tar(hard_link("b", "a", mode=0o777, uid=9)), mode=mode)
    first, second = os.stat(f"{root}/a"), os.stat(f"{root}/b")

    assert (first.st_ino, first.st_mode, first.st_uid) == (second.st_ino, 0o100640, 3)


def test_a_hard_link_to_a_link_does_not_change_what_it_points_to(pyfetch, victim):
    root = applied(pyfetch, tar(symlink("l", f"{victim}/file"), hard_link("h", "l", mode=0o777, uid=5)))

    assert os.readlink(f"{root}/h") == f"{victim}/file"


# F4


@pytest.mark.parametrize("name", ["./", ".", "/"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.REGTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_root_that_is_no_directory_is_refused(pyfetch, victim, name, kind):
    if kind == tarfile.REGTYPE and name != ".":
        pytest.skip("a file whose name ends in a slash is a directory")
    refused(pyfetch, tar(entry(name, kind, linkname=victim)))


# F5, F6


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."])
def test_a_whiteout_of_nothing_is_refused(pyfetch, name):
    refused(pyfetch, tar("d/x"), tar(entry(name)))


@BOTH
@pytest.mark.parametrize("name", ["l/.wh.file", "l/.wh.empty", "l/.wh..wh..opq", "l/d/.wh.x"])
def test_a_whiteout_through_a_link_takes_nothing_outside(pyfetch, victim, mode, name):
    applied(pyfetch, tar(symlink("l", victim), "x"), tar(entry(name)), mode=mode)


# F7


@BOTH
def test_a_device_that_overlays_take_for_a_deletion_is_left_out(pyfetch, mode):
    root = applied(pyfetch, tar("a"), tar(entry("a", tarfile.CHRTYPE, devmajor=0, devminor=0)), mode=mode)

    assert os.path.isfile(f"{root}/a")


def test_an_unknown_type_is_refused(pyfetch):
    assert "unknown type" in refused(pyfetch, tar(entry("x", b"Z")))


# F9, F10


def test_a_bomb_is_stopped_by_its_ratio(pyfetch):
    def bomb(_):
        block = gzip.compress(bytes(64 << 20), 9)
        return block * 50

    Image(tar("x"), compress=bomb).write_layout(pyfetch.folder / "layout", "x")
    status, _ = pyfetch.fails("oci:layout:x", "bundle", "--copy")

    assert status == 6


@pytest.mark.parametrize(("option", "value"), [("--max-size", "1M"), ("--max-files", "10")])
def test_limits_hold_and_say_how_to_change_them(pyfetch, option, value):
    layer = tar(*(entry(f"f{n}", data=bytes(100_000)) for n in range(20)))

    assert option in refused(pyfetch, layer, options=(option, value))


def test_directories_that_no_entry_names_count_as_files(pyfetch):
    deep = "/d" * 500
    layer = tar(*(f"{n}{deep}/x" for n in range(4)))

    assert "--max-files" in refused(pyfetch, layer, options=("--max-files", "1000"))


def test_names_may_not_take_all_memory(pyfetch):
    folder = "/".join(["d" * 250] * 15)
    layer = tar(*(f"{folder}/{n}" for n in range(200)))

    assert "names" in refused(pyfetch, layer, options=("--max-files", "5000"))


@pytest.mark.parametrize("key", ["comment", "SCHILY.xattr.user.{}", "GNU.sparse.{}"])
def test_global_headers_without_end_take_no_memory(pyfetch, key):
    headers = []
    for number in range(150):
        text = f" {key.format(number)}=".encode() + bytes([65 + number % 26]) * 1_000_000 + b"\n"
        info, data = entry("g", b"g", data=b"%d" % (len(text) + 7) + text)
        headers.append(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
    Image(b"".join(headers) + tar("x")).write_layout(pyfetch.folder / "layout", "x")
    _, kilobytes, _ = pyfetch.measure("oci:layout:x", "--copy")

    assert kilobytes < 80_000


def test_an_image_archive_whose_names_take_all_memory_is_refused(pyfetch):
    names = (f"{n}{'n' * 1_000_000}" for n in range(20))
    (pyfetch.folder / "image.tar").write_bytes(tar(*(entry(name) for name in names), format=tarfile.GNU_FORMAT))

    assert "too long names" in pyfetch.fails("docker-archive:image.tar")[1]


def test_a_sparse_file_of_exabytes_is_refused(pyfetch):
    info = tarfile.TarInfo("x")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**62)}
    info.size = 512
    data = b"1\n0\n0\n".ljust(512, b"\0")

    assert "--max-size" in refused(pyfetch, tar((info, data)))


@pytest.mark.parametrize(
    "size", [b"-0000000001\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"99999999999\0", b"junk       \0"]
)
def test_a_size_that_lies_is_refused(pyfetch, size):
    block = bytearray(tar("x")[:512])
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    refused(pyfetch, bytes(block) + bytes(2048))


@pytest.mark.parametrize(
    "headers",
    [
        {"size": "-1"},
        {"size": "9" * 30},
        {"size": str(2**63)},
        {"uid": "4294967295"},
        {"gid": "-5"},
        {"mtime": "x"},
        {"mtime": "nan"},
        {"mtime": "-inf"},
        {"mtime": "1e9"},
        {"SCHILY.xattr.user.a\0b": "x"},
        {"LIBARCHIVE.xattr.user.a%00b": "eA"},
        {"LIBARCHIVE.xattr.user.a": "x"},
    ],
)
def test_a_pax_header_that_lies_is_refused(pyfetch, headers):
    refused(pyfetch, tar(entry("x", pax_headers=headers)), options=("--max-size", "99999999T"))


@pytest.mark.parametrize("time", [2**70, -(2**70), 2**63])
def test_a_time_beyond_all_file_systems_is_refused(pyfetch, time):
    block = bytearray(tar("x")[:512])
    block[136:148] = b"\x80" + time.to_bytes(11, "big") if time > 0 else b"\xff" + time.to_bytes(11, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)

    assert "time" in refused(pyfetch, bytes(block) + tar("x")[512:])


@pytest.mark.parametrize("kind", [b"x", b"L", b"K", b"g"])
def test_a_huge_extended_header_is_refused(pyfetch, kind):
    refused(pyfetch, tar(entry("x", kind, data=b"1" * (2 << 20))))


@pytest.mark.parametrize("body", [b"9 path=x\n", b"99 path=x\n", b"path=x\n", b"-5 a=b\n", b"0 a=b\n", b"8 pathx\n"])
def test_a_damaged_pax_header_is_refused(pyfetch, body):
    if body == b"9 path=x\n":
        body = b"9 path=x!"
    refused(pyfetch, tar(entry("p", b"x", data=body), "x"))


def test_a_window_that_needs_gigabytes_is_refused(pyfetch):
    big = tar(entry("x", data=bytes(1 << 20)))

    assert "zstd" in refused(pyfetch, big, compress=lambda data: zstd(data * 1, "--ultra", "-22", "--long=31"))


@pytest.mark.parametrize("magic", [b"\xfd7zXZ\0\0\0", b"BZh91AY&", b"\x04\x22\x4d\x18\0\0\0\0"])
def test_other_compressions_are_refused_by_name(pyfetch, magic):
    assert "compressed with" in refused(pyfetch, tar("x"), compress=lambda data: magic + data)


def test_a_deep_tree_is_made_and_removed(pyfetch):
    path = "/".join(["d"] * 2000)
    applied(pyfetch, tar(directory(path)))
    bundle = pyfetch.ok("oci:layout:x", "bundle", "--copy")
    pyfetch.ok("rm", "bundle")

    assert not os.path.exists(bundle)


# F11, F12


def serve(registry, change):
    """Serve an image after `change` has had it: it may replace blobs."""
    image = Image(tar("x"))
    change(image)
    return registry.add(image)


def replace_manifest(image, **fields):
    manifest = {**image.manifest, **fields}
    data = json.dumps({k: v for k, v in manifest.items() if v is not None}).encode()
    image.descriptor = image.add(data, manifest.get("mediaType") or "")


def layer_with(**fields):
    return lambda image: replace_manifest(image, layers=[{**image.manifest["layers"][0], **fields}])


HOSTILE_MANIFESTS = {
    "unknown algorithm": layer_with(digest="md5:" + "0" * 32),
    "upper case": layer_with(digest="sha256:" + "A" * 64),
    "short digest": layer_with(digest="sha256:" + "a" * 63),
    "path in digest": layer_with(digest="sha256:../../../../etc/passwd"),
    "no digest": layer_with(digest=None),
    "negative size": layer_with(size=-1),
    "size too small": layer_with(size=10),
    "size too large": layer_with(size=100_000),
    "size of exabytes": layer_with(size=1 << 62),
    "size is text": layer_with(size="10"),
    "size is true": layer_with(size=True),
    "unknown layer": layer_with(mediaType="application/vnd.oci.image.layer.v1.squashfs"),
    "encrypted layer": layer_with(mediaType="application/vnd.oci.image.layer.v1.tar+gzip+encrypted"),
    "wrong data": layer_with(data="AAAA"),
    "both": lambda image: replace_manifest(image, manifests=[]),
    "media type lies": lambda image: replace_manifest(image, mediaType="application/vnd.oci.image.index.v1+json"),
    "schema 1": lambda image: replace_manifest(image, schemaVersion=1),
    "config is a list": lambda image: replace_manifest(image, config=[]),
    "layers is text": lambda image: replace_manifest(image, layers="x"),
    "an artifact": lambda image: replace_manifest(image, config={**image.manifest["config"], "mediaType": "text/x"}),
    "more layers than diff ids": lambda image: replace_manifest(image, layers=image.manifest["layers"] * 2),
    "many layers": lambda image: replace_manifest(image, layers=image.manifest["layers"] * 5000),
    "huge": lambda image: replace_manifest(image, annotations={"x": "x" * (5 << 20)}),
}


DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ODD_MANIFESTS = {
    "no type": lambda image: replace_manifest(image, mediaType=None),
    "a type of nobody": lambda image: replace_manifest(image, mediaType="application/x"),
    **{
        f"config of type {kind}": lambda image, kind=kind: replace_manifest(
            image, config={**image.manifest["config"], "mediaType": kind}
        )
        for kind in ("application/octet-stream", "application/json", "text/html", "", None)
    },
}


@pytest.mark.parametrize("kind", ODD_MANIFESTS)
def test_a_manifest_with_types_that_say_nothing_is_an_image(pyfetch, registry, kind):
    assert pyfetch.ok(serve(registry, ODD_MANIFESTS[kind]))


@pytest.mark.parametrize("artifact", ["application/vnd.example.sbom", "x"])
def test_an_artifact_is_told_as_one_whatever_its_config(pyfetch, registry, artifact):
    def change(image):
        untyped = {**image.manifest["config"], "mediaType": "application/octet-stream"}
        replace_manifest(image, config=untyped, artifactType=artifact)

    assert f"this is an artifact ({artifact})" in pyfetch.fails(serve(registry, change))[1]


LABELS = [
    "text/plain",
    "application/json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    DOCKER,
    "",
    "a/\xe9",
]


@pytest.mark.parametrize("label", LABELS)
def test_a_server_may_label_a_manifest_wrongly_but_the_store_does_not(pyfetch, registry, label):
    image = Image(tar("x"))
    headers = {"Content_Type": label, "Docker_Content_Digest": image.digest}
    data = image.blobs[image.digest]
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(200, data, **headers), True)[1]

    assert pyfetch.ok(registry.add(image))
    assert (
        json.loads((pyfetch.store / "index.json").read_text())["manifests"][0]["mediaType"]
        == image.descriptor["mediaType"]
    )


def test_a_server_may_not_call_an_image_an_index(pyfetch, registry):
    image = Image(tar("x"))
    headers = {"Content_Type": "application/vnd.oci.image.index.v1+json", "Docker_Content_Digest": image.digest}
    registry.before = lambda h: (
        "/manifests/" in h.path and (h.reply(200, image.blobs[image.digest], **headers), True)[1]
    )

    assert "both an index and an image" in pyfetch.fails(registry.add(image))[1]


AMD64 = {"os": "linux", "architecture": "amd64"}


def test_an_index_may_call_a_docker_manifest_by_ocis_name_but_no_index(pyfetch, registry):
    image = Image(tar("x"))
    replace_manifest(image, mediaType=DOCKER)
    image.descriptor["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    registry.blobs, registry.tags["1"] = index_of((image, AMD64))
    image.descriptor["mediaType"] = "application/vnd.oci.image.index.v1+json"
    blobs, registry.tags["2"] = index_of((image, AMD64))
    registry.blobs.update(blobs)

    assert pyfetch.ok(f"{registry.host}/test:1")
    assert "both an index and an image" in pyfetch.fails(f"{registry.host}/test:2")[1]


def test_a_list_of_dockers_in_an_index_is_an_index(pyfetch, registry):
    blobs, inner = index_of((Image(tar("x")), AMD64))
    inner["mediaType"] = "application/vnd.docker.distribution.manifest.list.v2+json"
    document = json.loads(blobs.pop(inner["digest"]))
    data = json.dumps({**document, "mediaType": inner["mediaType"]}).encode()
    inner = {**inner, "digest": digest_of(data), "size": len(data)}
    top = json.dumps({"schemaVersion": 2, "manifests": [inner]}).encode()
    registry.blobs = {**blobs, inner["digest"]: data, digest_of(top): top}
    registry.tags["1"] = {"digest": digest_of(top)}

    assert pyfetch.ok(f"{registry.host}/test:1")


@pytest.mark.parametrize(
    ("promised", "config"),
    [
        ({"os": "linux", "architecture": "arm", "variant": "v6"}, ("linux", "arm")),
        ({"os": "linux", "architecture": "amd64", "variant": "v3"}, ("linux", "amd64")),
        ({"os": "linux", "architecture": "arm64"}, ("linux", "amd64")),
        ({"os": "linux", "architecture": "riscv64"}, ("linux", "")),
    ],
)
def test_the_index_decides_for_which_platform_an_image_is(pyfetch, registry, promised, config):
    registry.blobs, registry.tags["1"] = index_of((Image(tar("x"), platform=config), promised))
    wanted = "/".join(promised.values())
    done = pyfetch.run(f"{registry.host}/test:1", "bundle", "--platform", wanted)

    assert done.returncode == 0, done.stderr
    assert json.loads((pyfetch.folder / "bundle/image.json").read_text())["platform"] == wanted
    assert ("its config says" in done.stderr) == (config[1] != promised["architecture"])


def test_an_index_that_does_not_name_the_platform_leaves_it_to_the_config(pyfetch, registry):
    registry.blobs, registry.tags["1"] = index_of((Image(tar("x"), platform=("linux", "s390x")), None))

    assert pyfetch.fails(f"{registry.host}/test:1", "--platform", "linux/amd64")[0] == 3
    assert pyfetch.ok(f"{registry.host}/test:1", "--platform", "linux/s390x")


@pytest.mark.parametrize("kind", HOSTILE_MANIFESTS)
def test_a_hostile_manifest_is_refused(pyfetch, registry, kind):
    status, _ = pyfetch.fails(serve(registry, HOSTILE_MANIFESTS[kind]), "bundle")

    assert status == (7 if kind == "size of exabytes" else 6)
    assert not os.path.exists(pyfetch.folder / "bundle")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"nul", b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 200_000, b"\xff", b'{"layers":"\\ud800"}']
)
def test_a_manifest_that_is_not_clean_json_is_refused(pyfetch, registry, text):
    image = Image(tar("x"))
    image.descriptor = image.add(text, "")
    name = registry.add(image)
    digest = digest_of(text)
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(200, text, Docker_Content_Digest=digest), True)[1]

    assert pyfetch.fails(name)[0] == 6


def test_an_endless_nest_of_indexes_is_refused(pyfetch, registry):
    blobs, top = index_of((Image(tar("x")), {"os": "linux", "architecture": "amd64"}))
    for _ in range(10):
        data = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        blobs[digest_of(data)] = data
        top = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest_of(data), "size": len(data)}
    registry.blobs, registry.tags["1"] = blobs, top

    assert "indexes" in pyfetch.fails(f"{registry.host}/test:1")[1]


@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_wrong_content_is_refused(pyfetch, registry, what):
    image = Image(tar("x"))
    digest = image.digest if what == "manifests" else image.manifest["layers"][0]["digest"]
    name = registry.add(image)
    data = image.blobs[digest]
    registry.blobs[digest] = data.replace(b": ", b" :", 1) if what == "manifests" else data[:-1] + b"\n"
    status, _ = pyfetch.fails(name, "bundle")

    assert status == 6
    assert not os.path.exists(pyfetch.store / "blobs" / digest.replace(":", "/"))


def test_a_layer_that_unpacks_to_something_else_is_refused(pyfetch):
    image = Image(tar("x"))
    image.config["rootfs"]["diff_ids"] = [digest_of(b"other")]
    image.seal()
    image.write_layout(pyfetch.folder / "layout", "x")
    status, error = pyfetch.fails("oci:layout:x", "bundle")

    assert status == 6
    assert "config says" in error
    assert os.listdir(pyfetch.store / "layers") == []


def test_sha512_is_understood(pyfetch, registry):
    import hashlib

    image = Image(tar("x"))
    layer = image.layers[0]
    digest = f"sha512:{hashlib.sha512(layer).hexdigest()}"
    image.blobs[digest] = layer
    layer_with(digest=digest)(image)

    assert os.listdir(pyfetch.copy(registry.add(image))) == ["x"]


# F21


NO_REFERENCES = ["a@b:c", "host.com/../x", "host.com/X", "h.com:99999/x", "x:" + "t" * 129, "x@sha256:12", "x@y.com/z"]
NO_REFERENCES += ["a//b", "-x/y:z", "a b", "x:", "x/", "host.com/a\r\nX: y", "http://x/y", "user@host.com/x", "a" * 300]
NO_REFERENCES += ["x:y:z", "[::1/x", "é"]


@pytest.mark.parametrize("name", NO_REFERENCES)
def test_a_reference_that_is_none_is_a_usage_error(pyfetch, name):
    assert pyfetch.fails("pull", name)[0] == 2


# F22, F24


@pytest.mark.parametrize(
    "user",
    [
        "nobody-here",
        "4294967296",
        "4294967295",
        "-1",
        "0:4294967296",
        "0:nogroup",
        ":",
        "1:2:3",
        "99999999999999999999",
    ],
)
def test_a_user_that_cannot_be_is_refused(pyfetch, user):
    passwd = entry("etc/passwd", data=b"x:x:0:0::/:\n4294967296:x:0:0::/:\n-1:x:0:0::/:\n:x:0:0::/:\n")
    refused(pyfetch, tar(passwd), config={"User": user})


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0)),
        ("5", (5, 6)),
        ("7", (7, 0)),
        ("five", (5, 6)),
        ("five:wheel", (5, 10)),
        ("1000", (1000, 0)),
        ("5:11", (5, 11)),
        ("5:", (5, 6)),
        ("1000:", (1000, 0)),
        ("five:", (5, 6)),
        (":11", (0, 11)),
        (":wheel", (0, 10)),
    ],
)
@BOTH
def test_a_user_is_found_in_the_images_own_files(pyfetch, user, expected, mode):
    passwd = entry("etc/passwd", data=b"junk\nfive:x:5:6::/:/bin/sh\n1000:x:0:0::/:\n")
    group = entry("etc/group", data=b"wheel:x:10:\nextra:x:12:five\n")
    root = applied(pyfetch, tar("a"), tar(passwd, group), config={"User": user}, mode=mode)
    found = json.loads(open(f"{root}/../config.json").read())["process"]["user"]

    assert (found["uid"], found["gid"]) == expected
    groups = {"five": [6, 12], "five:": [6, 12], "5": [6, 12], "5:": [6, 12]}  # docker's and podman's
    assert found["additionalGids"] == groups.get(user, [expected[1]])


@pytest.mark.parametrize("kind", ["link", "fifo", "device", "directory"])
def test_a_passwd_file_that_is_none_is_not_read(pyfetch, victim, kind):
    open(f"{victim}/../passwd", "w").write("evil:x:0:0::/:\n")
    entries = {
        "link": symlink("etc/passwd", f"{victim}/../passwd"),
        "fifo": entry("etc/passwd", tarfile.FIFOTYPE),
        "device": entry("etc/passwd", tarfile.CHRTYPE, devmajor=1, devminor=5),
        "directory": directory("etc/passwd"),
    }

    assert "unable to find user" in refused(pyfetch, tar(entries[kind]), config={"User": "evil"})


def test_a_huge_passwd_file_is_read_in_part_only(pyfetch):
    data = b"x:x:1:1::/:\n" * 1_000_000
    refused(pyfetch, tar(entry("etc/passwd", data=data)), config={"User": "nobody"})


@pytest.mark.parametrize(
    "config",
    [
        {"Env": ["=x"]},
        {"Env": ["A=b\0c"]},
        {"Env": "A=b"},
        {"WorkingDir": "relative"},
        {"WorkingDir": "/proc/self/fd/7"},
        {"WorkingDir": "/x/../proc/self/fd/8"},
        {"Volumes": {"../../etc": {}}},
        {"Volumes": {"/a/../../etc": {}}},
        {"Volumes": {"/proc": {}}},
        {"Volumes": []},
        {"Entrypoint": "/bin/sh"},
        {"Cmd": "/bin/sh"},
        {"Cmd": [7]},
        {"Cmd": [""]},
        {"Labels": []},
        {"StopSignal": 9},
    ],
)
def test_a_hostile_config_is_refused(pyfetch, config):
    refused(pyfetch, tar("x"), config=config, options=("--read-only",))


# F23


def test_labels_become_annotations_except_those_that_runtimes_act_on(pyfetch):
    acting = [
        "run.oci.hooks.stdout",
        "org.systemd.property.ExecStartPre",
        "org.criu.config",
        "krun.x",
        "io.kubernetes.cri-o.x",
    ]
    acting += ["cdi.k8s.io/x", "bundle", "io.katacontainers.x", "pyrun.x", "run.pyrun.x", "module.wasm.image/variant"]
    labels = {"org.example.kept": "line\nbreak", "org.opencontainers.image.os": "mine", **dict.fromkeys(acting, "x")}
    root = applied(
        pyfetch,
        tar("x"),
        config={"Labels": labels, "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}},
    )
    found = json.loads(open(f"{root}/../config.json").read())["annotations"]

    assert found == {
        "org.example.kept": "line\nbreak",
        "org.opencontainers.image.os": "mine",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.stopSignal": "SIGINT",
        "org.opencontainers.image.exposedPorts": "53/udp,80/tcp",
    }


def test_no_label_is_one_of_the_annotations_that_our_runtime_calls_unsafe(pyfetch):
    command = [sys.executable, "-m", "pyrun", "features"]
    listed = subprocess.run(command, env=pyfetch.environment, capture_output=True, check=True).stdout
    unsafe = json.loads(listed)["potentiallyUnsafeConfigAnnotations"]
    root = applied(
        pyfetch, tar("x"), config={"Labels": {f"{name}x" * name.endswith(".") or name: "1" for name in unsafe}}
    )
    found = json.loads(open(f"{root}/../config.json").read())["annotations"]

    assert "run.pyrun.landlock" in unsafe
    assert set(found) == {"org.opencontainers.image.os", "org.opencontainers.image.architecture"}


@pytest.mark.parametrize("key, why", [("a\0b", "NUL"), ("\ud800", "surrogate")])
@pytest.mark.parametrize("name", ["Labels", "ExposedPorts", "Volumes"])
def test_a_name_that_no_system_call_takes_is_refused(pyfetch, key, why, name):
    value = "x" if name == "Labels" else {}
    told = refused(pyfetch, tar("x"), config={name: {key: value}}, options=("--read-only",))

    assert f"config.{name}" in told
    assert why in told


def test_every_row_of_the_conversion_is_an_annotation(pyfetch):
    image = Image(tar("x"))
    image.config.update({"os.version": "1.2", "os.features": ["a", "b"], "variant": "v3"})
    image.config.update({"author": "me", "created": "2026-01-01T00:00:00Z"})
    image.seal()
    image.write_layout(pyfetch.folder / "layout", "x")
    config = json.loads(open(pyfetch.ok("oci:layout:x") + "/config.json").read())

    assert config["annotations"] == {
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.os.version": "1.2",
        "org.opencontainers.image.os.features": "a,b",
        "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.variant": "v3",
        "org.opencontainers.image.author": "me",
        "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
    }


# F14


@pytest.mark.parametrize("kind", ["nondistributable.v1.tar+gzip", "v1.tar+gzip"])
def test_the_addresses_of_a_foreign_layer_are_never_asked(pyfetch, registry, kind):
    elsewhere = Server()
    image = Image(tar("x"), media_type=f"application/vnd.oci.image.layer.{kind}")
    layer = image.manifest["layers"][0]
    layer["urls"] = [f"http://{elsewhere.host}/layer"]
    image.descriptor = image.add(json.dumps(image.manifest).encode(), image.manifest["mediaType"])
    name = registry.add(image)
    served = pyfetch.run(name)
    del registry.blobs[layer["digest"]]
    status, _ = pyfetch.fails(name, "--store", pyfetch.folder / "other")
    elsewhere.close()

    assert served.returncode == 0
    assert ("no other server is asked" in served.stderr) == ("nondistributable" in kind)
    assert (status, elsewhere.requests) == (3, [])


# F15


def test_a_link_header_is_never_followed(pyfetch, registry):
    elsewhere = Server()
    name = registry.add(Image(tar("x")))

    def send_a_link(handler):
        reply, link = handler.reply, f'<http://{elsewhere.host}/v2/next?last=x>; rel="next"'
        handler.reply = lambda *arguments, **headers: reply(*arguments, Link=link, **headers)

    registry.before = send_a_link
    status = pyfetch.run(name).returncode
    elsewhere.close()

    assert (status, elsewhere.requests) == (0, [])


# F25, F26


def test_two_pulls_of_one_bundle_at_once_make_it_once(pyfetch, registry):
    registry.delay = 0.05
    name = registry.add(Image(tar(*(f"file{n}" for n in range(50)))))
    processes = [pyfetch.start(name, "bundle", "--copy") for _ in range(3)]
    errors = [process.communicate(timeout=60)[1].decode() for process in processes]

    assert sorted(process.returncode for process in processes) == [0, 2, 2], errors
    assert sum("exists already" in error for error in errors) == 2
    assert len(os.listdir(pyfetch.folder / "bundle/rootfs")) == 50


def test_no_space_is_told_before_the_download(pyfetch, registry):
    image = Image(tar("x"))
    layer_with(size=1 << 50)(image)
    status, error = pyfetch.fails(registry.add(image))

    assert status == 7
    assert "no space left on device" in error
    assert registry.count("GET", image.manifest["layers"][0]["digest"]) == 0


def test_no_space_for_the_bundle_is_told_before_the_download(pyfetch, registry):
    (pyfetch.folder / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", pyfetch.folder / "small"], check=True)
    image = Image(tar(entry("x", data=random.Random(1).randbytes(2 << 20))))
    status, error = pyfetch.fails(registry.add(image), "small/bundle", "--copy")

    assert status == 7
    assert f"{pyfetch.folder}/small: no space left on device" in error
    assert registry.count("GET", image.manifest["layers"][0]["digest"]) == 0


def test_a_full_file_system_leaves_no_bundle(pyfetch, registry):
    small = pyfetch.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    image = Image(tar(entry("x", data=bytes(4 << 20))))
    status, error = pyfetch.fails(registry.add(image), "small/bundle", "--copy")

    assert status == 7
    assert "No space left on device" in error
    assert os.listdir(small) == []
