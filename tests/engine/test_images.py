"""Images: list, inspect, history, tag, removal."""

import json
import time

import pytest
from beside_dockerd import said_by_both
from daemon import read_all, wait_until
from hello import hello
from images import Image, busybox_layer, directory, entry, tar

pytestmark = pytest.mark.usefixtures("removed")


def layers(engine):
    return {path.name for path in (engine.data / "images/layers").iterdir() if not path.name.startswith(".")}


def test_the_list_has_names_ids_and_sizes(engine):
    (image,) = engine.call("GET", "/images/json")[1]

    assert image["RepoTags"] == ["busybox:latest"]
    assert image["RepoDigests"][0].startswith("busybox@sha256:")
    assert image["Id"] == engine.inspect("busybox", ".Id")
    assert 1 << 20 < image["Size"] < 10 << 20


def test_an_image_is_found_by_its_names_and_by_the_beginning_of_its_id(engine):
    id_ = engine.inspect("busybox", ".Id")

    digest = engine.inspect("busybox", ".RepoDigests")[0]
    for name in ("busybox:latest", "library/busybox", "docker.io/library/busybox", id_, id_[7:19], digest):
        assert engine.call("GET", f"/images/{name}/json")[1]["Id"] == id_


def test_a_missing_image_is_named(engine):
    assert engine.call("GET", "/images/nosuch/json") == (404, {"message": "No such image: nosuch:latest"})
    assert engine.call("DELETE", "/images/nosuch:1") == (404, {"message": "No such image: nosuch:1"})


def test_inspect_shows_the_config_and_the_layers(engine):
    shown = engine.inspect("busybox", ".")

    assert shown["Config"]["Cmd"] == ["sh"]
    assert shown["Architecture"] == "amd64"
    assert len(shown["RootFS"]["Layers"]) == 2


@pytest.mark.parametrize(
    ("config", "created"),
    [
        ({"Labels": {"a": 5}}, "2020-01-01T00:00:00Z"),
        ({"Cmd": 5, "Env": "A=b", "User": [1], "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**18}}, 5),
        ({}, "2020-01-01T00:00:00x12"),
        ({}, "2020-01-01T00:00:00.\N{SUPERSCRIPT TWO}Z"),
    ],
    ids=["labels", "everything", "created in hexadecimal", "created with another digit"],
)
def test_a_strange_image_is_in_the_way_of_no_list(engine, hub, config, created):
    image = Image(busybox_layer(), config=config)
    image.config["created"] = created
    image.seal()
    hub.push(image, "strange:1")
    engine.ok("pull", "strange:1")
    try:
        assert engine.ok("images", "--format", "{{.Tag}}", "strange") == "1"
        assert "busybox" in engine.ok("images", "--filter", "dangling=false")
        for path in ("/images/json?filters={%22label%22:[%22a%22]}", "/system/df", "/info"):
            assert engine.call("GET", path)[0] == 200
        assert engine.call("POST", "/images/prune?filters={%22until%22:[%2248h%22]}")[0] == 200
        status, answer = engine.call("POST", "/containers/create", {"Image": "strange:1", "Cmd": ["true"]})
        assert status == 201 or answer["message"].startswith("config: config."), answer
        if status == 201:
            assert engine.call("POST", f"/containers/{answer['Id']}/start")[0] in (204, 400)
    finally:
        engine.remove_all()
        engine.ok("rmi", "strange:1")


def test_a_tag_is_another_name(engine):
    engine.ok("tag", "busybox", "mine/box:1")

    assert engine.inspect("mine/box:1", ".Id") == engine.inspect("busybox", ".Id")
    assert engine.ok("rmi", "mine/box:1") == "Untagged: mine/box:1"
    assert engine.inspect("busybox", ".RepoTags") == ["busybox:latest"]


def test_an_image_with_two_names_is_removed_by_its_id_only_by_force(engine):
    engine.ok("tag", "busybox", "mine/box:1")

    errors = engine.fails("rmi", engine.inspect("busybox", ".Id"))[1]
    engine.ok("rmi", "mine/box:1")

    assert "(must be forced) - image is referenced in multiple repositories" in errors


def test_the_last_removal_frees_the_layers_that_no_other_image_has(hub, engine):
    hub.push(hello("to be removed"), "goner:latest")
    before = layers(engine)
    engine.ok("pull", "goner")
    made = layers(engine) - before

    shown = engine.ok("rmi", "goner")

    assert len(made) == 1  # busybox's own is there already
    assert "Untagged: goner:latest" in shown and "Deleted: sha256:" in shown
    wait_until(lambda: layers(engine) == before, "the removal of the layer")


def test_an_image_that_a_container_uses_stays(engine):
    id_ = engine.ok("create", "--network=none", "busybox")

    errors = engine.fails("rmi", "busybox")[1]

    assert f"container {id_[:12]} is using its referenced image" in errors
    assert 'unable to remove repository reference "busybox" (must force)' in errors


def test_a_container_outlives_the_name_of_its_image(hub, engine):
    hub.push(hello("kept"), "kept:latest")
    engine.ok("pull", "kept")
    engine.ok("create", "--name", "web", "--network=none", "kept")

    engine.ok("rmi", "-f", "kept")
    wait_until(lambda: engine.docker("image", "inspect", "kept").returncode != 0, "the removal")

    assert engine.ok("start", "-a", "web") == "kept"


def test_a_pull_by_digest_works(engine):
    digest = engine.inspect("busybox", ".RepoDigests")[0]

    assert "Status: " in engine.ok("pull", digest)
    engine.ok("rmi", digest)


def test_a_platform_that_cannot_be_is_refused(engine):
    status, answer = engine.call("POST", "/images/create?fromImage=busybox&platform=a/b/c/d")

    assert status == 400, answer


def test_a_pull_that_fails_is_no_event_and_has_a_status(engine):
    status, answer = engine.call("POST", "/images/create?fromImage=127.0.0.1:5000/library/nosuch&tag=1")

    assert status == 404
    assert "manifest for 127.0.0.1:5000/library/nosuch:1 not found" in answer["message"]
    assert "nosuch" not in engine.ok(
        "events", "--since", "1", "--until", f"{time.time():.9f}", "--filter", "event=pull"
    )


def test_a_reference_that_cannot_be_is_refused(engine):
    status, answer = engine.call("POST", "/images/create?fromImage=Upper")

    assert status == 400
    assert "repository name must be lowercase" in answer["message"]


@pytest.mark.parametrize(
    "config", [{"Env": "A=b"}, {"Cmd": {"a": 1}}, {"Labels": ["a"]}, {"Volumes": "x"}, {"User": 3}], ids=str
)
def test_an_image_with_a_config_of_wrong_types_is_refused(hub, engine, config):
    hub.push(Image(busybox_layer(), config=config), "strange:latest")
    engine.docker("pull", "strange")

    status, answer = engine.call(
        "POST", "/containers/create", {"Image": "strange", "HostConfig": {"NetworkMode": "none"}}
    )

    assert status >= 400, answer
    assert engine.ok("ps", "-aq") == ""
    engine.docker("rmi", "strange")


def test_an_image_that_is_removed_while_a_container_is_made_of_it_leaves_a_whole_one_or_none(engine, hub):
    layer = tar(directory("data"), *(entry(f"data/{number}", data=b"content") for number in range(300)))
    hub.push(Image(busybox_layer(), layer, config={"Cmd": ["true"]}), "filled:latest")
    body = json.dumps({"Image": "filled", "HostConfig": {"NetworkMode": "none", "Binds": ["filled:/data"]}}).encode()
    create = b"POST /containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n"
    for _ in range(5):
        engine.ok("pull", "filled")
        with engine.connect() as creation, engine.connect() as removal:
            with engine.without_workers():  # both wait for one
                creation.sendall(create + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                assert engine.call("GET", "/version")[0] == 200  # the daemon has come to the creation
                removal.sendall(b"DELETE /images/filled?force=1 HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
                assert engine.call("GET", "/version")[0] == 200
            created, removed = read_all(creation), read_all(removal)

        assert b" 200 OK" in removed
        if b" 201 Created" in created:
            id_ = json.loads(created.partition(b"\r\n\r\n")[2])["Id"]
            engine.ok("start", "-a", id_)
            engine.ok("rm", id_)
        else:
            assert b"No such image: filled:latest" in created
        assert engine.docker("image", "inspect", "filled").returncode != 0
        engine.docker("volume", "rm", "filled")


def test_prune_keeps_an_image_of_which_a_container_is_made_meanwhile(engine, hub):
    engine.ok("pull", "hello-world")
    head = b"POST /images/prune?filters={%22dangling%22:[%22false%22]} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
    with engine.connect() as connection:
        with engine.without_workers():  # the first removal waits for one
            connection.sendall(head)
            assert engine.call("GET", "/version")[0] == 200  # the daemon has come to that removal
            body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
            assert engine.call("POST", "/containers/create", body)[0] == 201
        answered = read_all(connection)

    assert b"hello-world:latest" in answered and b"busybox:latest" not in answered
    assert engine.inspect("busybox", ".RepoTags") == ["busybox:latest"]


# As dockerd.


@pytest.fixture
def names(engine, dockerd):
    """More names for busybox, and an image that is younger."""
    more = ("t1", "t1:2", "one/two:x")
    for daemon in (engine, dockerd):
        for name in more:
            daemon.docker("tag", "busybox", name)
        daemon.docker("import", "--message", "of a tar", "-", "early:1", input=b"\0" * 1024, **as_bytes(daemon))
    yield
    for daemon in (engine, dockerd):
        daemon.docker("rmi", *more, "early:1")


def as_bytes(daemon):
    return {"text": False} if hasattr(daemon, "hub") else {}


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["t1"], 2),
        (["t1:2"], 1),
        (["o*"], 0),
        (["o*/t?o"], 1),
        (["*/*"], 1),
        (["[s-u]1:[^1]"], 1),
        (["t\\1:lat*"], 1),
        (["--filter", "reference=t1:2", "--filter", "reference=one/two"], 2),
        (["--filter", "before=early:1"], 4),
        (["--filter", "since=busybox"], 1),
        (["--filter", "dangling=true"], 0),
    ],
    ids=str,
)
def test_a_list_has_the_names_that_were_asked_for(engine, dockerd, names, words, lines):
    command = ("images", "--format", "{{.Repository}}:{{.Tag}}", *words)
    ours, theirs = (daemon.docker(*command, **as_bytes(daemon)).stdout.split() for daemon in (engine, dockerd))

    assert sorted(ours) == sorted(theirs)  # the client shows repositories in any order
    assert len(ours) == lines


@pytest.mark.parametrize("words", [["t1:["], ["t1:\\"], ["t1:[]"], ["--filter", "before=nosuch"]], ids=str)
def test_a_filter_that_cannot_be_is_an_error(engine, dockerd, names, words):
    status, _, error = said_by_both(engine, dockerd, "images", *words)

    assert status == 1
    assert "syntax error in pattern" in error or "No such image: nosuch" in error


def test_a_list_knows_until_when_images_were_made(engine, names):
    shown = engine.ok("images", "--format", "{{.Repository}}", "--filter", "until=1h").split()

    assert set(shown) == {"busybox", "t1", "one/two"}  # that of the tar was made just now


def test_an_id_is_found_by_one_digit_if_it_is_the_only_one(engine, dockerd):
    id_ = engine.inspect("busybox", ".Id")[7:]

    for text in (id_[:1], id_[:2], id_[:63], f"sha256:{id_[:1]}"):
        assert said_by_both(engine, dockerd, "image", "inspect", "-f", "{{.RepoTags}}", text)[1]
    other = next(digit for digit in "0123456789abcdef" if digit != id_[0])
    assert said_by_both(engine, dockerd, "image", "inspect", other)[0] == 1


def test_the_beginning_of_two_ids_is_none(engine, dockerd):
    names = []
    for daemon in (engine, dockerd):
        first = ""
        for number in range(17):  # of so many, two begin with the same digit
            more = as_bytes(daemon)
            made = daemon.docker("import", "-c", f"LABEL n={number}", "-", input=b"\0" * 1024, **more).stdout.decode()
            names.append((daemon, made.strip()))
        ids = [id_ for one, id_ in names if one is daemon]
        first = next(id_[7] for id_ in ids if sum(other[7] == id_[7] for other in ids) > 1)
        done = daemon.docker("image", "inspect", first)
        assert done.returncode == 1
        assert "No such image" in str(done.stderr)
        daemon.docker("rmi", *ids)


def test_a_digest_does_not_take_its_tag_along(engine, dockerd, hub):
    name = "127.0.0.1:5000/library/busybox"
    for daemon in (engine, dockerd):
        daemon.docker("pull", name)
        daemon.docker("tag", "busybox", "other/name:1")
    digest = next(one for one in engine.inspect(name, ".RepoDigests") if one.startswith(name))

    said = said_by_both(engine, dockerd, "rmi", digest)

    assert said[1] == f"Untagged: {digest}\n"
    for daemon in (engine, dockerd):
        assert daemon.docker("image", "inspect", f"{name}:latest").returncode == 0
        assert daemon.docker("rmi", f"{name}:latest", "other/name:1").returncode == 0


def test_the_last_tag_of_a_repository_takes_its_digests_along(engine, dockerd, hub):
    name = "127.0.0.1:5000/library/hello-world"
    digest = json.loads(hub.run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}").stdout)["Digest"]
    for daemon in (engine, dockerd):
        for reference in (f"{name}@{digest}", name):
            assert daemon.docker("pull", reference).returncode == 0
    id_ = engine.inspect(name, ".Id")

    said = [daemon.docker("rmi", name, **as_bytes(daemon)).stdout.decode() for daemon in (engine, dockerd)]

    expected = [f"Untagged: {name}:latest", f"Untagged: {name}@{digest}", f"Deleted: {id_}"]
    assert [one.splitlines()[:3] for one in said] == [expected, expected]  # dockerd goes on with layers


def test_a_pull_without_a_tag_is_of_all_tags(engine, hub):
    for tag in ("1", "2", "latest"):
        hub.push(hello(f"of {tag}"), f"many:{tag}")

    answer = engine.exchange(b"POST /images/create?fromImage=many HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"Pulling from library/many","id":"2"' in answer
    assert sorted(engine.ok("images", "--format", "{{.Tag}}", "many").split()) == ["1", "2", "latest"]
