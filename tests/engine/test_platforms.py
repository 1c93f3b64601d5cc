"""Images for one platform of several: --platform of docker's newer clients, which the API gets as JSON."""

import json
import subprocess
import tarfile
from urllib.parse import quote

import pytest
from beside_dockerd import asked
from clients import ours
from daemon import DOCKERS, PYRUND
from images import Image, busybox_layer, index_of, tar, write_layout

pytestmark = pytest.mark.usefixtures("removed")

AMD64, ARM64 = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}
NAME = "127.0.0.1:5000/library/both:1"
OTHER = (
    "image with reference {} was found but its platform (linux/amd64) does not match the specified platform "
    "(linux/arm64)"
)
HEADERS = {"X-Registry-Auth": "e30="}  # {}


def images():
    return Image(busybox_layer(), config={"Cmd": ["true"]}), Image(tar("of-arm"), platform=("linux", "arm64"))


def ids():
    return [image.manifest["config"]["digest"] for image in images()]


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """An OCI layout with one image for both platforms."""
    folder = tmp_path_factory.mktemp("both")
    amd64, arm64 = images()
    blobs, index = index_of((amd64, AMD64), (arm64, {**ARM64, "variant": "v8"}))
    write_layout(folder, blobs, [{**index, "annotations": {"org.opencontainers.image.ref.name": NAME}}])
    return folder


@pytest.fixture
def both(hub, engine, layout):
    """NAME at the registry, and the half of it that is for this machine in the store."""
    if not hub.run("skopeo", "inspect", "--tls-verify=false", f"docker://{NAME}").stdout:
        options = ["--all", "--preserve-digests", "--dest-tls-verify=false"]
        done = hub.run("skopeo", "copy", *options, f"oci:{layout}:{NAME}", f"docker://{NAME}")
        assert done.returncode == 0, done.stderr
    engine.ok("pull", NAME)
    yield NAME
    engine.docker("rmi", "-f", NAME)


def of(platform):
    return f"platform={quote(json.dumps(platform))}"


def newest():
    """Return a client with --platform for stored images, or skip."""
    for client in DOCKERS:
        if "--platform" in subprocess.run([client, "history", "--help"], capture_output=True, text=True).stdout:
            return client
    pytest.skip("no docker 28 is installed")


def client(engine, is_ours, *words):
    return ours(engine, *words) if is_ours else engine.docker(*words, client=newest())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images/{}/json?platform="),
        ("GET", "/images/{}/history?platform="),
        ("GET", "/images/{}/get?platform="),
        ("GET", "/images/get?names={}&platform="),
        ("POST", "/images/{}/push?tag=1&platform="),
        ("DELETE", "/images/{}?platforms="),
    ],
)
def test_what_is_asked_for_another_platform_is_refused_in_dockerd_s_words(engine, both, method, path):
    address = path.format(both.removesuffix(":1") if "push" in path else both)
    other = quote(json.dumps(ARM64))

    answer = asked(engine, method, address + other, headers=HEADERS)
    assert answer == (404, [{"message": OTHER.format(both)}])
    name = path.rpartition("&")[2].rpartition("?")[2]
    status, (answer,) = asked(engine, method, f"{address}{other}&{name}{other}", headers=HEADERS)
    assert (status, answer["message"]) == (400, "multiple platform parameters not supported")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("linux/arm64", "failed to parse platform: "),
        ("[]", "failed to parse platform: "),
        ('{"os":5,"architecture":"arm64"}', "os: expected a string"),
        ('{"os":"linux"}', "both OS and Architecture must be provided"),
        ('{"variant":"v7"}', "optional platform fields provided, but OS and Architecture are missing"),
        ('{"os":"linux","architecture":"amd64","variant":"vx"}', "a variant of amd64 is v and a number"),
    ],
)
def test_a_platform_that_cannot_be_is_refused(engine, text, words):
    for method, path in (
        ("GET", "/images/busybox/json?platform="),
        ("POST", "/images/busybox/push?platform="),
        ("POST", "/images/load?platform="),
        ("DELETE", "/images/busybox?platforms="),
    ):
        status, (answer,) = asked(engine, method, path + quote(text), headers=HEADERS)
        assert status == 400 and words in answer["message"], answer


def test_versions_of_the_api_from_before_the_parameter_ignore_it_as_dockerd_does(engine, both):
    wrong = "platform=linux/arm64"
    for version, path in (("1.47", f"/images/{both}/history"), ("1.48", f"/images/{both}/json")):
        assert engine.call("GET", f"/v{version}{path}?{wrong}")[0] == 200
    engine.ok("tag", both, "127.0.0.1:5000/pushed/old:1")
    path = f"/v1.45/images/127.0.0.1:5000/pushed/old/push?tag=1&{wrong}"
    assert "aux" in asked(engine, "POST", path, headers=HEADERS)[1][-1]
    engine.ok("rmi", "127.0.0.1:5000/pushed/old:1")


def test_manifests_and_a_platform_exclude_each_other(engine, both):
    status, answer = engine.call("GET", f"/images/{both}/json?manifests=1&{of(AMD64)}")

    assert status == 400 and answer["message"].startswith("conflicting options: manifests and platform")


def test_docker_s_client_sees_and_saves_the_platform_that_is_stored(engine, both, tmp_path):
    new = newest()
    for verb in (["image", "inspect"], ["history"]):
        engine.ok(*verb, "--platform", "linux/amd64", both, client=new)
        done = engine.docker(*verb, "--platform", "linux/arm64/v8", both, client=new)
        assert done.returncode == 1 and OTHER.format(both) in done.stderr
    engine.ok("save", "--platform", "linux/amd64", "-o", tmp_path / "saved.tar", both, client=new)
    with tarfile.open(tmp_path / "saved.tar") as archive:
        config = json.load(archive.extractfile("manifest.json"))[0]["Config"]
        assert json.load(archive.extractfile(config))["architecture"] == "amd64"
    done = engine.docker("save", "--platform", "linux/arm64", "-o", tmp_path / "other.tar", both, client=new)
    assert done.returncode == 1 and OTHER.format(both) in done.stderr


@pytest.mark.parametrize("is_ours", [False, True], ids=["docker's client", "our client"])
def test_a_push_for_a_platform_sends_its_manifest_alone(engine, hub, both, is_ours):
    target = f"127.0.0.1:5000/pushed/{is_ours}:1".lower()
    engine.ok("tag", both, target)

    refused = client(engine, is_ours, "push", "--platform", "linux/arm64", target)
    assert refused.returncode == 1 and OTHER.format(target) in refused.stderr
    look = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{target}"]
    assert hub.run(*look).returncode != 0
    done = client(engine, is_ours, "push", "--platform", "linux/amd64", target)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(hub.run(*look).stdout)
    assert "manifests" not in manifest and manifest["config"]["digest"] == engine.inspect(both, ".Id")
    engine.ok("rmi", target)


def test_a_push_of_an_image_that_is_missing_or_of_all_tags_looks_at_the_platform_first(engine, both):
    name = both.removesuffix(":1")
    engine.ok("tag", both, f"{name}:2")

    answer = asked(engine, "POST", f"/images/{name}/push?{of(ARM64)}", headers=HEADERS)
    assert answer == (404, [{"message": OTHER.format(both)}])
    answer = asked(engine, "POST", f"/images/{name}/push?tag=3&{of(AMD64)}", headers=HEADERS)
    assert answer == (404, [{"message": f"No such image: {name}:3"}])
    engine.ok("rmi", f"{name}:2")


@pytest.mark.parametrize("is_ours", [False, True], ids=["docker's client", "our client"])
def test_an_image_is_removed_only_for_its_platform(engine, is_ours):
    engine.ok("tag", "busybox", "removed:1")

    done = client(engine, is_ours, "rmi", "--platform", "linux/arm64", "removed:1")
    assert done.returncode == 1 and OTHER.format("removed:1") in done.stderr
    done = client(engine, is_ours, "rmi", "--platform", "linux/amd64", "removed:1")
    assert done.stdout.strip() == "Untagged: removed:1"


def test_our_client_refuses_the_option_where_the_daemon_would_ignore_it(dockerd):
    for verb, version in (("push", "1.46"), ("rmi", "1.50")):
        command = [PYRUND, "-H", f"unix://{dockerd.socket}", verb, "--platform", "linux/amd64", "busybox:latest"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert f'"--platform" requires API version {version}, but the Docker daemon API version is 1.41' in done.stderr


def test_our_client_refuses_a_platform_that_cannot_be(engine):
    done = ours(engine, "push", "--platform", "a/b/c/d", "busybox")

    assert done.returncode == 1 and "is not os/architecture" in done.stderr


def loaded(engine, archive, platform):
    return asked(engine, "POST", f"/images/load?{of(platform)}", archive)


def test_a_load_takes_the_platform_that_is_asked_for_from_an_archive_with_several(engine, layout):
    archive = subprocess.run(["tar", "-c", "-C", layout, "."], capture_output=True, check=True).stdout
    amd64, arm64 = ids()
    for platform, id_ in ((AMD64, amd64), (ARM64, arm64), (AMD64, amd64)):
        assert loaded(engine, archive, platform) == (200, [{"stream": f"Loaded image: {NAME}\n"}])
        assert engine.inspect(NAME, ".Id") == id_
    lacking = f"image {NAME} doesn't provide the requested platform (linux/s390x)"

    assert loaded(engine, archive, {**AMD64, "architecture": "s390x"}) == (404, [{"message": lacking}])
    assert engine.inspect(NAME, ".Id") == amd64
    engine.ok("rmi", NAME)


def test_a_load_passes_over_images_for_other_platforms(engine, hub):
    hub.push(images()[1], "arm:1")
    engine.ok("tag", "busybox", "kept:1")
    engine.ok("pull", "--platform", "linux/arm64", "arm:1")
    saved = engine.docker("save", "kept:1", "arm:1", text=False).stdout
    engine.ok("rmi", "kept:1", "arm:1")
    lacking = "images [kept:1, arm:1] don't provide the requested platform (linux/s390x)"

    assert loaded(engine, saved, {**AMD64, "architecture": "s390x"}) == (404, [{"message": lacking}])
    assert loaded(engine, saved, ARM64) == (200, [{"stream": "Loaded image: arm:1\n"}])
    done = engine.docker("load", "--platform", "linux/amd64", input=saved, text=False, client=newest())
    assert done.stdout == b"Loaded image: kept:1\n"
    engine.ok("rmi", "kept:1", "arm:1")


def test_a_pull_for_another_platform_gives_the_name_to_that_image(engine, both):
    amd64, arm64 = ids()
    for platform, id_ in (("linux/arm64", arm64), ("linux/amd64", amd64), ("linux/arm64", arm64)):
        engine.ok("pull", "--platform", platform, both)
        assert (engine.inspect(both, ".Id"), engine.inspect(both, ".RepoTags")) == (id_, [both])
    engine.ok("pull", both)
    assert engine.inspect(both, ".Id") == amd64


def test_a_container_for_another_platform_is_refused_as_by_dockerd_so_that_the_client_pulls(engine, dockerd, both):
    body = json.dumps({"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}).encode()
    for platform, status in (("linux/amd64", 201), ("linux/arm64", 404), ("a/b/c/d", 400)):
        for daemon in (engine, dockerd):
            path = f"/containers/create?platform={platform}"
            assert asked(daemon, "POST", path, body, {"Content-Type": "application/json"})[0] == status
    for docker in DOCKERS:
        engine.ok("create", "--platform", "linux/arm64", "--network=none", both, "x", client=docker)
        assert engine.inspect(both, ".Architecture") == "arm64"
        engine.remove_all()
        engine.ok("pull", both)


def test_an_image_whose_config_has_no_variant_is_for_all_of_them(engine, hub):
    hub.push(Image(tar("x"), platform=("linux", "arm")), "arm:2")
    engine.ok("pull", "--platform", "linux/arm/v7", "arm:2")

    for variant in ("v6", "v7", "v8"):
        platform = {"os": "linux", "architecture": "arm", "variant": variant}
        assert engine.call("GET", f"/images/arm:2/json?{of(platform)}")[0] == 200
    assert engine.call("GET", f"/images/arm:2/json?{of(ARM64)}")[0] == 200  # it can run that
    assert engine.call("GET", f"/images/arm:2/json?{of(AMD64)}")[0] == 404
    engine.ok("rmi", "arm:2")
