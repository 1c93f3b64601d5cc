"""Downloads that are cut, stalled or killed are resumed, within a run and across runs, and end right or not at all."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from images import Image, entry, tar


def big_image(size=1 << 20):
    return Image(tar(entry("big", data=random.Random(1).randbytes(size))))


def layer_of(image):
    return image.manifest["layers"][0]


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_is_completed(pyfetch, registry, part, ranges):
    image = big_image()
    size = layer_of(image)["size"]
    registry.ranges = ranges
    registry.cut = {layer_of(image)["digest"]: [min(int(size * part), size - 1)]}
    root = pyfetch.copy(registry.add(image))

    assert os.path.getsize(root / "big") == 1 << 20
    expected = size if ranges else size + int(size * part)
    assert abs(registry.sent - expected) < 64 << 10


def test_a_wrong_range_is_not_used(pyfetch, registry):
    image = big_image()
    digest = layer_of(image)["digest"]
    registry.cut = {digest: [500_000]}

    def lie(handler):
        if "Range" not in handler.headers or digest not in handler.path:
            return False
        data = image.blobs[digest]
        handler.reply(206, data[1:], Content_Range=f"bytes 1-{len(data) - 1}/{len(data)}")
        return True

    registry.before = lie

    assert os.path.getsize(pyfetch.copy(registry.add(image)) / "big") == 1 << 20


def test_a_range_that_the_server_cannot_satisfy_starts_again(pyfetch, registry):
    image = big_image()
    registry.cut = {layer_of(image)["digest"]: [500_000]}
    registry.before = lambda handler: "Range" in handler.headers and (handler.reply(416), True)[1]

    assert os.path.getsize(pyfetch.copy(registry.add(image)) / "big") == 1 << 20


def test_wrong_bytes_from_an_earlier_run_are_thrown_away(pyfetch, registry):
    image = big_image()
    digest = layer_of(image)["digest"]
    pyfetch.ok("images")  # which makes the store
    (pyfetch.store / "partial" / digest.replace(":", "-")).write_bytes(b"wrong" * 1000)

    for mode in ("--copy", "--overlay"):
        pyfetch.ok(registry.add(image), mode)


def test_a_server_that_never_completes_is_given_up(pyfetch, registry):
    image = big_image()
    registry.cut = {layer_of(image)["digest"]: [1000] + [1001] * 100}
    registry.ranges = False
    status, error = pyfetch.fails(registry.add(image), "--retries", "2")

    assert status == 5
    assert "tried 3 times" in error


def test_a_stalled_download_is_resumed(pyfetch, registry):
    image = big_image()
    digest = layer_of(image)["digest"]
    stalled = []

    def stall(handler):
        if digest not in handler.path or stalled:
            return False
        stalled.append(True)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(image.blobs[digest])))
        handler.end_headers()
        handler.wfile.write(image.blobs[digest][:100_000])
        time.sleep(5)
        return True

    registry.before = stall
    began = time.monotonic()
    pyfetch.copy(registry.add(image), "--timeout", "1")

    assert time.monotonic() - began < 4.5
    assert registry.count("GET", digest) == 2


def test_a_server_that_says_nothing_is_given_up(pyfetch, registry):
    registry.before = lambda handler: "/manifests/" in handler.path and (time.sleep(8), True)[1]
    began = time.monotonic()
    status, _ = pyfetch.fails(registry.add(big_image()), "--timeout", "0.5", "--retries", "1")

    assert status == 5
    assert time.monotonic() - began < 5


def test_an_endless_head_of_an_answer_is_given_up(pyfetch, registry):
    def drip(handler):
        if "/manifests/" not in handler.path:
            return False
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            handler.wfile.flush()
            time.sleep(0.05)

    registry.before = drip
    status, _ = pyfetch.fails(registry.add(big_image()), "--timeout", "0.5", "--retries", "0")

    assert status == 5


def test_an_interrupted_run_keeps_what_came(pyfetch, registry):
    image = big_image(4 << 20)
    registry.delay = 0.02
    name = registry.add(image)
    process = pyfetch.start(name)
    while registry.sent < 1 << 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    registry.delay, registry.sent = 0, 0
    pyfetch.ok(name)

    assert process.returncode == 130
    assert b"interrupted" in errors and b"Traceback" not in errors
    # A mebibyte was sent; what was still under way when the signal came may be sent again.
    assert registry.sent < layer_of(image)["size"] - (768 << 10)


@pytest.mark.parametrize("mode", ["--overlay", "--copy"])
def test_killed_at_any_moment_a_rerun_completes_with_what_was_missing(pyfetch, registry, full, mode):
    chance = random.Random()
    layers = [tar(*(entry(f"l{n}/f{m}", data=chance.randbytes(20_000)) for m in range(20))) for n in range(3)]
    image = Image(*layers)
    name = registry.add(image)
    registry.delay = 0.03
    began = time.monotonic()
    pyfetch.ok(name, "bundle", mode)
    longest = time.monotonic() - began
    for _ in range(50 if full else 8):
        if (pyfetch.folder / "bundle").exists():
            start_again(pyfetch)
        kept = kept_of(image, pyfetch.store)
        registry.requests.clear()
        process = pyfetch.start(name, "bundle", mode)
        time.sleep(chance.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
        process.communicate()

        for digest, offset in asked_for(image, registry).items():
            assert offset == kept[digest]
    pyfetch.ok(name, "bundle", mode)
    start_again(pyfetch)

    assert subprocess.run(["pgrep", "-f", str(pyfetch.folder)], capture_output=True).stdout == b""


def start_again(pyfetch):
    """Remove the bundle, which must be complete, and the store, in which nothing may be left over."""
    json.loads((pyfetch.folder / "bundle/config.json").read_text())
    rootfs = pyfetch.folder / "bundle/rootfs"
    assert sum(len(names) for _, _, names in os.walk(rootfs)) in (60, 0)  # 0: killed before it was mounted
    assert not [n for n in [*os.listdir(pyfetch.folder), *os.listdir(pyfetch.store / "layers")] if n.startswith(".")]
    pyfetch.ok("rm", "bundle")
    shutil.rmtree(pyfetch.store)


def kept_of(image, store):
    """Return how many bytes the store has of each layer."""
    found = {}
    for layer in image.manifest["layers"]:
        digest = layer["digest"]
        places = (store / "blobs" / digest.replace(":", "/"), store / "partial" / digest.replace(":", "-"))
        found[digest] = next((place.stat().st_size for place in places if place.exists()), 0)
    return found


def asked_for(image, registry):
    """Return from which byte on each layer was asked for, if it was."""
    digests = {layer["digest"] for layer in image.manifest["layers"]}
    requests = [(r.path.rpartition("/")[2], r.headers.get("range", "bytes=0-")) for r in registry.requests[::-1]]
    return {digest: int(range_[len("bytes=") : -1]) for digest, range_ in requests if digest in digests}
