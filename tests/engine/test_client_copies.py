"""`cp` and `stats` of pyrund's own client beside docker's."""

import io
import os
import re
import subprocess
import tarfile

import pytest
from clients import assert_same, first_error, ours
from daemon import DOCKER, PYRUND, wait_until

FILES = (
    "mkdir -p /src/sub; echo 1 > /src/file; echo 2 > /src/sub/deep; ln -s file /src/link; ln -s /src /to; echo 3 > /f"
)


@pytest.fixture(scope="module")
def web(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", f"{FILES}; sleep 1000")
    wait_until(lambda: engine.docker("exec", "web", "cat", "/f").stdout == "3\n", "the files")
    return engine


def tree(top):
    """Return {path: content, target of a link, or None} of all below `top`."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            where = os.path.relpath(path, top)
            if os.path.islink(path):
                found[where] = os.readlink(path)
            else:
                found[where] = None if os.path.isdir(path) else open(path).read()
    return found


def prepare(folder):
    """Make the destinations and sources of this machine."""
    (folder / "there/sub").mkdir(parents=True)
    (folder / "there/file").write_text("old\n")
    (folder / "plain").write_text("old\n")
    (folder / "src/sub").mkdir(parents=True)
    (folder / "src/file").write_text("mine\n")
    os.symlink("file", folder / "src/link")
    os.symlink("src", folder / "to")
    os.symlink("there", folder / "to-there")
    return folder


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("/f", "new"),
        ("/f", "plain"),
        ("/f", "there"),
        ("/f", "there/"),
        ("/f", "missing/"),
        ("/f", "missing/new"),
        ("/f", "."),
        ("/f", "to-there"),
        ("/src", "new"),
        ("/src", "there"),
        ("/src", "plain"),
        ("/src/.", "new"),
        ("/src/.", "there"),
        ("/src/sub", "there"),
        ("/src/link", "new"),
        ("/to", "new"),
        ("/to/", "new"),
        ("/to/.", "there"),
        ("/nosuch", "new"),
        ("src/file", "new"),
    ],
)
def test_files_are_copied_out_as_docker_does(web, tmp_path, source, destination):
    trees, results = [], []
    for client in (DOCKER, PYRUND):
        folder = prepare(tmp_path / os.path.basename(client))
        command = [client, "-H", f"unix://{web.socket}", "cp", f"web:{source}", destination]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
        results.append((done.returncode, bool(done.stderr)))
        trees.append(tree(folder))

    assert results[1] == results[0]
    assert trees[1] == trees[0]


@pytest.mark.parametrize(
    ("source", "destination", "options"),
    [
        ("plain", "/new", ()),
        ("plain", "", ()),
        ("plain", "/", ()),
        ("plain", "/missing/", ()),
        ("plain", "/missing/new", ()),
        ("plain", "/old", ()),
        ("plain", "/link", ()),
        ("src", "/new", ()),
        ("src", "", ()),
        ("src", "/old", ()),
        ("src/.", "/new", ()),
        ("src/.", "", ()),
        ("src/", "/new", ()),
        ("src/link", "/new", ()),
        ("src/link", "/new", ("-L",)),
        ("to", "/new", ()),
        ("to", "", ("-L",)),
        ("to/.", "/new", ()),
        ("nosuch", "/new", ()),
        (".", "/new", ()),
    ],
)
def test_files_are_copied_in_as_docker_does(web, tmp_path, source, destination, options):
    folder = prepare(tmp_path / "here")
    results = []
    reset = "rm -rf /in0 /in1; mkdir -p /in0/sub /in1/sub; echo old > /in0/old; echo old > /in1/old; "
    web.ok("exec", "web", "sh", "-c", reset + "ln -s sub /in0/link; ln -s sub /in1/link")
    for client, top in ((DOCKER, "/in0"), (PYRUND, "/in1")):
        command = [client, "-H", f"unix://{web.socket}", "cp", *options, source, f"web:{top}{destination}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
        results.append((done.returncode, bool(done.stderr)))

    content = "find . | sort; find . -type f | sort | xargs cat; ls -ln | sed 's/.* [0-9]*:[0-9]* //'"
    both = web.ok("exec", "web", "sh", "-c", f"cd /in0; {content}; echo APART; cd /in1; {content}").split("APART\n")
    assert results[1] == results[0]
    assert both[1].strip() == both[0].strip()
    assert "./old" in both[0].split()


def test_archives_go_both_ways(web):
    out = ours(web, "cp", "web:/src", "-", text=False).stdout
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        assert sorted(archive.getnames()) == ["src", "src/file", "src/link", "src/sub", "src/sub/deep"]

    web.ok("exec", "web", "mkdir", "/again")
    assert ours(web, "cp", "-", "web:/again", input=out, text=False).returncode == 0
    assert web.ok("exec", "web", "cat", "/again/src/sub/deep") == "2"


def test_a_container_cannot_reach_outside_of_the_destination(web, tmp_path):
    web.ok("exec", "web", "sh", "-c", f"mkdir -p /evil; rm -f /evil/out; ln -s {tmp_path} /evil/out")
    (tmp_path / "to").mkdir()
    ours(web, "cp", "web:/evil", tmp_path / "to")
    web.ok("exec", "web", "sh", "-c", "rm /evil/out; mkdir /evil/out; echo bad > /evil/out/escaped")
    ours(web, "cp", "web:/evil", tmp_path / "to")

    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("words", [("web:/f", "web:/g"), ("a", "b")], ids=" ".join)
def test_what_cannot_be_copied_is_said(web, words):
    assert_same(web, "cp", *words)


# stats


def test_stats_have_docker_s_columns(web):
    theirs, own = (web.docker("stats", "--no-stream", client=client).stdout for client in (DOCKER, PYRUND))

    def shape(text):
        return re.sub(r"[\d.]+(B|kB|MB|KiB|MiB|GiB|%)", "N", text).split()

    assert shape(own) == shape(theirs)


def test_stats_take_a_template_and_names(web):
    shown = ours(web, "stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "web").stdout
    assert shown == "web 1\n"
    done = ours(web, "stats", "--no-stream", "nosuch")
    assert (done.returncode, first_error(done.stderr)) == (1, "Error response from daemon: No such container: nosuch")
