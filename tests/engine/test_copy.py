"""`docker cp`, export and diff, of containers that run and that do not, and against containers that play with links."""

import base64
import io
import json
import os
import select
import socket
import subprocess
import tarfile
import time

import pytest
from builds import build
from daemon import read_all

pytestmark = pytest.mark.usefixtures("removed")


@pytest.fixture(params=["running", "created", "exited"])
def web(engine, request, removed, tmp_path):
    """A container in each of its states."""
    program = "mkdir /d; echo content > /d/file; ln -s file /d/link; ln -s /d /l; mkdir /only; echo $0; sleep 1000"
    if request.param == "exited":
        program = program.replace("sleep 1000", "true")
    engine.ok("create", "--name", "web", "--network=none", "-v", "vol:/vol", "busybox", "sh", "-c", program)
    if request.param != "created":
        engine.ok("start", "web")
        assert request.param != "exited" or engine.ok("wait", "web") == "0"
        while "sh" not in engine.ok("logs", "web"):
            time.sleep(0.02)
    yield request.param
    engine.remove_all()
    engine.ok("volume", "rm", "vol")


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {one.name: one for one in archive.getmembers()}


def copied_out(engine, path):
    return engine.ok("cp", f"web:{path}", "-", text=False)


def test_a_file_comes_out_as_it_is(engine, web, tmp_path):
    engine.ok("cp", "web:/etc/passwd", tmp_path / "passwd")

    assert (tmp_path / "passwd").read_bytes().startswith(b"root:x:0:0")
    assert list(members(copied_out(engine, "/etc/group"))) == ["group"]


def test_what_goes_in_comes_out(engine, web, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_bytes(os.urandom(300_000))
    (tree / "sub/file").chmod(0o4751)
    (tree / ("n" * 150)).write_text("long")
    (tree / "link").symlink_to("/etc/passwd")
    os.link(tree / "sub/file", tree / "again")

    engine.ok("cp", tree, "web:/new")
    engine.ok("cp", "web:/new", tmp_path / "out")

    assert subprocess.run(["diff", "-r", "--no-dereference", tree, tmp_path / "out"]).returncode == 0
    assert (tmp_path / "out/sub/file").stat().st_mode & 0o7777 == 0o4751
    found = members(copied_out(engine, "/new/"))
    assert found["new/again"].islnk() != found["new/sub/file"].islnk()
    assert sorted(members(copied_out(engine, "/new/."))) == sorted(name.replace("new", ".", 1) for name in found)


def test_a_volume_is_reached_through_the_container(engine, web, tmp_path):
    (tmp_path / "file").write_text("in the volume")
    engine.ok("cp", tmp_path / "file", "web:/vol/file")

    assert (engine.data / "volumes/vol/_data/file").read_text() == "in the volume"
    assert "vol/file" in members(copied_out(engine, "/vol"))


def test_what_is_missing_is_said_in_docker_s_words(engine, web, tmp_path):
    assert engine.call("GET", "/containers/web/archive?path=/nosuch") == (
        404,
        {"message": "Could not find the file /nosuch in container web"},
    )
    (tmp_path / "file").touch()
    assert engine.fails("cp", tmp_path / "file", "web:/nosuch/sub/")
    assert b" 404 Not Found" in put(engine, "/nosuch/sub", tar_of(("x", b"", None)))
    status, answer = engine.call("PUT", "/containers/web/archive?path=/etc/passwd")
    assert (status, answer["message"]) == (400, "extraction point is not a directory")


def test_the_header_tells_of_the_file(engine, removed):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", LINKS)
    while "ready" not in engine.ok("logs", "web"):
        time.sleep(0.02)

    def told(path):
        head = f"HEAD /containers/web/archive?path={path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
        answer = engine.exchange(head.encode())
        line = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"x-docker-container-path-stat:"))
        return json.loads(base64.b64decode(line.partition(b": ")[2]))

    assert [told("/etc/passwd")[key] for key in ("name", "mode", "linkTarget")] == ["passwd", 0o644, ""]
    assert told("/tmp")["mode"] == 1 << 31 | 1 << 20 | 0o777
    assert told("/dev/null")["mode"] == 1 << 26 | 1 << 21 | 0o666
    link = told("/two")
    assert (link["mode"], link["linkTarget"]) == (1 << 27 | 0o777, "/etc/passwd")


LINKS = "ln -s etc/passwd one; ln -s one two; ln -s ../../../.. up; echo ready; sleep 1000"


@pytest.mark.parametrize("runs", [True, False])
def test_links_of_the_container_stay_inside(engine, removed, tmp_path, runs):
    """CVE-2018-15664 without a race."""
    program = f"ln -s {tmp_path} /out; ln -s ../../../../../../..{tmp_path} /up; ln -s / /root2; echo ready; sleep 1000"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    while "ready" not in engine.ok("logs", "web"):
        time.sleep(0.02)
    if not runs:
        engine.ok("kill", "web")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "file").write_text("file")

    for path in ("/out/secret", "/up/secret", f"/root2{tmp_path}/secret", f"/root2/../../..{tmp_path}/secret"):
        assert engine.call("GET", f"/containers/web/archive?path={path}")[0] == 404
    for path in ("/out/new", "/up/new"):
        assert engine.docker("cp", tmp_path / "file", f"web:{path}").returncode != 0
    archive = tar_of(("up/new", b"x", None), ("down", None, "../../../../../.."), (f"down{tmp_path}/new", b"x", None))
    put(engine, "/", archive)
    assert sorted(os.listdir(tmp_path)) == ["file", "secret"]


def tar_of(*entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data, target in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data or b"")
            if target:
                info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


def put(engine, path, data, query=""):
    head = f"PUT /containers/web/archive?path={path}{query} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data)}\r\n\r\n"
    with engine.connect() as connection:
        connection.sendall(head.encode() + data)
        return read_all(connection)


def test_renames_under_way_do_not_lead_outside(engine, removed, tmp_path):
    """CVE-2018-15664: a directory becomes a link to the host's path and back, as fast as the container can."""
    secret = tmp_path / "inside"
    secret.mkdir()
    (secret / "secret").write_text("of the host")
    program = (
        f"mkdir -p {secret}; echo of the container > {secret}/secret; mkdir /w; cd /w; ln -s /../../..{tmp_path} b; "
        "mkdir -p a/inside; echo of the container > a/inside/secret; echo ready; "
        "while true; do busybox mv -T a c; busybox mv -T b a; busybox mv -T a b; busybox mv -T c a; done"
    )
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    while "ready" not in engine.ok("logs", "web"):
        time.sleep(0.02)

    archive = tar_of(("inside/made", b"x", None))
    seen = set()
    for _ in range(60):
        answer = engine.exchange(
            b"GET /containers/web/archive?path=/w/a/inside/secret HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
        )
        assert b"of the host" not in answer
        seen.add(answer.split(b" ")[1])
        put(engine, "/w/a", archive)

    assert b"200" in seen
    assert os.listdir(secret) == ["secret"]


def test_no_program_or_library_of_the_container_is_used(engine, removed, tmp_path):
    """CVE-2019-14271: docker-tar loaded libnss of the container. Ours runs with the container's files all replaced."""
    program = (
        "rm -rf /etc/passwd; for d in lib lib64 usr; do mkdir -p /$d; echo bad > /$d/x; done; echo ready; sleep 1000"
    )
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)
    while "ready" not in engine.ok("logs", "web"):
        time.sleep(0.02)
    (tmp_path / "file").write_text("x")

    engine.ok("cp", tmp_path / "file", "web:/lib/file")

    assert "lib/file" in members(copied_out(engine, "/lib"))


def test_a_directory_is_not_replaced_by_a_file_nor_a_file_by_a_directory(engine, web, tmp_path):
    (tmp_path / "bin").write_text("a file")
    (tmp_path / "dir/passwd").mkdir(parents=True)

    assert b"cannot overwrite directory" in put(engine, "/", tar_of(("bin", b"x", None)), "&noOverwriteDirNonDir=true")
    assert engine.docker("cp", tmp_path / "dir/passwd", "web:/etc/passwd").returncode != 0
    assert b" 200 OK" in put(engine, "/", tar_of(("bin", b"x", None)))


def test_a_directory_that_is_moved_while_it_is_replaced_takes_nothing_outside_of_the_volume_along(engine, removed):
    """Whoever goes up by ".." from a directory that another container has moved up arrives above the volume."""
    pairs = [(f"e{number}", f"k{number}") for number in range(20)]
    program = "".join(f"mkdir /{empty} /{kept}; echo kept > /{kept}/file; " for empty, kept in pairs)
    engine.ok("run", "--name", "web", "--network=none", "-v", "shared:/vol", "busybox", "sh", "-c", program)
    engine.ok("run", "-d", "--name", "other", "--network=none", "-v", "shared:/vol", "busybox", "sleep", "1000")
    volume = engine.data / "volumes/shared/_data"

    for empty, kept in pairs:
        for folder in (volume / "x" / kept, volume / "x" / empty / "deep"):
            folder.mkdir(parents=True)
        if os.listdir(volume / "x")[-1] == empty:  # that is what is removed first
            break
        subprocess.run(["rm", "-r", volume / "x"], check=True)
    deep = volume / "x" / empty / "deep"
    for number in range(30_000):
        (deep / f"{number}").touch()
    first = os.listdir(deep)[0]
    path = f"/vol/x/{empty}/deep"
    mover = engine.begin(
        "exec", "other", "sh", "-c", f"while [ -e {path}/{first} ]; do :; done; mv {path} /vol; echo moved",
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1)

    answer = put(engine, "/vol", tar_of(("x", b"a file", None)))

    assert mover.communicate(timeout=30)[0] == "moved\n"
    assert f"{kept}/file" in members(copied_out(engine, f"/{kept}"))
    assert b" 500 " in answer and b"moved" in answer
    engine.remove_all()
    engine.ok("volume", "rm", "shared")


def test_directories_that_are_missing_are_made_however_many(engine, web):
    path = "a/" * 1500

    assert b" 200 OK" in put(engine, "/", tar_of((f"{path}file", b"x", None)))

    (name,) = (one for one in members(copied_out(engine, "/a")) if one.endswith("/file"))
    assert name == f"{path}file"


def test_a_owner_is_the_archive_s_or_the_container_s_user(engine, removed):
    engine.ok("create", "--name", "web", "-u", "web", "--network=none", "busybox")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("owned")
        info.uid, info.gid = 1234, 5678
        archive.addfile(info)

    put(engine, "/", buffer.getvalue())
    assert members(copied_out(engine, "/owned"))["owned"].uid == 1234
    put(engine, "/", buffer.getvalue(), "&copyUIDGID=1")
    owned = members(copied_out(engine, "/owned"))["owned"]
    assert (owned.uid, owned.gid) == (33, 34)


@pytest.mark.parametrize("runs", [True, False])
def test_read_only_is_said(engine, removed, tmp_path, runs):
    words = ("--read-only", "-v", f"{tmp_path}:/ro:ro", "--network=none", "busybox", "sleep", "1000")
    engine.ok(*(("run", "-d") if runs else ("create",)), "--name", "web", *words)
    (tmp_path / "file").touch()

    assert "container rootfs is marked read-only" in engine.fails("cp", tmp_path / "file", "web:/new")[1]
    engine.remove_all()
    engine.ok(*(("run", "-d") if runs else ("create",)), "--name", "web", *words[1:])
    assert "mounted volume is marked read-only" in engine.fails("cp", tmp_path / "file", "web:/ro/new")[1]


def test_what_is_read_only_is_told_by_where_the_files_go(engine, dockerd, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "ro").mkdir()
    for daemon in (engine, dockerd):
        words = ("--read-only", "-v", f"{tmp_path}/ro:/ro:ro", "--network=none", "busybox", "sleep", "1000")
        daemon.docker("run", "-d", "--name", "web", *words)
        for place, text in (("/ro", "mounted volume"), ("/tmp", "container rootfs")):
            done = daemon.docker("cp", str(tmp_path / "file"), f"web:{place}")
            assert done.returncode == 1
            assert f"{text} is marked read-only" in str(done.stderr)
        assert daemon.docker("rm", "-f", "web").returncode == 0


@pytest.mark.parametrize("place", ["/tmp/nosuch", "/etc/passwd"])
def test_a_client_is_answered_when_it_has_sent_a_small_archive(both, engine, dockerd, place):
    """Docker's client complains of a closed pipe, too, if it is answered before."""
    archive = tar_of(("new", b"x" * 100_000, None))
    head = f"PUT /containers/web/archive?path={place} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\n\r\n"
    for daemon in (engine, dockerd):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(daemon.socket))
            connection.sendall(head.encode() + archive[:50_000])
            assert select.select([connection], [], [], 0.3)[0] == []
            connection.sendall(archive[50_000:])
            assert connection.recv(100)[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 500")


def test_a_slow_client_delays_no_start(engine, removed):
    engine.ok("create", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    archive = tar_of(("new", b"x" * 5000, None))
    with engine.connect() as connection:
        head = f"PUT /containers/web/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\n\r\n"
        connection.sendall(head.encode() + archive[:3000])
        engine.ok("start", "web")
        connection.sendall(archive[3000:])
        assert b" 200 OK" in read_all(connection)

    assert engine.ok("exec", "web", "wc", "-c", "/new") == "5000 /new"


def test_a_client_that_breaks_off_leaves_the_daemon_well(engine, removed):
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    with engine.connect() as connection:
        connection.sendall(b"PUT /containers/web/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Length: 9000\r\n\r\nabc")
    for body, text in ((b"no archive" * 100, b"archive: "), (tar_of(("../x", b"", None)), b"a name with '..'")):
        assert text in put(engine, "/", body)

    assert engine.ok("diff", "web") == ""


def test_export_has_all_files_of_the_layers_and_no_volume(engine, web):
    found = members(engine.ok("export", "web", text=False))

    assert {"bin/busybox", "etc/passwd", "tmp"} <= set(found)
    assert ("d/file" in found) == (web != "created")
    assert not any(name.startswith(("/", "./", "vol/")) for name in found)
    assert found["tmp"].mode == 0o1777


def test_diff_lists_what_was_added_changed_and_deleted(engine, removed):
    program = (
        "echo x >> /etc/group; rm /etc/passwd; mkdir /new; touch /new/file; rm -rf /tmp; mkdir /tmp; chmod 700 /var"
    )
    engine.ok("run", "--name", "web", "--network=none", "busybox", "sh", "-c", program)

    assert engine.ok("diff", "web").splitlines() == [
        "C /etc",
        "C /etc/group",
        "D /etc/passwd",
        "A /new",
        "A /new/file",
        "C /tmp",
        "C /var",
    ]
    engine.ok("create", "--name", "other", "busybox")
    assert engine.call("GET", "/containers/other/changes") == (200, None)


def test_diff_of_a_container_that_changed_nothing_is_empty(engine, removed):
    engine.ok("run", "--name", "web", "busybox", "true")

    assert engine.ok("diff", "web") == ""


def test_diff_lists_any_number_of_changes(engine, removed):
    many = "i=0; while [ $i -lt 4000 ]; do : > /tmp/a-file-with-a-rather-long-name-$i; i=$((i+1)); done"
    engine.ok("run", "--name", "web", "--network=none", "busybox", "sh", "-c", f"mkdir /tmp; {many}")

    assert len(engine.ok("diff", "web").splitlines()) == 4001


def test_diff_of_a_container_that_removes_files_meanwhile_is_answered(engine, removed):
    restless = "while true; do mkdir -p /tmp/a/b; : > /tmp/a/b/c; : > /tmp/a/d; rm -rf /tmp/a; done"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", restless)

    assert {engine.call("GET", "/containers/web/changes")[0] for _ in range(100)} == {200}


@pytest.fixture
def both(engine, dockerd, removed):
    """A container of both engines that runs; functions that call docker, and give (status, output, errors)."""
    called = []
    for daemon in (engine, dockerd):
        called.append(lambda *words, daemon=daemon, **more: as_text(daemon.docker(*map(str, words), **more)))
    for docker in called:
        assert docker("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")[0] == 0
    yield called
    assert called[1]("rm", "-f", "web")[0] == 0


def as_text(done):
    texts = (text.decode() if isinstance(text, bytes) else text for text in (done.stdout, done.stderr))
    return (done.returncode, *(text.strip() for text in texts))


def test_the_directory_that_files_are_copied_to_keeps_its_owner_and_mode(both, tmp_path):
    (tmp_path / "src").mkdir(mode=0o700)
    (tmp_path / "src/file").write_text("x")
    owned = tmp_path / "owned.tar"
    with tarfile.open(owned, "w") as archive:
        for name, kind in ((".", tarfile.DIRTYPE), ("./below", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.gid, info.mode = kind, 33, 34, 0o711
            archive.addfile(info)

    for docker in both:
        assert docker("cp", f"{tmp_path}/src/.", "web:/tmp")[0] == 0
        assert docker("exec", "web", "sh", "-c", "mkdir -m 750 /kept")[0] == 0
        assert docker("cp", "-", "web:/kept", input=owned.read_bytes(), **binary(docker, both))[0] == 0
        seen = docker("exec", "web", "stat", "-c", "%a %u %g", "/tmp", "/kept", "/kept/below")[1]
        assert seen.splitlines() == ["1777 0 0", "750 0 0", "711 33 34"]


def test_times_in_archives_are_whole_seconds_as_with_dockerd(both, engine, dockerd):
    for docker in both:
        assert docker("exec", "web", "touch", "/tmp/now")[0] == 0

    archives = [copied_out(engine, "/tmp/now"), dockerd.docker("cp", "web:/tmp/now", "-").stdout]
    assert [one.pax_headers for data in archives for one in members(data).values()] == [{}, {}]
    assert [one.mtime > time.time() - 60 for data in archives for one in members(data).values()] == [True, True]


def binary(docker, both):
    """Return what the engine under test needs for standard input that is no text."""
    return {"text": False} if docker is both[0] else {}


def test_all_files_of_a_container_that_runs_are_copied(both, tmp_path):
    for docker, place in zip(both, (tmp_path / "ours", tmp_path / "theirs")):
        place.mkdir()
        assert docker("exec", "web", "sh", "-c", "echo x > /file; ls /etc > /dev/shm/file")[0] == 0
        assert docker("cp", "web:/", place / "out")[0] == 0
        found = {str(path.relative_to(place / "out")) for path in (place / "out").rglob("*")}
        assert {"file", "etc/passwd", "bin/busybox", "proc", "sys", "dev"} <= found
        assert not [one for one in found if one.startswith(("proc/", "sys/"))]
        assert not [one for one in (place / "out").rglob("*") if one.is_char_device()]


def test_files_of_the_kernel_that_cannot_be_read_are_passed_over(engine, both, tmp_path):
    engine.ok("exec", "web", "sh", "-c", "echo x > /dev/shm/file")
    engine.ok("cp", "web:/proc/1", tmp_path / "process")
    engine.ok("cp", "web:/sys/kernel/mm", tmp_path / "mm")
    engine.ok("cp", "web:/dev/shm", tmp_path / "shm")

    assert {"status", "root", "fd"} <= set(os.listdir(tmp_path / "process"))
    assert os.listdir(tmp_path / "mm") and os.listdir(tmp_path / "shm") == ["file"]
    status, answer = engine.call("GET", "/containers/web/archive?path=/proc/self")
    assert (status, answer["message"][:44]) == (404, "Could not read the file /proc/self in contai")


def test_all_containers_have_what_programs_know_docker_by_and_images_their_own(both, engine, dockerd, tmp_path):
    look = "stat -c '%n %F %a %s' /.dockerenv; ls -l /etc/mtab | grep -o 'mtab.*'"
    seen = [docker("exec", "web", "sh", "-c", look)[1] for docker in both]
    assert seen[0] == seen[1] == "/.dockerenv regular empty file 755 0\nmtab -> /proc/mounts"
    for docker in both:
        assert docker("exec", "web", "sh", "-c", "rm /etc/mtab; echo x > /.dockerenv; echo x > /etc/x")[0] == 0
    assert both[0]("diff", "web")[1] == "C /.dockerenv\nC /etc\nD /etc/mtab\nA /etc/x"
    assert sorted(both[1]("diff", "web")[1].splitlines()) == sorted(both[0]("diff", "web")[1].splitlines())

    for daemon in (engine, dockerd):
        (tmp_path / "Dockerfile").write_text(
            "FROM busybox\nRUN rm /etc/mtab /.dockerenv\nRUN rm /etc/mtab; echo mine > /etc/mtab\n"
        )
        build(daemon, tmp_path, "--network=none", "-t", "init")
    words = ("run", "--rm", "--network=none", "init", "sh", "-c", "cat /etc/mtab; ls /.dockerenv")
    assert both[0](*words)[1] == "mine\n/.dockerenv"  # dockerd would have its own /etc/mtab here
    assert both[1](*words)[1].endswith("/.dockerenv")
    for docker in both:
        assert docker("rmi", "init")[0] == 0


def test_what_all_containers_have_is_in_exports_and_in_no_image(both, tmp_path):
    (tmp_path / "file").write_text("x")
    seen = []
    for docker in both:
        docker("create", "--name", "new", "--network=none", "busybox", "true")
        assert docker("diff", "new")[1] == ""
        docker("export", "-o", tmp_path / "new.tar", "new")
        with tarfile.open(tmp_path / "new.tar") as archive:
            seen.append({one.name: (one.type, one.mode & 0o7777, one.linkname) for one in archive})
        assert docker("cp", tmp_path / "file", "new:/dev/pts/file")[0] == 0
        assert docker("commit", "new", "same")[0] == 0
        assert docker("rm", "new")[0] == 0
        assert docker("rmi", "same")[0] == 0
    assert seen[0] == seen[1]
    assert {".dockerenv", "etc/mtab", "dev/console", "proc", "sys"} <= set(seen[0])
