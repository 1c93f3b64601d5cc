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


def test_an_owner_beyond_the_users_ids_is_an_error_that_says_where_to_get_more(rootless):
    set_ranges(65536)
    done = rootless.run(rootless.layout(Image(tar(entry("x", uid=100_000)))), "bundle")

    assert done.returncode == 1
    assert "100000" in done.stderr and "/etc/subuid" in done.stderr
    assert not os.path.exists(f"{rootless.folder}/bundle")


@pytest.mark.parametrize("ranges", [None, 65536])
def test_a_rootless_bundle_runs(rootless, ranges):
    set_ranges(ranges)
    image = Image(busybox_layer(), config={"Cmd": ["/bin/sh", "-c", "id -u; echo $(stat -c %u /etc)"]})
    rootless.ok(rootless.layout(image), "bundle")
    state = os.path.join(rootless.folder, "state")
    done = rootless.run("--root", state, "run", "-b", "bundle", "pyfetch-rootless", command=["runc"])

    assert done.stdout == "0\n0\n", done.stderr
