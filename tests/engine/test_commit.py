"""Images made of containers (`docker commit`) and of archives (`docker import`)."""

import json
import subprocess
import tarfile
import time

import pytest
from daemon import wait_until
from images import busybox_layer

pytestmark = pytest.mark.usefixtures("removed")


def layers(engine):
    return {path.name for path in (engine.data / "images/layers").iterdir() if not path.name.startswith(".")}


def made_by(engine, *command):
    """Return the id of a container that has run `command`."""
    name = engine.ok("create", "--network=none", "busybox", *command)
    engine.ok("start", "-a", name)
    return name


def run(engine, image, *command):
    return engine.ok("run", "--rm", "--network=none", image, *command)


def test_a_commit_has_what_the_container_has_written_and_lacks_what_it_has_removed(engine):
    script = "echo new > /etc/new; mkdir /d; echo a > /d/a; rm /bin/wc; rm -r /var; mkdir /var; chmod 4751 /d/a"
    container = made_by(engine, "sh", "-c", script)

    id_ = engine.ok("commit", container, "committed:1")

    assert id_ == engine.inspect("committed:1", ".Id")
    shown = run(engine, "committed:1", "sh", "-c", "cat /etc/new /d/a; stat -c %a /d/a; [ -e /bin/wc ] || echo gone")
    assert shown.split() == ["new", "a", "4751", "gone"]
    engine.ok("rmi", "committed:1")


def test_a_directory_that_was_made_anew_hides_what_the_image_had_in_it(engine):
    engine.ok("commit", made_by(engine, "sh", "-c", "mkdir /d; echo > /d/old; mkdir /d/e; echo > /d/e/old"), "below")
    again = engine.ok("create", "--network=none", "below", "sh", "-c", "rm -r /d; mkdir -p /d/e; echo > /d/new")
    engine.ok("start", "-a", again)

    engine.ok("commit", again, "above")

    assert run(engine, "above", "ls", "/d", "/d/e").split() == ["/d:", "e", "new", "/d/e:"]
    names = archive_names(engine, "above")
    assert "d/.wh..wh..opq" in names
    engine.ok("rm", again)
    engine.ok("rmi", "above", "below")


def archive_names(engine, image):
    """Return the names in the uppermost layer of the image."""
    digest = engine.inspect(image, ".RootFS.Layers")[-1]
    with tarfile.open(engine.data / f"images/blobs/sha256/{digest[7:]}") as archive:
        return archive.getnames()


def test_what_the_runtime_makes_for_its_mounts_is_in_no_layer(engine):
    container = made_by(engine, "sh", "-c", "echo > /only")

    engine.ok("commit", container, "clean")

    assert archive_names(engine, "clean") == ["only"]
    engine.ok("rmi", "clean")


def test_a_container_that_has_written_nothing_gives_no_layer(engine):
    before = len(engine.inspect("busybox", ".RootFS.Layers"))

    engine.ok("commit", made_by(engine, "true"), "same")

    assert len(engine.inspect("same", ".RootFS.Layers")) == before
    assert engine.call("GET", "/images/same/history")[1][0]["Size"] == 0
    engine.ok("rmi", "same")


def test_author_message_and_changes_are_in_the_image(engine):
    container = made_by(engine, "touch", "/x")
    changes = (
        'ENV A="b c" D=e',
        'CMD ["cat", "/x"]',
        "EXPOSE 80 53/udp",
        "LABEL l=m",
        "WORKDIR /w",
        "USER 7",
        "VOLUME /v",
    )
    options = [word for change in changes for word in ("-c", change)]

    engine.ok("commit", "-a", "me <m@e>", "-m", "why", *options, container, "changed:1")

    shown = engine.inspect("changed:1", ".")
    config = shown["Config"]
    assert (shown["Author"], config["User"], config["WorkingDir"]) == ("me <m@e>", "7", "/w")
    assert config["Env"][-2:] == ["A=b c", "D=e"] and config["Cmd"] == ["cat", "/x"]
    assert config["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}} and config["Volumes"] == {"/v": {}}
    assert config["Labels"] == {"l": "m"}
    top = engine.call("GET", "/images/changed:1/history")[1][0]
    assert (top["CreatedBy"], top["Comment"], top["Tags"]) == ("touch /x", "why", ["changed:1"])
    engine.ok("rmi", "changed:1")


@pytest.mark.parametrize(
    "change, words",
    [
        ("RUN true", "RUN is not a valid change command"),
        ("FOO x", "unknown instruction: FOO"),
        ("EXPOSE x", "invalid containerPort: x"),
        ("ENV =x", "ENV names can not be blank"),
        ("CMD", "CMD requires at least one argument"),
        ('ENV A="x', "matching double-quote"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_nothing_is_made(engine, change, words):
    before = layers(engine)
    container = made_by(engine, "touch", "/refused")

    assert words in engine.fails("commit", "-c", change, container, "refused")[1]

    assert layers(engine) == before
    assert engine.docker("image", "inspect", "refused").returncode != 0


def test_a_container_that_runs_is_committed_and_goes_on(engine):
    name = engine.ok("run", "-d", "--network=none", "busybox", "sh", "-c", "echo 1 > /one; sleep 60")
    wait_until(lambda: engine.docker("exec", name, "cat", "/one").returncode == 0, "the file")

    engine.ok("commit", name, "running")

    assert engine.inspect(name, ".State.Status") == "running"
    assert engine.ok("exec", name, "echo", "alive") == "alive"
    assert run(engine, "running", "cat", "/one") == "1"
    engine.ok("rmi", "running")


def test_an_image_without_a_name_stays_until_it_is_pruned(engine):
    id_ = engine.ok("commit", made_by(engine, "touch", "/nameless"))

    assert id_[7:19] in engine.ok("images", "--filter", "dangling=true")
    assert run(engine, id_, "ls", "/nameless") == "/nameless"
    assert id_ in engine.ok("image", "prune", "-f")
    assert engine.docker("image", "inspect", id_).returncode != 0
    assert engine.inspect("busybox", ".RepoTags") == ["busybox:latest"]


def test_an_image_that_loses_its_name_to_another_one_is_kept_without_a_name(engine):
    first = engine.ok("commit", made_by(engine, "touch", "/first"), "moving")
    second = engine.ok("commit", made_by(engine, "touch", "/second"), "moving")

    assert engine.inspect("moving", ".Id") == second
    assert engine.inspect(first, ".RepoTags") == []
    engine.ok("rmi", first, second)


def test_a_committed_image_is_saved_and_loaded(engine, tmp_path):
    id_ = engine.ok("commit", made_by(engine, "sh", "-c", "echo kept > /kept"), "saved:1")
    engine.ok("save", "-o", tmp_path / "saved.tar", "saved:1")
    engine.ok("rmi", "saved:1")

    engine.ok("load", "-i", tmp_path / "saved.tar")

    assert engine.inspect("saved:1", ".Id") == id_
    assert run(engine, "saved:1", "cat", "/kept") == "kept"
    engine.ok("rmi", "saved:1")


def test_missing_containers_and_bad_names_are_refused(engine):
    assert "No such container: nosuch" in engine.fails("commit", "nosuch")[1]
    status, answer = engine.call("POST", f"/commit?container={made_by(engine, 'true')}&repo=Upper")
    assert status == 400 and "repository name must be lowercase" in answer["message"]


def test_a_daemon_that_is_killed_during_a_commit_shows_no_half_of_it(own_engine):
    engine = own_engine
    engine.ok(
        "create", "--name=big", "--network=none", "busybox", "dd", "if=/dev/urandom", "of=/big", "bs=1M", "count=60"
    )
    engine.ok("start", "-a", "big")
    before = layers(engine)
    client = engine.begin("commit", "big", "half", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = engine.data / "images/partial"
    wait_until(lambda: any(path.stat().st_size for path in partial.iterdir()), "the archive")
    engine.kill()
    client.wait()

    engine.start()

    assert engine.docker("image", "inspect", "half").returncode != 0
    assert layers(engine) == before
    engine.ok("commit", "big", "whole")
    assert run(engine, "whole", "stat", "-c", "%s", "/big") == str(60 << 20)
    engine.ok("rmi", "whole")
    wait_until(lambda: not list(partial.iterdir()) and layers(engine) == before, "the removal of what is not needed")


def test_a_daemon_that_is_killed_during_a_commit_leaves_no_container_paused(own_engine):
    engine = own_engine
    program = "dd if=/dev/urandom of=/big bs=1M count=60; echo ready; exec sleep 1000"
    engine.ok("run", "-d", "--name=big", "--network=none", "busybox", "sh", "-c", program)
    wait_until(lambda: engine.ok("logs", "big") == "ready", "the file")
    client = engine.begin("commit", "big", "half", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = engine.data / "images/partial"
    wait_until(lambda: partial.exists() and any(path.stat().st_size for path in partial.iterdir()), "the archive")
    engine.kill()
    client.wait()

    engine.start()

    assert engine.inspect("big", ".State.Status") == "running"
    assert engine.ok("exec", "big", "echo", "alive") == "alive"


# Import.


def test_an_archive_becomes_an_image(engine, tmp_path):
    (tmp_path / "root.tar").write_bytes(busybox_layer())

    id_ = engine.ok(
        "import", "-m", "why", "-c", 'CMD ["/bin/busybox", "echo", "hi"]', tmp_path / "root.tar", "brought:1"
    )

    assert id_ == engine.inspect("brought:1", ".Id")
    assert engine.ok("run", "--rm", "--network=none", "brought:1") == "hi"
    assert engine.call("GET", "/images/brought:1/history")[1][0]["Comment"] == "why"
    engine.ok("rmi", "brought:1")


def test_an_export_is_imported_by_standard_input_and_compressed(engine):
    name = made_by(engine, "sh", "-c", "echo flat > /flat")
    exported = engine.docker("export", name, text=False).stdout
    packed = subprocess.run(["gzip", "-1"], input=exported, capture_output=True, check=True).stdout

    done = engine.docker("import", "-", "flat", input=packed, text=False)

    assert done.returncode == 0, done.stderr
    assert run(engine, "flat", "/bin/cat", "/flat") == "flat"
    assert len(engine.inspect("flat", ".RootFS.Layers")) == 1
    engine.ok("rmi", "flat")


def test_the_message_of_a_commit_and_of_an_import_is_the_image_s_comment(engine, dockerd, tmp_path):
    (tmp_path / "root.tar").write_bytes(busybox_layer())
    for daemon in (engine, dockerd):
        daemon.docker("create", "--name", "told", "--network=none", "busybox", "true")
        daemon.docker("commit", "-m", "of a commit", "told", "one")
        daemon.docker("import", "-m", "of an import", str(tmp_path / "root.tar"), "two")
        shown = daemon.docker("image", "inspect", "--format", "{{.Comment}}", "one", "two", "busybox").stdout
        lines = (shown if daemon is engine else shown.decode()).split("\n")
        assert lines[:2] == ["of a commit", "of an import"]
        assert daemon.docker("rm", "told").returncode == daemon.docker("rmi", "one", "two").returncode == 0


@pytest.mark.parametrize("platform", ["foo/bar", "windows/amd64"])
def test_an_import_for_another_system_is_refused(engine, dockerd, tmp_path, platform):
    (tmp_path / "root.tar").write_bytes(busybox_layer())
    for daemon in (engine, dockerd):
        done = daemon.docker("import", "--platform", platform, str(tmp_path / "root.tar"), "other")
        assert "operating system is not supported" in str(done.stderr)
        assert daemon.docker("image", "inspect", "other").returncode != 0


@pytest.mark.parametrize(
    "change", ["HEALTHCHECK --interval=1s CMD x", "HEALTHCHECK --retries=9 CMD x", "HEALTHCHECK NONE", "USER 7"]
)
def test_a_change_of_the_health_check_keeps_the_rest_of_it(engine, dockerd, change):
    checks = []
    for daemon in (engine, dockerd):
        options = ("--health-cmd", "true", "--health-timeout", "7s", "--health-retries", "5")
        daemon.docker("create", "--name", "checked", "--network=none", *options, "busybox", "true")
        daemon.docker("commit", "-c", change, "checked", "checked")
        shown = daemon.docker("image", "inspect", "--format", "{{json .Config.Healthcheck}}", "checked").stdout
        checks.append(json.loads(shown))
        assert daemon.docker("rm", "checked").returncode == daemon.docker("rmi", "checked").returncode == 0
    assert checks[0] == checks[1]
    assert (checks[0]["Timeout"], checks[0]["Retries"] in (5, 9)) == (7_000_000_000, True)


def test_what_is_no_archive_is_refused_and_leaves_nothing(engine):
    before = layers(engine)

    done = engine.docker("import", "-", "bad", input=b"x" * 5000, text=False)

    assert done.returncode != 0 and b"Traceback" not in done.stderr
    assert engine.docker("image", "inspect", "bad").returncode != 0
    assert layers(engine) <= before  # others may just be removed


def test_an_archive_that_leads_outside_is_refused_or_stays_inside(engine, tmp_path):
    target = tmp_path / "outside"
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("link/outside"))
        archive.addfile(tarfile.TarInfo("../../outside"))

    engine.docker("import", tmp_path / "evil.tar", "evil")

    assert not target.exists()
    engine.docker("rmi", "evil")


def test_commits_and_imports_are_events(engine):
    since = time.time()
    name = made_by(engine, "true")
    id_ = engine.ok("commit", name, "told:1")
    lines = engine.ok("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--format", "{{json .}}")

    told = [event for event in map(json.loads, lines.splitlines()) if event["Action"] == "commit"]
    assert told[0]["Actor"]["Attributes"]["imageID"] == id_
    engine.ok("rmi", "told:1")
