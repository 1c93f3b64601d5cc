"""Layers are applied as the image-spec says (layer.md), and as umoci does where it does so too."""

import glob
import gzip
import hashlib
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tarfile

import pytest
from conftest import tree
from images import Image, directory, entry, hard_link, symlink, tar, zstd


def applied(pyfetch, *layers, mode="--copy", timeout=60, **options):
    image = Image(*layers, **options)
    image.write_layout(pyfetch.folder / "layout", "x")
    return os.path.join(pyfetch.ok("oci:layout:x", mode, timeout=timeout), "rootfs")


def names(root):
    found = [os.path.join(folder, name) for folder, folders, files in os.walk(root) for name in folders + files]
    return sorted(os.path.relpath(path, root) for path in found)


BOTH = pytest.mark.parametrize("mode", ["--copy", "--overlay"])


@BOTH
def test_the_tree_equals_umocis(pyfetch, mode):
    lower = tar(
        directory("./", mode=0o755, mtime=1_000_000),
        directory("usr", mtime=11),
        directory("usr/bin", mode=0o751, uid=1, gid=2, mtime=12),
        entry("usr/bin/su", data=b"program", mode=0o4755, mtime=13, uid=0, gid=42),
        entry("usr/bin/mail", data=b"mail", mode=0o2755, mtime=13.25, uid=5, gid=8),
        symlink("bin", "usr/bin", mtime=14, uid=7, gid=7),
        entry("bin/through-link", data=b"x" * 5000, mtime=15),
        hard_link("usr/bin/linked", "usr/bin/su"),
        hard_link("link-to-link", "bin"),
        entry("fifo", tarfile.FIFOTYPE, mode=0o620, mtime=16, uid=9),
        entry("null", tarfile.CHRTYPE, mode=0o666, mtime=17, devmajor=1, devminor=3),
        entry("disk", tarfile.BLKTYPE, mode=0o660, mtime=17, devmajor=7, devminor=0, gid=6),
        directory("var", mode=0o2775, gid=8, mtime=18),
        entry("var/note", data=b"n", mtime=19, pax_headers={"SCHILY.xattr.user.note": "text"}),
        directory("gone", mtime=20),
        entry("gone/a", data=b"a", mtime=21),
        directory("opaque", mtime=22),
        entry("opaque/old", data=b"a", mtime=23),
        directory("merged", mode=0o700, mtime=24),
        entry("merged/lower", data=b"a", mtime=25),
        entry("file-to-dir", data=b"a", mtime=26),
        directory("dir-to-file", mtime=27),
        entry("dir-to-file/in", data=b"a", mtime=28),
        entry("ü" * 120, data=b"long", mtime=29),
        entry("usr/" + "/".join(["d" * 50] * 5), data=b"deep", mtime=30),
        entry("empty", mtime=31),
    )
    upper = tar(
        entry(".wh.gone", mtime=1),
        directory("opaque", mode=0o711, mtime=32),
        entry("opaque/.wh..wh..opq"),
        entry("opaque/new", data=b"b", mtime=33),
        directory("merged", mode=0o755, mtime=34),
        entry("merged/upper", data=b"b", mtime=35),
        directory("file-to-dir", mtime=36),
        entry("file-to-dir/in", data=b"b", mtime=37),
        entry("dir-to-file", data=b"b", mtime=38),
        hard_link("hard-to-lower", "usr/bin/mail"),
        entry("var/note", data=b"replaced", mtime=39),
        entry("bin/upper", data=b"b", mtime=40),
        entry(".wh.never-there"),
    )
    root = applied(pyfetch, lower, upper, mode=mode)
    command = [
        "umoci",
        "unpack",
        "--keep-dirlinks",
        "--image",
        f"{pyfetch.folder}/layout:x",
        str(pyfetch.folder / "umoci"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    ours, theirs = tree(root), tree(pyfetch.folder / "umoci/rootfs")
    # umoci gives directories that no layer names, and those in which it makes them, the time of the run.
    implied = {"/".join(["usr", *["d" * 50] * n]) for n in range(5)}
    different = {
        key: (ours.get(key), theirs.get(key)) for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)
    }

    assert set(different) - implied == set()
    assert os.stat(f"{root}/usr").st_mtime == 11


@BOTH
def test_a_lower_layers_directory_keeps_its_time_if_another_is_made_in_it_without_an_entry(pyfetch, mode):
    lower = tar(directory("a", mtime=11), directory("b", mtime=12), entry("b/in-the-way", data=b"x"))
    root = applied(pyfetch, lower, tar("a/new/file", "b/in-the-way/file", "new/file"), mode=mode)

    assert [os.stat(f"{root}/{name}").st_mtime for name in ("a", "b", "a/new", "new", ".")] == [11, 12, 0, 0, 0]


@BOTH
def test_extended_attributes_are_kept_except_those_that_steer_the_host(pyfetch, mode):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    data = tarfile.TarInfo("f")
    header = {"SCHILY.xattr.user.note": b"a\x00b\xff", "SCHILY.xattr.security.capability": capability}
    header.update(
        {f"SCHILY.xattr.{n}": b"y" for n in ("trusted.overlay.opaque", "user.overlay.opaque", "security.selinux")}
    )
    body = b"".join(record(f"{key}=".encode() + value) for key, value in header.items())
    root = applied(pyfetch, raw_pax(body, data), mode=mode)

    assert os.getxattr(f"{root}/f", "user.note") == b"a\x00b\xff"
    assert os.getxattr(f"{root}/f", "security.capability") == capability
    assert not {n for n in os.listxattr(f"{root}/f") if "overlay" in n or "selinux" in n}


@pytest.mark.parametrize("headers", ["SCHILY", "LIBARCHIVE", "ALL"])
def test_attributes_of_bsdtar_are_whole(pyfetch, headers):
    source = pyfetch.folder / "source"
    source.mkdir()
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    attributes = {"security.capability": capability, "user.empty": b"", "user.all": bytes(range(256))}
    # Alone, star's form does not tell that bsdtar has encoded the name.
    odd = () if headers == "SCHILY" else ("ü", "50%", "%41", "a b")
    attributes.update({f"user.{name}": bytes(range(length)) for length, name in enumerate(odd, 1)})
    (source / "f").write_text("x")
    for name, value in attributes.items():
        os.setxattr(source / "f", name, value)
    command = ["bsdtar", "--format=pax", "--xattrs", f"--options=xattrheader={headers}", "-cf-", "-C", source, "."]
    root = applied(pyfetch, subprocess.run(command, capture_output=True, check=True).stdout)

    assert {name: os.getxattr(f"{root}/f", name) for name in os.listxattr(f"{root}/f")} == attributes


def test_the_exact_form_of_an_attribute_wins(pyfetch):
    headers = [
        b"LIBARCHIVE.xattr.user.a=bGliYXJjaGl2ZQ",
        b"SCHILY.xattr.user.a=schily",
        b"LIBARCHIVE.xattr.user.b=Yg==",
    ]
    for order in (headers, headers[::-1]):
        root = applied(pyfetch, raw_pax(b"".join(map(record, order)), tarfile.TarInfo("f")), mode="--overlay")

        assert (os.getxattr(f"{root}/f", "user.a"), os.getxattr(f"{root}/f", "user.b")) == (b"schily", b"b")


ARCHIVERS = {
    "GNU tar": ["tar", "--format=gnu"],
    "GNU tar, old": ["tar", "--format=oldgnu"],
    "GNU tar, v7": ["tar", "--format=v7"],
    "GNU tar, ustar": ["tar", "--format=ustar"],
    "GNU tar, pax": ["tar", "--format=pax", "--xattrs", "--acls", "--selinux"],
    "GNU tar, label": ["tar", "--format=gnu", "--label=a label"],
    "GNU tar, comment": [
        "tar",
        "--format=pax",
        "--pax-option=comment=x,globexthdr.name=g,SUN.devmajor:=1,RHT.security.selinux:=a",
    ],
    "GNU tar, nothing taken back": ["tar", "--format=pax", "--pax-option=gid=77,path:=,gid:=,atime:="],
    "bsdtar": ["bsdtar"],
    "bsdtar, pax": ["bsdtar", "--format=pax"],
    "bsdtar, bytes": ["bsdtar", "--format=pax", "--options=hdrcharset=BINARY"],
    "bsdtar, gnutar": ["bsdtar", "--format=gnutar"],
    "bsdtar, ustar": ["bsdtar", "--format=ustar"],
    "busybox": ["busybox", "tar"],
}


@pytest.mark.parametrize("archiver", ARCHIVERS)
def test_what_archivers_write_is_read(pyfetch, archiver):
    source = pyfetch.folder / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "ü").write_text("text")
    (source / "d" / ("n" * 80)).write_bytes(bytes(1000))
    (source / "l").symlink_to("d")
    os.link(source / "d" / "ü", source / "hard")
    os.utime(source / "d" / "ü", ns=(-5, 1_234_567_890_000_000_000))
    for path in (source / "l", source / "d" / ("n" * 80), source / "d", source):
        os.utime(path, (7, 7), follow_symlinks=False)
    command = [*ARCHIVERS[archiver], "-cf", "-", "-C", source, "."]
    data = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout
    ours, theirs = tree(applied(pyfetch, data)), tree(source)

    assert {name: found[:5] for name, found in ours.items()} == {name: found[:5] for name, found in theirs.items()}
    assert ours["hard"][-1] == ours["d/ü"][-1]


def test_a_header_of_star_has_two_times_behind_its_prefix(pyfetch):
    block = bytearray(tarfile.TarInfo("name").tobuf(tarfile.USTAR_FORMAT))
    prefix = b"/".join([b"p" * 65] * 2)
    block[345:476], block[476:500], block[508:512] = prefix, b"14600000000\0" * 2, b"tar\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    root = applied(pyfetch, bytes(block) + bytes(1024))

    assert os.path.exists(f"{root}/{prefix.decode()}/name")


def test_a_pax_header_of_solaris_is_read(pyfetch):
    info = tarfile.TarInfo("f")
    data = bytearray(raw_pax(record(b"path=long") + record(b"SUN.devmajor=1") + record(b"uid=70000"), info))
    data[156:157], data[148:156] = b"X", b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    root = applied(pyfetch, bytes(data))

    assert os.stat(f"{root}/long").st_uid == 70000


@pytest.mark.parametrize("seconds", [-1, -86400.5, 2**33])
def test_a_time_before_1970_or_after_2106_is_kept(pyfetch, seconds):
    root = applied(pyfetch, tar(entry("x", mtime=seconds), format=tarfile.PAX_FORMAT))

    assert os.stat(f"{root}/x").st_mtime == seconds


@BOTH
def test_access_control_lists_are_kept(pyfetch, mode):
    acl = acl_of((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 4, -1))
    info = tarfile.TarInfo("f")
    root = applied(pyfetch, raw_pax(record(b"SCHILY.xattr.system.posix_acl_access=" + acl), info), mode=mode)

    assert os.getxattr(f"{root}/f", "system.posix_acl_access") == acl


def acl_of(*entries):
    """Return an ACL as the kernel has it (posix_acl_xattr.h): version 2, then a tag, permissions and an id each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in entries)


MINIMAL_ACL = acl_of((1, 7, -1), (4, 0, -1), (32, 0, -1))  # the owner, the group, others
EXTENDED_ACL = acl_of((1, 7, -1), (2, 7, 1000), (4, 4, -1), (16, 7, -1), (32, 0, -1))  # and user 1000, a mask
DIRECTORIES = {
    "root's": [directory("d")],
    "of another user": [directory("d", uid=5)],
    "of another group": [directory("d", gid=7)],
    "set-group-ID": [directory("d", mode=0o2755, gid=7)],
    "changed by a second entry": [directory("d"), entry("d/before"), directory("d", mode=0o2777, gid=7)],
    "named by no entry": [],
    "with a minimal default ACL": MINIMAL_ACL,
    "with an extended default ACL": EXTENDED_ACL,
}


@BOTH
@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_file_has_the_owner_and_mode_of_its_entry_whatever_its_directory_gives_to_new_files(pyfetch, mode, kind):
    wanted = {
        f"d/{bits:o}-{uid}-{gid}": (bits, uid, gid)
        for uid, gid in ((0, 0), (5, 0), (0, 7))
        for bits in (0o644, 0o600, 0o755, 0o666, 0o777, 0o444, 0, 0o4755, 0o2755, 0o1644)
    }
    files = [entry(name, data=b"x", mode=bits, uid=uid, gid=gid) for name, (bits, uid, gid) in wanted.items()]
    above = DIRECTORIES[kind]
    if isinstance(above, bytes):
        alone = raw_pax(record(b"SCHILY.xattr.system.posix_acl_default=" + above), directory("d")[0])
        layer = alone.removesuffix(bytes(1024)) + tar(*files)  # without the end of an archive
    else:
        layer = tar(*above, *files)

    root = applied(pyfetch, layer, mode=mode)
    status = {name: os.stat(f"{root}/{name}") for name in wanted}

    assert {name: (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid) for name, s in status.items()} == wanted
    assert {name: os.listxattr(f"{root}/{name}") for name in wanted} == {name: [] for name in wanted}


def test_a_global_header_is_that_of_all_entries_behind_it(pyfetch):
    buffer = io.BytesIO()
    headers = {"comment": "0123456789abcdef0123456789abcdef01234567", "mtime": "7"}  # git archive writes the first
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
        for name in ("a", "b"):
            archive.addfile(tarfile.TarInfo(name))
    root = applied(pyfetch, buffer.getvalue())

    assert names(root) == ["a", "b"]
    assert [os.stat(f"{root}/{name}").st_mtime for name in names(root)] == [7, 7]


def record(text):
    length = len(text) + 3
    while len(str(length)) + 2 + len(text) != length:
        length += 1
    return b"%d %s\n" % (length, text)


def raw_pax(body, info):
    """An archive of one pax header with the bytes `body`, then `info`."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = b"x", len(body)
    padding = bytes(-len(body) % 512)
    block = header.tobuf(tarfile.USTAR_FORMAT) + body + padding + info.tobuf(tarfile.USTAR_FORMAT)
    return block + bytes(1024)


@BOTH
def test_a_whiteout_takes_only_what_is_below_whatever_the_order(pyfetch, mode):
    lower = tar("x", "d/a", "d/b", "e/a")
    upper = tar("x", ".wh.x", "d/c/f", "d/.wh..wh..opq", "e/.wh..wh..opq", "e/n", directory("d"), ".wh.e")
    root = applied(pyfetch, lower, upper, mode=mode)

    assert names(root) == ["d", "d/c", "d/c/f", "e", "e/n", "x"]


@BOTH
def test_what_a_whiteout_took_can_come_back(pyfetch, mode):
    root = applied(pyfetch, tar("d/a"), tar(".wh.d"), tar("d/b"), mode=mode)

    assert names(root) == ["d", "d/b"]


def test_marks_of_aufs_are_not_files(pyfetch):
    assert names(applied(pyfetch, tar("a"), tar(".wh..wh.plnk", ".wh..wh.aufs", "b"))) == ["a", "b"]


@BOTH
def test_a_directory_in_place_of_a_link_replaces_it(pyfetch, mode):
    root = applied(pyfetch, tar("t/a", symlink("l", "t")), tar(directory("l"), "l/b"), mode=mode)

    assert names(root) == ["l", "l/b", "t", "t/a"]


def test_the_last_of_two_equal_entries_wins(pyfetch):
    root = applied(pyfetch, tar(entry("a", data=b"1"), entry("a", data=b"2"), "d/x", symlink("d", "a"), directory("d")))

    assert open(f"{root}/a").read() == "2"
    assert names(root) == ["a", "d"]


def test_a_missing_directory_is_roots(pyfetch):
    root = applied(pyfetch, tar(entry("a/b/c", uid=5, gid=5, mode=0o600)))
    status = os.stat(f"{root}/a/b")

    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, 0o755)


@BOTH
def test_a_directory_keeps_its_time_when_a_layer_only_adds_to_it(pyfetch, mode):
    root = applied(pyfetch, tar(directory("d", mtime=7), "d/a"), tar("d/b"), mode=mode)

    assert os.stat(f"{root}/d").st_mtime == 7


@BOTH
def test_the_roots_own_attributes_are_applied_and_survive_upper_layers(pyfetch, mode):
    root = applied(pyfetch, tar(directory("./", mode=0o750, uid=3, mtime=7)), tar("a"), mode=mode)
    status = os.stat(root)

    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o750, 3, 7)


def test_a_root_that_only_root_can_enter_is_warned_of(pyfetch):
    Image(tar(directory("./", mode=0o700))).write_layout(pyfetch.folder / "layout", "x")

    assert "root directory has mode 0700" in pyfetch.run("oci:layout:x", "--copy").stderr


@BOTH
def test_a_whiteout_below_what_is_a_file_now_takes_nothing(pyfetch, mode):
    """kaniko writes one for each file of a directory that it has replaced by a file."""
    lower = tar("d/a", "d/b/c", "keep", symlink("dangling", "nowhere"))
    upper = tar(entry("d"), entry("d/.wh.a"), entry("d/b/.wh.c"), entry("d/.wh..wh..opq"), entry("keep/.wh.x"))
    root = applied(pyfetch, lower, upper, tar(entry("dangling/.wh.x")), mode=mode)

    assert names(root) == ["d", "dangling", "keep"]
    assert open(f"{root}/keep").read() == "keep"


@BOTH
def test_an_entry_below_a_file_of_a_lower_layer_hides_the_file(pyfetch, mode):
    """What overlayfs shows where the upper layer has a directory of that name."""
    lower = tar("a", "b/c", entry("pipe", tarfile.FIFOTYPE), symlink("link", "a"))
    upper = tar("a/x", "b/c/y/z", directory("pipe/d"), "link/x")
    root = applied(pyfetch, lower, upper, mode=mode)

    assert names(root) == ["a", "a/x", "b", "b/c", "b/c/y", "b/c/y/z", "link", "pipe", "pipe/d"]
    assert oct(os.stat(f"{root}/a").st_mode) == "0o40755"


@BOTH
@pytest.mark.parametrize("count", [130, 499])
def test_an_image_of_hundreds_of_layers_is_an_overlay_too(pyfetch, mode, count):
    layers = [tar(f"f{number}", "last") for number in range(count)]
    passwd = tar(entry("etc/passwd", data=b"web:x:7:8::/:\n"))
    root = applied(pyfetch, passwd, *layers, mode=mode, config={"User": "web"}, timeout=300)

    assert len(names(root)) == count + 3
    assert os.path.ismount(root) == (mode == "--overlay")
    assert os.listdir(pyfetch.store / "partial") == []


def test_names_may_be_any_bytes(pyfetch):
    name = b"\xff\xfe \xc3"
    root = applied(pyfetch, tar(entry(os.fsdecode(name)), format=tarfile.GNU_FORMAT))

    assert os.listdir(os.fsencode(root)) == [name]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_is_read(pyfetch, format):
    name = "/".join(["d" * 40] * 4)
    target = "t" * (90 if format == tarfile.USTAR_FORMAT else 300)
    root = applied(pyfetch, tar(entry(name, data=b"x"), symlink("l", target), entry("n", mtime=9), format=format))

    assert open(f"{root}/{name}").read() == "x"
    assert os.readlink(f"{root}/l") == target


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_a_long_name_whose_first_100_bytes_end_with_a_slash_is_that_of_a_file(pyfetch, tmp_path, format):
    above = f"{'d' * 49}/{'e' * 49}"
    (tmp_path / above).mkdir(parents=True)
    for name, text in (("file", "text"), ("empty", "")):
        (tmp_path / above / name).write_text(text)
    command = ["tar", f"--format={format}", "-cC", tmp_path, "d" * 49]
    root = applied(pyfetch, subprocess.run(command, capture_output=True, check=True).stdout)

    assert open(f"{root}/{above}/file").read() == "text" and os.path.isfile(f"{root}/{above}/empty")


@pytest.mark.parametrize("version", ["oldgnu", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar_are_whole(pyfetch, version):
    source = pyfetch.folder / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        for number in range(60):
            file.seek(number * 100_000)
            file.write(b"data%d" % number)
        file.truncate(7_000_000)
    options = ["--format=gnu"] if version == "oldgnu" else ["--format=pax", f"--sparse-version={version}"]
    data = subprocess.run(["tar", "-cS", *options, "-C", source, "."], capture_output=True, check=True).stdout
    root = applied(pyfetch, data)

    assert open(f"{root}/sparse", "rb").read() == (source / "sparse").read_bytes()
    assert os.stat(f"{root}/sparse").st_blocks * 512 < 1_000_000
    assert len(data) < 1_000_000


COMPRESSIONS = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "many members": lambda data: b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700)),
    "padding": lambda data: gzip.compress(data) + bytes(5000),
    "junk": lambda data: gzip.compress(data) + b"junk",
    "zstd": zstd,
    "zstd frames": lambda data: b"".join(zstd(data[at : at + 5000]) for at in range(0, len(data), 5000)),
    "zstd skippable": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(data),
}


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_every_compression_is_told_by_its_bytes(pyfetch, kind):
    data = tar(entry("f", data=random.Random(1).randbytes(100_000)))

    assert os.path.getsize(applied(pyfetch, data, compress=COMPRESSIONS[kind]) + "/f") == 100_000


WITHOUT_LIBZSTD = ["unshare", "--mount", "sh", "-c", 'mount --bind /dev/null "$0" && exec "$@"']


@pytest.fixture
def without_libzstd(pyfetch):
    """Hide the library, which the program does not need: Debian's has it built in."""
    library = next(iter(glob.glob("/usr/lib/*/libzstd.so.1")), None)
    if sys.version_info >= (3, 14) or os.geteuid() != 0:
        pytest.skip("needs a Python without zstd, and root to hide the library")
    if library:
        pyfetch.command = [*WITHOUT_LIBZSTD, os.path.realpath(library), *pyfetch.command]
    return pyfetch


@pytest.mark.parametrize("kind", ["zstd", "zstd frames", "zstd skippable"])
def test_the_zstd_program_is_used_where_there_is_no_library(without_libzstd, kind):
    data = tar(entry("f", data=random.Random(1).randbytes(3_000_000)))

    assert os.path.getsize(applied(without_libzstd, data, compress=COMPRESSIONS[kind]) + "/f") == 3_000_000


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:500_000] + bytes(500_000)])
def test_damage_is_noticed_by_the_zstd_program_too(without_libzstd, damage):
    data = tar(entry("f", data=random.Random(1).randbytes(1_000_000)))
    Image(data, compress=lambda raw: damage(zstd(raw))).write_layout(without_libzstd.folder / "layout", "x")
    status, error = without_libzstd.fails("oci:layout:x", "bundle", "--copy")

    assert (status, "the zstd data are damaged" in error) == (6, True)


def test_without_any_zstd_a_layer_is_refused_before_it_is_fetched(without_libzstd, registry):
    programs = without_libzstd.folder / "programs"
    programs.mkdir()
    for name in ("unshare", "sh", "mount", os.path.basename(sys.executable)):
        (programs / name).symlink_to(shutil.which(name))
    name = registry.add(Image(tar("x"), compress=zstd, media_type="application/vnd.oci.image.layer.v1.tar+zstd"))
    status, error = without_libzstd.fails(name, env={"PATH": str(programs)})

    assert (status, "install libzstd" in error) == (1, True)
    assert registry.count("GET", "/blobs/") == 1  # the config


@pytest.mark.parametrize("kind", ["gzip", "zstd", "many members", "none"])
def test_a_layer_that_ends_too_early_is_refused(pyfetch, kind):
    data = tar(entry("f", data=random.Random(1).randbytes(100_000)))
    cut = 9_000 if kind == "none" else 20
    image = Image(data, compress=lambda raw: COMPRESSIONS[kind](raw)[:-cut])
    image.write_layout(pyfetch.folder / "layout", "x")
    status, _ = pyfetch.fails("oci:layout:x", "bundle", "--copy")

    assert status == 6
    assert not os.path.exists(pyfetch.folder / "bundle")


def test_forty_layers_that_take_away_what_they_bring_equal_umocis(pyfetch):
    chance = random.Random(5)
    layers = []
    for _ in range(40):
        made = {}
        for _ in range(12):
            folder = "/".join(chance.choice("abc") for _ in range(chance.randint(1, 3)))
            made[f"d{folder}/f{chance.randint(0, 5)}"] = chance.randbytes(20)
        items = [entry(name, data=data, mtime=chance.randint(1, 10**9)) for name, data in made.items()]
        gone = f"d{chance.choice('abc')}/.wh.{chance.choice('abc')}"
        items.insert(0, entry(gone))
        layers.append(tar(*items))
    roots = [applied(pyfetch, *layers, mode=mode) for mode in ("--copy", "--overlay")]
    command = ["umoci", "unpack", "--image", f"{pyfetch.folder}/layout:x", str(pyfetch.folder / "umoci")]
    subprocess.run(command, check=True, capture_output=True)

    contents = [
        hashlib.sha256(repr(sorted(files(root))).encode()).hexdigest()
        for root in [*roots, pyfetch.folder / "umoci/rootfs"]
    ]
    assert contents[0] == contents[1] == contents[2]


def files(root):
    for path in names(root):
        full = os.path.join(root, path)
        yield (
            path,
            open(full, "rb").read() if os.path.isfile(full) else None,
            os.path.isfile(full) and os.stat(full).st_mtime,
        )


def test_a_layer_of_many_files_takes_linear_time_and_little_memory(pyfetch):
    seconds = {}
    for count in (4_000, 20_000):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for number in range(count):
                archive.addfile(tarfile.TarInfo(f"d{number % 100}/f{number}"))
        Image(buffer.getvalue(), tar("x")).write_layout(pyfetch.folder / str(count), "x")
        seconds[count], memory, _ = pyfetch.measure(f"oci:{count}:x", "-q")

    assert memory < 64 << 10
    assert seconds[20_000] < 1.5 * 5 * seconds[4_000]


def test_the_memory_of_a_large_layer_is_used_again_instead_of_returned_to_the_kernel(pyfetch):
    """Each page that comes back is a page fault."""
    data = tar(entry("f", data=random.Random(1).randbytes(1 << 20) * 192))
    Image(data, compress=lambda raw: gzip.compress(raw, 0)).write_layout(pyfetch.folder / "layout", "x")
    _, _, faults = pyfetch.measure("oci:layout:x", "-q")

    assert faults < 10_000
