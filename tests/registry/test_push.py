"""push, copy and tags: the way back, to real registries and to those that misbehave."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import push
from images import Image, digest_of, entry, index_of, tar, write_layout
from misbehaving import Receiver
from test_auth import TokenServer, basic, write_config

BIG = os.urandom(3 << 20)


def layout(pyfetch, image, name="layout"):
    image.write_layout(pyfetch.folder / name, "x")
    return f"oci:{name}"


def big():
    return Image(tar(entry("big", data=BIG)), compress=lambda data: data)


def inspected(name, *options):
    """Return what skopeo finds at the registry: the manifest's digest and bytes."""
    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", *options, f"docker://{name}"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return digest_of(data)


def same_bytes(pyfetch, name, *options):
    """Have skopeo fetch the image with all its blobs, which it verifies; return the manifest's digest."""
    folder = pyfetch.folder / f"fetched-{len(os.listdir(pyfetch.folder))}"
    command = ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false", *options]
    subprocess.run([*command, f"docker://{name}", f"oci:{folder}:x"], check=True, capture_output=True)
    with open(folder / "index.json") as file:
        return json.load(file)["manifests"][0]["digest"]


def test_an_image_of_the_store_is_pushed_bit_for_bit(pyfetch, docker_registry, busybox, tmp_path):
    source = push(busybox, tmp_path / "first", f"{docker_registry}/pushed/source:1")
    pyfetch.ok(source)
    name = f"{docker_registry}/pushed/target:2"
    done = pyfetch.run("push", source, name)
    layer = busybox.manifest["layers"][0]["digest"][7:19]

    assert done.stdout == f"{docker_registry}/pushed/target@{busybox.digest}\n"
    assert done.stderr.splitlines() == [
        f"The push refers to repository [{docker_registry}/pushed/target]",
        f"{layer}: Preparing",
        f"{layer}: Mounted from pushed/source",
        f"2: digest: {busybox.digest} size: {busybox.descriptor['size']}",
    ]
    assert same_bytes(pyfetch, name) == busybox.digest


def test_what_is_at_the_registry_is_not_sent_again(pyfetch, receiver):
    source = layout(pyfetch, big())
    pyfetch.ok("push", source, f"{receiver.host}/test:1")
    received = receiver.received
    done = pyfetch.run("push", source, f"{receiver.host}/test:2")

    assert received > len(BIG)
    assert (done.returncode, receiver.received) == (0, received)
    assert "Layer already exists" in done.stderr
    assert receiver.tags["1"] == receiver.tags["2"]


def test_a_pushed_image_can_be_pulled_and_run_again(pyfetch, docker_registry, busybox):
    name = f"{docker_registry}/roundtrip"
    pyfetch.ok("push", layout(pyfetch, busybox), name)
    bundle = pyfetch.ok(name)

    assert os.path.islink(f"{bundle}/rootfs/bin/sh") or os.path.exists(f"{bundle}/config.json")
    assert json.loads(pyfetch.ok("inspect", name))["digest"] == busybox.digest


def test_the_name_in_the_store_is_the_default_destination(pyfetch, docker_registry, busybox):
    name = f"{docker_registry}/tagged/image:3"
    pyfetch.ok(layout(pyfetch, busybox))
    pyfetch.ok("tag", f"oci:{pyfetch.folder}/layout", name)

    assert pyfetch.ok("push", name).endswith(busybox.digest)
    assert inspected(name) == busybox.digest


def test_an_image_without_a_name_in_a_registry_needs_a_destination(pyfetch, busybox):
    status, error = pyfetch.fails("push", layout(pyfetch, busybox))

    assert status == 2
    assert "say where to send the image" in error


@pytest.mark.parametrize("options", [[], ["--dest-decompress"]])
def test_what_docker_save_writes_is_pushed_as_others_can_read_it(pyfetch, docker_registry, busybox, options):
    archive, name = pyfetch.folder / "saved.tar", f"{docker_registry}/saved/{len(options)}:1"
    source = f"oci:{busybox.write_layout(pyfetch.folder / 'layout', 'x')}:x"
    subprocess.run(["skopeo", "copy", "-q", *options, source, f"docker-archive:{archive}:a/b:1"], check=True)
    with open(archive, "rb") as file:
        done = pyfetch.run("push", "-", name, input=file.read(), text=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip().endswith(same_bytes(pyfetch, name))


def test_an_index_is_pushed_with_all_that_it_names(pyfetch, docker_registry):
    arm = Image(tar("arm"), platform=("linux", "arm64"))
    here = Image(tar("here"))
    attestation = Image(tar("attestation"), media_type="application/vnd.in-toto+json")
    platforms = [(here, "amd64"), (arm, "arm64"), (attestation, "unknown")]
    blobs, top = index_of(*((image, {"os": "linux", "architecture": name}) for image, name in platforms))
    write_layout(pyfetch.folder / "layout", blobs, [top])
    name = f"{docker_registry}/index"
    pyfetch.ok("push", "oci:layout", name)
    copy = f"{docker_registry}/index/copy:1"

    assert same_bytes(pyfetch, name) == top["digest"]
    assert pyfetch.ok("copy", name, copy) == f"{docker_registry}/index/copy@{top['digest']}"
    assert same_bytes(pyfetch, copy) == top["digest"]
    assert pyfetch.ok("copy", "--platform", "linux/arm64", name, f"{copy}-arm").endswith(arm.digest)


def test_of_an_index_the_store_pushes_what_it_has(pyfetch, registry, docker_registry):
    here, arm = Image(tar("here")), Image(tar("arm"), platform=("linux", "arm64"))
    blobs, top = index_of(
        (here, {"os": "linux", "architecture": "amd64"}), (arm, {"os": "linux", "architecture": "arm64"})
    )
    registry.blobs.update(blobs)
    registry.tags["1"] = top
    pyfetch.ok("--platform", "linux/amd64", f"{registry.host}/test:1")

    assert pyfetch.ok("push", f"{registry.host}/test:1", f"{docker_registry}/one").endswith(here.digest)


def test_a_copy_goes_through_no_store(pyfetch, registry, docker_registry):
    image = big()
    name = f"{docker_registry}/copied:1"
    done = pyfetch.run("copy", registry.add(image), name)

    assert done.returncode == 0, done.stderr
    assert same_bytes(pyfetch, name) == image.digest
    assert sum(len(files) for _, _, files in os.walk(pyfetch.store / "blobs")) == 0


def test_a_copy_within_a_registry_mounts(pyfetch, docker_registry, tmp_path):
    source = push(big(), tmp_path / "first", f"{docker_registry}/within/a:1")
    done = pyfetch.run("copy", source, f"{docker_registry}/within/b:1")

    assert "Mounted from within/a" in done.stderr


@pytest.mark.parametrize("status", [401, 405, 202])
def test_what_cannot_be_mounted_is_sent(pyfetch, receiver, status):
    image = big()
    receiver.add(image, "source")
    pyfetch.ok("--no-bundle", f"{receiver.host}/other:source")
    receiver.blobs.clear()
    challenge = {"WWW_Authenticate": 'Basic realm="x"'} if status == 401 else {}
    receiver.before = lambda h: "mount=" in h.path and status != 202 and (h.reply(status, b"{}", **challenge), True)[1]
    write_config(pyfetch, {"auths": {receiver.host: {"auth": basic("me", "secret")[6:]}}})
    pyfetch.ok("push", f"{receiver.host}/other:source", f"{receiver.host}/test:1")

    assert receiver.count("POST", "mount=") > 0
    assert all(receiver.blobs[digest] == data for digest, data in image.blobs.items())


def test_a_source_that_is_cut_is_resumed_while_copying(pyfetch, registry, receiver):
    image = big()
    layer = image.manifest["layers"][0]["digest"]
    registry.cut = {layer: [1 << 20, 1 << 20]}
    pyfetch.ok("copy", registry.add(image), f"{receiver.host}/test:1")

    assert receiver.blobs[layer] == image.blobs[layer]
    assert registry.sent < 2 * len(BIG)


def test_wrong_bytes_of_the_source_do_not_become_a_blob(pyfetch, registry, receiver):
    image = big()
    layer = image.manifest["layers"][0]["digest"]
    name = registry.add(image)
    registry.blobs[layer] = bytes(len(image.blobs[layer]))
    pyfetch.fails("copy", name, f"{receiver.host}/test:1", "--retries", "0")

    assert layer not in receiver.blobs
    assert receiver.tags == {}


@pytest.mark.parametrize("resumes", [True, False])
def test_a_push_that_is_cut_goes_on(pyfetch, receiver, resumes):
    receiver.resumes = resumes
    receiver.losses = [1 << 20, 1 << 20]
    image = big()
    done = pyfetch.run("push", layout(pyfetch, image), f"{receiver.host}/test:1")
    layer = image.manifest["layers"][0]["digest"]

    assert done.returncode == 0, done.stderr
    assert receiver.blobs[layer] == image.blobs[layer]
    assert (receiver.received < 1.2 * len(BIG)) == resumes


def test_a_push_that_gets_on_is_not_given_up(pyfetch, receiver):
    receiver.losses = [600 << 10] * 4
    image = big()
    pyfetch.ok("push", layout(pyfetch, image), f"{receiver.host}/test:1", "--retries", "1")

    assert receiver.tags["1"]["digest"] == image.digest


@pytest.mark.parametrize(("most", "reads"), [(1 << 20, True), (100 << 10, True), (1 << 20, False)])
def test_a_proxy_that_takes_only_small_requests_gets_chunks(pyfetch, receiver, most, reads):
    receiver.most, receiver.reads_too_much = most, reads
    image = big()
    pyfetch.ok("push", layout(pyfetch, image), f"{receiver.host}/test:1")
    layer = image.manifest["layers"][0]["digest"]

    assert receiver.blobs[layer] == image.blobs[layer]
    assert receiver.count("PATCH", "/uploads/") > len(BIG) // most


def test_chunks_are_no_smaller_than_the_registry_wants(pyfetch, receiver):
    receiver.most, receiver.least = 1 << 20, str(600 << 10)
    pyfetch.ok("push", layout(pyfetch, big()), f"{receiver.host}/test:1")
    sizes = [int(r.headers["content-length"]) for r in receiver.requests if r.method == "PATCH"]

    assert all(600 << 10 <= size <= 1 << 20 for size in sizes[3:-1])


@pytest.mark.parametrize("value", ["\xb2", "-1", "0", "9" * 30, "1 MiB"])
def test_numbers_of_a_registry_that_are_none_are_ignored(pyfetch, receiver, value):
    receiver.most, receiver.least, receiver.losses = 1 << 20, value, [10]
    receiver.before = lambda h: (
        "/uploads/" in h.path and h.command == "GET" and (h.reply(204, Range=f"0-{value}"), 1)[1]
    )
    pyfetch.ok("push", layout(pyfetch, big()), f"{receiver.host}/test:1")

    assert "1" in receiver.tags


def test_a_registry_that_takes_nothing_is_told(pyfetch, receiver):
    receiver.most = 10
    status, error = pyfetch.fails("push", layout(pyfetch, big()), f"{receiver.host}/test:1")

    assert status == 5
    assert "413" in error


def test_a_push_that_keeps_failing_ends_with_the_reason(pyfetch, receiver):
    receiver.losses = [10] * 20
    status, error = pyfetch.fails("push", layout(pyfetch, big()), f"{receiver.host}/test:1", "--retries", "1")

    assert status == 5
    assert "(tried 2 times)" in error


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/v2/x",
        "file:///etc/passwd",
        "http://user:password@127.0.0.1/",
        "",
        "http://[::1/x",
        "http://a b/",
    ],
)
def test_a_hostile_address_for_an_upload_is_refused(pyfetch, receiver, location):
    receiver.location = location
    status, _ = pyfetch.fails("push", layout(pyfetch, big()), f"{receiver.host}/test:1", "--retries", "0")

    assert status in (5, 6)
    assert receiver.received == 0


def test_an_upload_at_another_server_gets_no_credentials(pyfetch, receiver):
    other = Receiver()
    other.uploads = {number: bytearray() for number in range(9)}
    receiver.location = f"http://{other.host}/v2/test/blobs/uploads/{{}}?state=a%20b"
    challenge = 'Basic realm="x"'
    receiver.before = lambda h: (
        h.headers.get("Authorization") != basic("me", "secret")
        and (
            h.reply(401, b"{}", WWW_Authenticate=challenge),
            True,
        )[1]
    )
    write_config(pyfetch, {"auths": {receiver.host: {"auth": basic("me", "secret")[6:]}}})
    pyfetch.ok("push", layout(pyfetch, Image(tar("x"))), f"{receiver.host}/test:1")
    sent = other.authorizations()
    other.close()

    assert sent and set(sent) == {None}


def test_a_registry_that_names_another_digest_is_not_believed(pyfetch, receiver):
    receiver.before = lambda h: (
        h.command == "PUT" and (h.reply(201, Docker_Content_Digest="sha256:" + "0" * 64), True)[1]
    )
    status, error = pyfetch.fails("push", layout(pyfetch, Image(tar("x"))), f"{receiver.host}/test:1")

    assert status == 6
    assert "sha256:000" in error


def test_a_damaged_blob_of_the_store_is_not_sent(pyfetch, registry, receiver):
    image = big()
    name = registry.add(image)
    pyfetch.ok(name)
    layer = image.manifest["layers"][0]["digest"]
    with open(pyfetch.store / "blobs" / layer.replace(":", "/"), "r+b") as file:
        file.write(b"damage")
    status, error = pyfetch.fails("push", name, f"{receiver.host}/test:1")

    assert status == 6
    assert "damaged in the store" in error
    assert layer not in receiver.blobs


def test_a_killed_push_is_completed_by_the_next(pyfetch, receiver):
    images = [tar(entry(f"f{number}", data=os.urandom(1 << 20))) for number in range(6)]
    image = Image(*images, compress=lambda data: data)
    source = layout(pyfetch, image)
    clients, sent = set(), []

    def delay(handler):
        clients.add(handler.client_address)
        if handler.command == "PUT" and "/uploads/" in handler.path:
            time.sleep(0.3)

    def count(handler):
        # What the killed one has sent may still arrive, and the last of it on a new connection.
        if handler.client_address not in clients:
            sent.append(int(handler.headers["Content-Length"] or 0))

    receiver.before = delay
    process = pyfetch.start("push", source, f"{receiver.host}/test:1", "--jobs", "1")
    while len(receiver.blobs) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    receiver.before = count

    assert receiver.tags == {}
    pyfetch.ok("push", source, f"{receiver.host}/test:1")
    assert receiver.tags["1"]["digest"] == image.digest
    assert 0 < sum(sent) < 6 << 20  # all six would be more
    assert all(receiver.blobs[digest] == data for digest, data in image.blobs.items())


# Credentials.


def test_a_password_is_needed_and_found_where_pull_finds_it(pyfetch, locked_registry, busybox):
    name = f"{locked_registry}/x:1"
    source = layout(pyfetch, busybox)
    status, error = pyfetch.fails("push", source, name)

    assert (status, "no basic auth credentials" in error) == (4, True)
    write_config(pyfetch, {"auths": {locked_registry: {"auth": basic("me", "wrong")[6:]}}})
    assert pyfetch.fails("push", source, name)[0] == 4
    write_config(pyfetch, {"auths": {locked_registry: {"auth": basic("me", "secret")[6:]}}})
    assert pyfetch.ok("push", source, name)
    assert pyfetch.ok("push", source, f"{name}.1", "--username", "me", "--password-stdin", input="secret\n")
    assert pyfetch.ok("tags", f"{locked_registry}/x").split() == ["1", "1.1"]
    assert inspected(name, "--creds", "me:secret") == busybox.digest


def test_a_copy_logs_in_to_its_destination(pyfetch, locked_registry, registry, busybox):
    login = ("--username", "me", "--password-stdin")
    pyfetch.ok("copy", registry.add(busybox), f"{locked_registry}/y:1", *login, input="secret\n")

    assert set(registry.authorizations()) == {None}


class Scopes(TokenServer):
    """Gives tokens that are their scopes."""

    def answer(self, handler):
        scope = handler.path.partition("scope=")[2].partition("&")[0].replace("%3A", ":").replace("%2C", ",")
        handler.reply(200, json.dumps({"token": scope}).encode())


@pytest.mark.parametrize("asked", ["repository:test:pull", "", "repository:test:pull,push"])
def test_one_token_is_for_reading_and_writing(pyfetch, receiver, asked):
    tokens = Scopes()
    scope = f',scope="{asked}"' if asked else ""
    challenge = f'Bearer realm="http://{tokens.host}/token",service="x"{scope}'
    receiver.before = lambda h: (
        h.path != "/v2/"
        and h.headers.get("Authorization") != ("Bearer repository:test:pull,push")
        and (h.reply(401, b"{}", WWW_Authenticate=challenge), True)[1]
    )
    pyfetch.ok("push", layout(pyfetch, Image(tar("x"))), f"{receiver.host}/test:1", "--jobs", "1")
    tokens.close()

    assert len(tokens.requests) == 1


def test_a_token_that_expires_while_a_blob_is_sent_is_renewed(pyfetch, receiver):
    tokens, valid = TokenServer(), ["Bearer t1"]
    challenge = f'Bearer realm="http://{tokens.host}/token",service="x",scope="repository:test:pull,push"'

    def before(handler):
        if handler.command == "PUT" and "/uploads/" in handler.path and valid == ["Bearer t1"]:
            valid[0] = "Bearer t2"
        if handler.path == "/v2/" or handler.headers.get("Authorization") == valid[0]:
            return False
        handler.reply(401, b"{}", WWW_Authenticate=challenge)
        return True

    receiver.before = before
    image = big()
    pyfetch.ok("push", layout(pyfetch, image), f"{receiver.host}/test:1", "--jobs", "1")
    tokens.close()

    assert receiver.tags["1"]["digest"] == image.digest
    assert tokens.given == 2


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', "unauthorized: auth"),
        (403, '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}', "denied: req"),
        (403, "", "push access denied for"),
    ],
)
def test_a_refusal_is_told_in_the_registrys_words(pyfetch, receiver, status, body, expected):
    receiver.before = lambda h: h.command == "POST" and (h.reply(status, body.encode()), True)[1]
    found, error = pyfetch.fails("push", layout(pyfetch, Image(tar("x"))), f"{receiver.host}/test:1")

    assert found == 4
    assert error.startswith(f"pyfetch: error: {expected}")


def test_a_mirror_is_not_written_to(pyfetch, registry, receiver):
    hosts = pyfetch.home / ".config/containerd/certs.d" / receiver.host / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'server = "http://{receiver.host}"\n[host."http://{registry.host}"]\n')
    pyfetch.ok("push", layout(pyfetch, Image(tar("x"))), f"{receiver.host}/test:1")

    assert registry.requests == []


# Tags.


def test_tags_are_listed_over_all_pages(pyfetch, registry):
    pages = {"/v2/a/b/tags/list": (["1", "2"], '</v2/a/b/tags/list?last=2>; rel="next"')}
    pages["/v2/a/b/tags/list?last=2"] = (["3"], None)

    def before(handler):
        if handler.path not in pages:
            return False
        tags, link = pages[handler.path]
        handler.reply(200, json.dumps({"name": "a/b", "tags": tags}).encode(), Link=link)
        return True

    registry.before = before

    assert pyfetch.ok("tags", f"{registry.host}/a/b").split() == ["1", "2", "3"]


@pytest.mark.parametrize("link", ["<http://127.0.0.2:1/x>; rel=next", "</v2/a/tags/list>; rel=next"])
def test_a_list_of_tags_that_leads_elsewhere_or_never_ends_is_refused(pyfetch, registry, link):
    registry.before = lambda h: "/tags/" in h.path and (h.reply(200, b'{"tags":["x"]}', Link=link), True)[1]

    assert pyfetch.fails("tags", f"{registry.host}/a")[0] == 6


@pytest.mark.parametrize("name", ["alpine:3", "oci:layout", f"a@sha256:{'0' * 64}"])
def test_tags_are_those_of_a_repository(pyfetch, name):
    assert pyfetch.fails("tags", name)[0] == 2


def test_a_repository_that_is_not_there_has_no_tags(pyfetch, docker_registry):
    status, error = pyfetch.fails("tags", f"{docker_registry}/nothing/here")

    assert status == 3
    assert "name unknown" in error
