"""What may pass is tried again, as the server asks; what will not pass is not."""

import gzip
import json
import os
import random
import time
from email.utils import formatdate

import pytest
from images import Image, entry, tar
from misbehaving import Server


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
    "value",
    [
        *(
            "0",
            "-1",
            "880.092µs".encode().decode("latin-1"),
            "soon",
            pytest.param(formatdate(usegmt=True), id="now"),
            "1",
            "nan",
            "-inf",
            "\xb2",
        ),
        *("Mon, 01 Jan 0001 00:00:00 +2300", "Fri, 31 Dec 9999 23:59:59 -9999", "1 Jan 99999 00:00:00", "Mon, 1"),
    ],
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


def with_head(registry, answer):
    """Let HEAD be answered by `answer` only."""
    registry.before = lambda h: h.command == "HEAD" and (answer(h), True)[1]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 429, 500, 503])
def test_a_head_that_fails_is_followed_by_a_get_at_once(pyfetch, registry, status):
    with_head(registry, lambda h: h.reply(status, Retry_After="60"))

    assert pyfetch.ok(registry.add(Image(tar("x"))), timeout=20)
    assert [registry.count(method, "/manifests/1") for method in ("HEAD", "GET")] == [1, 1]


def test_a_head_that_is_redirected_to_an_address_signed_for_get_is_followed_by_a_get(pyfetch, registry):
    image = Image(tar("x"))
    store = Server()
    store.answer = lambda h: h.reply(403) if h.command == "HEAD" else h.reply(200, image.blobs[image.digest])
    place = f"http://{store.host}/signed"
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(307, Location=place), True)[1]
    done = pyfetch.run(registry.add(image), "--retries", "0")
    store.close()

    assert done.returncode == 0, done.stderr


def test_a_registry_that_does_not_say_the_digest_is_asked_with_get(pyfetch, registry):
    image = Image(tar("x"))
    data = image.blobs[image.digest]
    media_type = image.descriptor["mediaType"] + "; charset=utf-8"
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(200, data, Content_Type=media_type), True)[1]

    assert pyfetch.ok(registry.add(image))


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


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_a_proxy_has_compressed_on_its_way_is_unpacked(pyfetch, registry, encoding, chunked):
    """We ask for `identity`: what is compressed all the same has another digest than what was pushed."""
    image = Image(tar("x", entry("y", data=random.Random(1).randbytes(300_000))), compress=lambda data: data)

    def compress(handler):
        version = handler.path.rpartition("/")[2]
        if handler.command == "HEAD" or version not in ("1", *image.blobs):
            return False
        data = gzip.compress(image.blobs[image.digest if version == "1" else version])
        if chunked:
            handler.reply(200, None, Content_Encoding=encoding, Transfer_Encoding="chunked")
            data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
            handler.wfile.write(data)
        else:
            handler.reply(200, data, Content_Encoding=encoding)
        return True

    registry.head = False
    registry.before = compress

    assert sorted(os.listdir(pyfetch.copy(registry.add(image)))) == ["x", "y"]


def test_a_blob_that_an_object_store_calls_gzip_is_taken_as_it_is(pyfetch, registry):
    image = Image(tar("x"))
    layer = image.manifest["layers"][0]["digest"]
    data = image.blobs[layer]
    registry.before = lambda h: layer in h.path and (h.reply(200, data, Content_Encoding="gzip"), True)[1]

    assert os.listdir(pyfetch.copy(registry.add(image))) == ["x"]


def test_a_compressed_answer_that_is_cut_is_resumed(pyfetch, registry):
    image = Image(tar(entry("x", data=random.Random(1).randbytes(300_000))), compress=lambda data: data)
    layer = image.manifest["layers"][0]["digest"]
    data = gzip.compress(image.blobs[layer])
    asked = []

    def cut(handler):
        if layer not in handler.path:
            return False
        asked.append(handler.headers.get("Range"))
        handler.reply(200, None, Content_Encoding="gzip", Content_Length=str(len(data)))
        handler.wfile.write(data[: 200_000 if len(asked) == 1 else None])
        if len(asked) == 1:
            handler.hang_up()
        return True

    registry.before = cut

    assert os.listdir(pyfetch.copy(registry.add(image))) == ["x"]
    assert len(asked) == 2 and asked[1] is not None


ENCODINGS = [("br", b"x"), ("gzip, gzip", b"x"), ("gzip", b"xyz"), ("a\x1b[2J", b"x")]


@pytest.mark.parametrize(("encoding", "data"), ENCODINGS)
@pytest.mark.parametrize("kind", ["/manifests/", "/blobs/"])
def test_an_encoding_that_we_do_not_know_is_refused(pyfetch, registry, kind, encoding, data):
    registry.before = lambda h: kind in h.path and (h.reply(200, data, Content_Encoding=encoding), True)[1]
    status, error = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0")

    assert status == 6
    assert "\x1b" not in error


def test_a_compressed_answer_is_no_larger_than_others(pyfetch, registry):
    data = gzip.compress(bytes(200 << 20), 9)
    registry.before = lambda h: h.command == "GET" and (h.reply(200, data, Content_Encoding="gzip"), True)[1]
    status, error = pyfetch.fails(f"{registry.host}/test:1")

    assert (status, "more than 4194304 bytes" in error) == (6, True)


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "1e3", ""])
def test_a_content_length_that_is_none_does_not_count(pyfetch, registry, length):
    image = Image(tar("x"))

    def before(handler):
        if "/blobs/" not in handler.path:
            return False
        handler.reply(200, image.blobs[handler.path.rpartition("/")[2]], Content_Length=length)
        handler.hang_up()
        return True

    registry.before = before

    assert pyfetch.ok(registry.add(image))


def endless(handler, head, more):
    """Send `more` again and again, until nobody listens."""
    handler.wfile.write(head)
    while True:
        handler.wfile.write(more)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "chunks of less than nothing": (CHUNKED + b"-1\r\n", b"x" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("what", ["/manifests/", "/blobs/"])
def test_an_answer_without_an_end_is_given_up(pyfetch, registry, kind, what):
    registry.before = lambda h: what in h.path and endless(h, *ENDLESS[kind])
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0", "--timeout", "3")

    assert status in (5, 6)
    assert sum(file.stat().st_size for file in pyfetch.store.rglob("*") if file.is_file()) < 1 << 20


def test_an_answer_of_a_thousand_headers_is_refused(pyfetch, registry):
    headers = {f"X-{number}": "x" for number in range(1000)}
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(200, b"{}", **headers), True)[1]
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0")

    assert status == 5


def test_a_flood_of_warnings_is_cut(pyfetch, registry):
    image = Image(tar("a"), tar("b"))

    def before(handler):
        if "/blobs/" not in handler.path:
            return False
        digest = handler.path.rpartition("/")[2]
        warnings = [f'299 - "flood {digest} {n}"' for n in range(90)]
        handler.reply(200, image.blobs[digest], Warning=warnings)
        return True

    registry.before = before

    assert pyfetch.run(registry.add(image)).stderr.count("flood") == 10


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
