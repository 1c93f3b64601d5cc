"""What may pass is tried again, as the server asks; what will not pass is not."""

import gzip
import json
import os
import time
from email.utils import formatdate

import pytest
from images import Image, tar


def fail_once(status, **headers):
    seen = []

    def before(handler):
        if "/blobs/" not in handler.path or handler.path in seen:
            return False
        seen.append(handler.path)
        handler.reply(status, b"busy", **headers)
        return True

    return before


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 524])
def test_a_status_that_may_pass_is_tried_again(pyfetch, registry, status):
    registry.before = fail_once(status, Retry_After="0")

    assert pyfetch.ok(registry.add(Image(tar("x"))))


@pytest.mark.parametrize(
    "value", ["0", "-1", "880.092µs".encode().decode("latin-1"), "soon", formatdate(usegmt=True), "1"]
)
def test_any_retry_after_is_understood_or_ignored(pyfetch, registry, value):
    registry.before = fail_once(429, Retry_After=value)
    began = time.monotonic()
    done = pyfetch.run(registry.add(Image(tar("x"))))

    assert done.returncode == 0
    assert "Retrying in" in done.stderr
    assert time.monotonic() - began < 6


def test_a_huge_retry_after_is_cut(pyfetch, registry):
    registry.before = fail_once(429, Retry_After="1000000000")
    process = pyfetch.start(registry.add(Image(tar("x"))))
    for line in process.stderr:
        if b"Retrying" in line:
            break
    process.kill()
    process.communicate()

    assert b"Retrying in 60 seconds" in line


def test_a_rate_limit_is_told_with_its_quota(pyfetch, registry):
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit"}]})
    answer = {"Retry_After": "0", "RateLimit_Limit": "100;w=21600"}
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(429, body.encode(), **answer), True)[1]
    status, error = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "1")

    assert status == 5
    assert "100;w=21600" in error


def test_docker_hubs_answer_with_bare_line_feeds_is_understood(pyfetch, registry):
    seen = []

    def before(handler):
        if "/blobs/" not in handler.path or seen:
            return False
        seen.append(1)
        handler.wfile.write(b"HTTP/1.1 429 Too Many Requests\nRetry-After: 0\nContent-Length: 4\n\nbusy")
        handler.close_connection = True
        return True

    registry.before = before

    assert pyfetch.ok(registry.add(Image(tar("x"))))


@pytest.mark.parametrize(("status", "expected"), [(400, 5), (403, 4), (404, 3), (405, 5)])
def test_a_status_that_will_not_pass_is_asked_for_once(pyfetch, registry, status, expected):
    image = Image(tar("x"))
    digest = image.manifest["layers"][0]["digest"]
    registry.before = lambda handler: digest in handler.path and (handler.reply(status), True)[1]
    name = registry.add(image)

    assert pyfetch.fails(name)[0] == expected
    assert registry.count("GET", digest) == 1


@pytest.mark.parametrize("missing", [{"head": False}, {"no_digest": True}])
def test_a_registry_without_head_or_digests_is_asked_with_get(pyfetch, registry, missing):
    image = Image(tar("x"))
    name = registry.add(image)
    if "no_digest" in missing:
        data = image.blobs[image.digest]

        def before(handler):
            if "/manifests/" not in handler.path:
                return False
            handler.reply(200, data, Content_Type=image.descriptor["mediaType"] + "; charset=utf-8")
            return True

        registry.before = before
    registry.head = missing.get("head", True)

    assert pyfetch.ok(name)


def test_chunked_bodies_lower_case_headers_and_closed_connections_are_understood(pyfetch, registry):
    image = Image(tar("x"))

    def before(handler):
        if "/blobs/" not in handler.path:
            return False
        data = image.blobs[handler.path.rpartition("/")[2]]
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        for at in range(0, len(data), 100):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data[at : at + 100]), data[at : at + 100]))
        handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True
        return True

    registry.before = before

    assert pyfetch.ok(registry.add(image))


@pytest.mark.parametrize("kind", ["/manifests/1", "/blobs/"])
def test_what_a_proxy_has_compressed_on_its_way_is_refused(pyfetch, registry, kind):
    """We ask for `identity`: what is compressed all the same has another digest than what was pushed."""
    image = Image(tar("x"))
    registry.no_digest = True

    def compress(handler):
        if kind not in handler.path or handler.command == "HEAD":
            return False
        version = handler.path.rpartition("/")[2]
        data = image.blobs[image.digest if version == "1" else version]
        handler.reply(200, gzip.compress(data), Content_Encoding="gzip")
        return True

    registry.head = False
    registry.before = compress
    status, _ = pyfetch.fails(registry.add(image), "bundle")

    assert status == 6
    assert not os.path.exists(pyfetch.folder / "bundle")


def test_an_answer_of_a_thousand_headers_is_refused(pyfetch, registry):
    headers = {f"X-{number}": "x" for number in range(1000)}
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(200, b"{}", **headers), True)[1]
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0")

    assert status == 5


def test_a_warning_of_the_registry_is_shown_once(pyfetch, registry):
    image = Image(tar("a"), tar("b"))

    def before(handler):
        if "/blobs/" not in handler.path:
            return False
        data = image.blobs[handler.path.rpartition("/")[2]]
        handler.reply(200, data, Warning='299 - "this repository will be deleted"')
        return True

    registry.before = before

    assert pyfetch.run(registry.add(image)).stderr.count("this repository will be deleted") == 1
