"""Without root: in a user namespace with subordinate ids, or with one id for all."""

import json
import os
import pwd
import shutil
import subprocess
import sys

import pytest
from conftest import COMMAND, ROOT
from images import Image, busybox_layer, directory, entry, hard_link, symlink, tar

USER = "pyfetch-test"
FIRST = 700_000


@pytest.fixture(scope="module")
def account():
    """A user of this machine, without subordinate ids; gone afterwards."""
    if os.geteuid() != 0 or not shutil.which("useradd"):
        pytest.skip("needs root and useradd, to make a user")
    subprocess.run(["useradd", "--create-home", "--no-log-init", USER], check=True, capture_output=True)
    set_ranges(None)
    yield pwd.getpwnam(USER)
    set_ranges(None)
    subprocess.run(["userdel", "--remove", USER], capture_output=True)


def set_ranges(count):
    for path in ("/etc/subuid", "/etc/subgid"):
        lines = [line for line in open(path) if not line.startswith(f"{USER}:")] if os.path.exists(path) else []
        with open(path, "w") as file:
            file.writelines(lines + ([f"{USER}:{FIRST}:{count}\n"] if count else []))


def drop_lines():
    """Remove the user's lines, whatever bytes they hold."""
    for path in ("/etc/subuid", "/etc/subgid"):
        with open(path, "rb") as file:
            kept = [line for line in file if not line.startswith(USER.encode())]
        with open(path, "wb") as file:
            file.writelines(kept)


class Rootless:
    def __init__(self, account):
        self.account = account
        self.folder = os.path.join(account.pw_dir, "work")
        os.mkdir(self.folder)
        os.chown(self.folder, account.pw_uid, account.pw_gid)

    def run(self, *arguments, command=COMMAND):
        python = "/usr/bin/python3" if command is COMMAND and command[0] == sys.executable else None
        words = [python, *command[1:]] if python else list(command)
        source = os.path.join(self.folder, "runtime")
        if not os.path.exists(source):  # the source tree may be where only root can read
            shutil.copytree(os.path.join(ROOT, "runtime"), source, ignore=shutil.ignore_patterns("__pycache__"))
        return subprocess.run(
            ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", *words, *arguments],
            cwd=self.folder,
            env={"HOME": self.account.pw_dir, "PATH": os.environ["PATH"], "PYTHONPATH": source},
            capture_output=True,
            text=True,
        )

    def ok(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def layout(self, image):
        image.write_layout(os.path.join(self.folder, "layout"), "x")
        subprocess.run(["chown", "-R", USER, self.folder], check=True)
        return "oci:layout:x"


@pytest.fixture
def rootless(account):
    user = Rootless(account)
    yield user
    set_ranges(None)
    subprocess.run(["rm", "-rf", user.folder, f"{account.pw_dir}/.local"], check=True)


ENTRIES = (
    directory("d", mode=0o700, uid=5, gid=6, mtime=7),
    entry("d/setuid", mode=0o4755, uid=33, gid=34, mtime=8),
    hard_link("hard", "d/setuid"),
    symlink("l", "d", uid=1),
    entry("null", b"3", devmajor=1, devminor=3),
)


def test_subordinate_ids_give_every_file_its_owner(rootless):
    set_ranges(65536)
    path = rootless.ok(rootless.layout(Image(tar(*ENTRIES))), "bundle")
    status = os.stat(f"{path}/rootfs/d/setuid")
    config = json.load(open(f"{path}/config.json"))

    assert (status.st_uid, status.st_gid, oct(status.st_mode)) == (FIRST + 32, FIRST + 33, "0o104755")
    assert config["linux"]["uidMappings"][1] == {"containerID": 1, "hostID": FIRST, "size": 65536}
    assert not os.path.exists(f"{path}/rootfs/null")


def test_rm_removes_what_belongs_to_subordinate_ids(rootless):
    set_ranges(65536)
    rootless.ok(rootless.layout(Image(tar(*ENTRIES))), "bundle")
    rootless.ok("rm", "bundle")

    assert not os.path.exists(f"{rootless.folder}/bundle")


def test_one_id_is_used_for_all_with_one_warning(rootless):
    image = Image(tar(*ENTRIES, directory("closed", mode=0o000), "closed/x"), tar("closed/y"))
    done = rootless.run(rootless.layout(image), "bundle")
    root = f"{rootless.folder}/bundle/rootfs"

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no subordinate ids") == 1
    assert os.stat(f"{root}/d/setuid").st_uid == rootless.account.pw_uid
    assert oct(os.stat(f"{root}/closed").st_mode) == "0o40000"
    assert sorted(os.listdir(f"{root}/closed")) == ["x", "y"]
    rootless.ok("rm", "bundle")
    assert not os.path.exists(f"{rootless.folder}/bundle")


CLOSED = (
    directory("./", mode=0o555, mtime=1),
    directory("ro", mode=0o555, mtime=2),
    entry("ro/file", data=b"1", mtime=3),
    directory("ro/deep", mode=0o555, mtime=4),
    directory("ro/deep/only-folders", mode=0o555, mtime=5),
    directory("ro/deep/only-folders/a", mode=0o500, mtime=6),
    directory("ro/deep/only-folders/b", mode=0o000, mtime=7),
    entry("ro/deep/only-folders/b/x", mtime=8),
    directory("opaque", mode=0o555, mtime=9),
    entry("opaque/old", mtime=10),
    directory("no-search", mode=0o600, mtime=11),
    directory("no-search/in", mode=0o400, mtime=12),
    entry("no-search/in/x", mtime=13),
    directory("etc", mode=0o100),
    entry("etc/passwd", data=b"web:x:7:8::/:\n"),
    entry("sealed", mode=0o444, mtime=14, pax_headers={"SCHILY.xattr.user.note": "text"}),
    directory("twice", mode=0o555, mtime=15),
    directory("go", mtime=16),
    directory("go/pkg", mode=0o555, mtime=16),
    *(directory(f"go/pkg/mod{n}", mode=0o555, mtime=16) for n in range(250)),
    *(entry(f"go/pkg/mod{n}/x", mtime=17) for n in range(250)),
)
ADDED = (
    entry("new", mtime=21),
    entry("ro/new", mtime=22),
    entry("ro/.wh.file", mtime=23),
    entry("ro/deep/only-folders/.wh.b", mtime=24),
    entry("ro/deep/only-folders/a/x", mtime=25),
    entry("opaque/.wh..wh..opq"),
    symlink("opaque/link", "../ro", mtime=26),
    hard_link("no-search/in/hard", "ro/new"),
    entry("twice", data=b"a file", mtime=27),
    entry("go/pkg/mod7/y", mtime=28),
    entry("go/pkg/.wh.mod8", mtime=29),
)


def modes(root):
    paths = [os.path.join(f, name) for f, folders, files in os.walk(root) for name in folders + files]
    return {os.path.relpath(p, root): (oct(os.lstat(p).st_mode), os.lstat(p).st_mtime) for p in [root, *paths]}


def test_folders_that_their_owner_may_not_write_to_are_filled_as_umoci_does(rootless):
    layout = rootless.layout(Image(tar(*CLOSED), tar(*ADDED), config={"User": "web"}))
    rootless.ok(layout, "bundle")
    done = rootless.run("unpack", "--rootless", "--image", "layout:x", "umoci", command=["umoci"])
    ours, theirs = modes(f"{rootless.folder}/bundle/rootfs"), modes(f"{rootless.folder}/umoci/rootfs")

    assert done.returncode == 0, done.stderr
    assert {k: (ours.get(k), theirs.get(k)) for k in ours | theirs if ours.get(k) != theirs.get(k)} == {}
    assert ours["."][0] == "0o40555" and ours["no-search/in"][0] == "0o40400"
    assert os.getxattr(f"{rootless.folder}/bundle/rootfs/sealed", "user.note") == b"text"
    assert json.load(open(f"{rootless.folder}/bundle/config.json"))["process"]["user"]["uid"] == 7


def test_a_folder_takes_the_mode_of_the_last_that_has_its_name(rootless):
    upper = ("d/y", entry("d"), directory("d", mode=0o500), entry("d"), directory("d"), "d/z")
    rootless.ok(rootless.layout(Image(tar(directory("d", mode=0o500), "d/x"), tar(*upper))), "bundle")

    assert oct(os.stat(f"{rootless.folder}/bundle/rootfs/d").st_mode) == "0o40755"


@pytest.mark.parametrize("root", [0o555, 0o000])
def test_rm_and_prune_remove_folders_that_their_owner_may_not_write_to(rootless, root):
    layout = rootless.layout(Image(tar(directory("./", mode=root), *CLOSED[1:]), tar(*ADDED)))
    rootless.ok(layout, "bundle")
    inside = rootless.ok(layout)
    rootless.ok("rm", "bundle")
    rootless.ok("prune", "--all")

    assert [name for name in os.listdir(rootless.folder) if "bundle" in name] == []
    assert os.listdir(os.path.dirname(inside)) == []


def test_prune_goes_on_after_what_cannot_be_removed(rootless):
    layout = rootless.layout(Image(tar("x")))
    paths = [rootless.ok(layout) for _ in range(4)]
    foreign = f"{paths[1]}/rootfs/foreign"  # as a container of root's leaves it
    os.makedirs(f"{foreign}/in")
    done = rootless.run("prune", "--all")
    left = os.listdir(os.path.dirname(paths[0]))

    assert done.returncode == 7, done.stderr
    assert done.stderr.count("\n") == 1 and "foreign" in done.stderr and "Permission denied" in done.stderr
    assert len(left) == 1 and left[0].startswith(f".{os.path.basename(paths[1])}.")
    shutil.rmtree(foreign.replace(os.path.basename(paths[1]), left[0]))
    rootless.ok("prune", "--all")
    assert os.listdir(os.path.dirname(paths[0])) == []


def test_an_owner_beyond_the_users_ids_is_an_error_that_says_where_to_get_more(rootless):
    set_ranges(65536)
    done = rootless.run(rootless.layout(Image(tar(entry("x", uid=100_000)))), "bundle")

    assert done.returncode == 1
    assert "100000" in done.stderr and "/etc/subuid" in done.stderr
    assert not os.path.exists(f"{rootless.folder}/bundle")


@pytest.mark.parametrize("line", [b":x:65536", b":700000:", "²:³".encode(), b":\xff:1", b":-1:65536"])
def test_a_damaged_line_of_subordinate_ids_is_passed_over(rootless, line):
    layout = rootless.layout(Image(tar("x")))
    for path in ("/etc/subuid", "/etc/subgid"):
        with open(path, "ab") as file:
            file.write(f"{USER}".encode() + (line if line.startswith(b":") else b":" + line) + b"\n")
    try:
        done = rootless.run(layout, "bundle")
    finally:
        drop_lines()

    assert (done.returncode, done.stderr.count("no subordinate ids")) == (0, 1), done.stderr


def test_ids_that_newuidmap_refuses_are_one_line(rootless):
    """The number of processes that may use a range is the kernel's; a range that overlaps itself is refused."""
    set_ranges(65536)
    for path in ("/etc/subuid", "/etc/subgid"):
        with open(path, "a") as file:
            file.write(f"{USER}:{FIRST}:65536\n")
    done = rootless.run(rootless.layout(Image(tar("x"))), "bundle")

    assert done.returncode == 1
    assert "pyfetch: error: newuidmap: " in done.stderr and "Traceback" not in done.stderr
    assert not os.path.exists(f"{rootless.folder}/bundle")


@pytest.mark.parametrize("ranges", [None, 65536])
def test_a_rootless_bundle_runs(rootless, ranges):
    set_ranges(ranges)
    image = Image(busybox_layer(), config={"Cmd": ["/bin/sh", "-c", "id -u; echo $(stat -c %u /etc)"]})
    rootless.ok(rootless.layout(image), "bundle")
    state = os.path.join(rootless.folder, "state")
    done = rootless.run("--root", state, "run", "-b", "bundle", "pyfetch-rootless", command=["runc"])

    assert done.stdout == "0\n0\n", done.stderr


@pytest.mark.parametrize("count", [None, 65536])
def test_an_ordinary_user_pushes_and_logs_in(rootless, receiver, count):
    set_ranges(count)
    image = Image(tar("x"))
    source, name = rootless.layout(image), f"{receiver.host}/test:1"

    rootless.ok("--no-bundle", source)
    rootless.ok("tag", f"oci:{rootless.folder}/layout:x", name)
    assert rootless.ok("push", name) == f"{receiver.host}/test@{image.digest}"
    assert rootless.ok("tags", f"{receiver.host}/test") == "1"
    assert rootless.ok("logout", receiver.host) == f"Not logged in to {receiver.host}"
