"""Parts of pyrund that need no container: the loop, requests, logs, times, addresses."""

import ctypes
import json
import os
import random
import signal
import socket
import ssl
import sys
import threading
import time

import pytest

from pyrund import tls
from pyrund.errors import ApiError
from pyrund.http.request import BadRequest, Request, parse_query, unquote
from pyrund.launch.measure import size_of
from pyrund.loop import Future, Loop, Turns, first
from pyrund.model import names, times
from pyrund.model.glob import Glob
from pyrund.net import subnet
from pyrund.net.ports import Binding, Reservations
from pyrund.spec import log_config, signals
from pyrund.spec.config import merged
from pyrund.spec.mounts import mounts_of, with_volumes
from pyrund.streams import keys
from pyrund.streams.history import History
from pyrund.streams.log import PIECE, Log
from pyrund.streams.streams import Streams


def run(coroutine_of):
    loop = Loop()
    return loop.run(loop.spawn(coroutine_of(loop)))


# The loop.


def test_a_coroutine_reads_what_comes_later():
    async def main(loop):
        reader, writer = os.pipe2(os.O_NONBLOCK)
        read = loop.spawn(loop.read(reader, 10))
        await loop.sleep(0.01)
        os.write(writer, b"data")
        return await read

    assert run(main) == b"data"


def test_a_writer_waits_for_a_reader():
    async def main(loop):
        reader, writer = os.pipe2(os.O_NONBLOCK)
        written = loop.spawn(loop.write_all(writer, bytes(300_000)))
        size = 0
        while size < 300_000:
            size += len(await loop.read(reader, 65536))
        await written
        return size

    assert run(main) == 300_000


def test_a_descriptor_that_is_closed_before_its_reader_s_turn_is_not_read_under_the_number_of_another():
    async def main(loop):
        (reader, writer), (signal, bell) = os.pipe2(os.O_NONBLOCK), os.pipe2(os.O_NONBLOCK)

        async def close_and_open():
            await loop.readable(signal)
            loop.close(reader)
            other, its_writer = os.pipe2(os.O_NONBLOCK)
            assert other == reader
            os.write(its_writer, b"of another")

        closing, read = loop.spawn(close_and_open()), loop.spawn(loop.read(reader, 10))
        await loop.sleep(0)
        os.write(bell, b"x")
        os.write(writer, b"own")
        await closing
        return await read

    assert run(main) == b""


def test_the_end_of_a_descriptor_wakes_its_readers():
    async def main(loop):
        reader, _ = os.pipe2(os.O_NONBLOCK)
        read = loop.spawn(loop.read(reader, 10))
        await loop.sleep(0.01)
        loop.close(reader)
        return await read

    assert run(main) == b""


def test_first_returns_when_one_of_several_is_done():
    async def main(loop):
        never = Future()
        await first(never, loop.sleep(0.01))
        return never.is_done

    assert run(main) is False


def test_an_error_is_raised_in_all_that_wait():
    async def fail():
        raise ValueError("wrong")

    async def main(loop):
        task = loop.spawn(fail())
        caught = 0
        for _ in range(2):
            try:
                await task
            except ValueError:
                caught += 1
        return caught

    assert run(main) == 2


def test_turns_are_taken_in_the_order_of_arrival():
    async def main(loop):
        turns, order = Turns(), []

        async def one(number):
            async with turns:
                await loop.sleep(0.001)
                order.append(number)

        for task in [loop.spawn(one(number)) for number in range(5)]:
            await task
        return order

    assert run(main) == [0, 1, 2, 3, 4]


def test_nobody_gets_a_turn_before_those_who_wait_for_it():
    async def main(loop):
        turns, order = Turns(), []

        async def again_and_again(name):
            for _ in range(2):
                async with turns:
                    await loop.sleep(0.001)
                    order.append(name)

        for task in [loop.spawn(again_and_again(name)) for name in "ab"]:
            await task
        return order

    assert run(main) == ["a", "b", "a", "b"]


@pytest.mark.parametrize("seconds", [10 * 365 * 86400, 1e300, float("inf")])
def test_a_pause_may_be_longer_than_the_kernel_s_longest(seconds):
    async def main(loop):
        reader, writer = os.pipe2(os.O_NONBLOCK)
        longest = loop.sleep(seconds)
        os.write(writer, b"x")
        await loop.readable(reader)
        return longest.is_done

    assert run(main) is False


def test_a_future_that_is_waited_for_again_and_again_remembers_none_of_that():
    async def main(loop):
        never = Future()
        for _ in range(1000):
            await first(loop.sleep(0), never)
        return sys.getsizeof(never._watchers)

    assert run(main) < 1000


@pytest.mark.parametrize("of_client", [False, True], ids=["program", "client"])
def test_whoever_sends_without_a_pause_leaves_time_for_others(of_client):
    """/dev/zero always has more, and /dev/null takes all."""
    signal.signal(signal.SIGALRM, lambda number, frame: pytest.fail("nobody else had a turn"))

    async def main(loop):
        streams = Streams(loop)
        streams.open(["stdin"], [os.open("/dev/null", os.O_WRONLY)], None)
        if of_client:
            message = {"wanted": [], "framed": False, "upgrades": True, "type": "", "history": "", "keys": ""}
            message.update(stream=True, stdin=True, closes_stdin=False)
            loop.spawn(streams.attach(os.open("/dev/zero", os.O_RDWR), message, b""))
        else:
            streams.open(["terminal"], [os.open("/dev/zero", os.O_RDWR)], None)
        await loop.sleep(0.05)

    signal.alarm(20)
    try:
        run(main)
    finally:
        signal.alarm(0)


# Requests.


@pytest.mark.parametrize(
    ("text", "expected"), [("a%20b", "a b"), ("%C3%A4", "ä"), ("plain", "plain"), ("%2F%2f", "//"), ("%25zz", "%zz")]
)
def test_escapes_are_decoded(text, expected):
    assert unquote(text) == expected


def body(text):
    request = Request(b"POST /x HTTP/1.1")
    request.body = text
    return request.json()


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 9223372036854775808}',
        b'{"a": -9223372036854775809}',
        b'{"a": 1%b}' % (b"0" * 5000),
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": ' + b"[" * 100_000 + b"}",
        b"[]",
        b"null",
        b"{",
    ],
    ids=lambda text: text[:30].decode(),
)
def test_json_that_no_field_could_hold_is_refused(text):
    with pytest.raises(ApiError, match="invalid JSON") as raised:
        body(text)

    assert raised.value.status == 400


def test_json_is_read_as_by_dockerd():
    assert body(rb'{"a": 9223372036854775807, "b": -9223372036854775808}') == {"a": (1 << 63) - 1, "b": -(1 << 63)}
    assert body(b'{"half": "\\uD800", "pair": "\\ud83d\\ude00"}') == {"half": "\ufffd", "pair": "\U0001f600"}
    assert body(b'{"not UTF-8": "\xff"}') == {"not UTF-8": "\ufffd"}


@pytest.mark.parametrize("text", ["%", "%1", "%zz", "% 1", "%ff", "a%"])
def test_wrong_escapes_are_refused(text):
    with pytest.raises(BadRequest):
        unquote(text)


def test_the_first_of_two_values_counts_and_plus_is_a_space():
    assert parse_query("a=1&a=2&b=x+y&&c") == {"a": "1", "b": "x y", "c": ""}


def request(target):
    return Request(f"GET {target} HTTP/1.1\r\nHost: d".encode())


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("True", True), ("x", True), ("0", False), ("NO", False)])
def test_booleans_are_read_as_docker_does(value, expected):
    assert request(f"/x?all={value}").flag("all") is expected


@pytest.mark.parametrize("text", ['{"a":["b"]}', '{"a":{"b":true}}'])
def test_filters_have_two_forms(text):
    assert request(f"/x?filters={text}").filters(frozenset("a")) == {"a": ["b"]}


@pytest.mark.parametrize("text", ["[", "[1]", '{"a":1}', '{"x":["b"]}'])
def test_wrong_filters_are_refused(text):
    with pytest.raises(ApiError, match="invalid filter"):
        request(f"/x?filters={text}").filters(frozenset("a"))


@pytest.mark.parametrize(
    ("target", "prefix", "path"),
    [("/v1.41/info", "/v1.41", "/info"), ("/info", "", "/info"), ("/version", "", "/version"), ("/v1/x", "", "/v1/x")],
)
def test_the_version_is_taken_from_the_path(target, prefix, path):
    found = request(target)

    assert (found.prefix, found.path) == (prefix, path)


# Logs.


def entries(path, tail=-1, since="", until=""):
    history = History(str(path), tail, since, until)
    found = []
    while (some := history.next()) is not None:
        found += some
    history.close()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_written_comes_back(tmp_path, seed):
    source = random.Random(seed)
    data = source.randbytes(200_000).replace(b"\n", b"x", 100)
    log, rest = Log(str(tmp_path / "log"), 0, 1), data
    while rest:
        size = source.randrange(1, 70_000)
        log.write("stdout", rest[:size])
        rest = rest[size:]
    log.close()

    assert b"".join(text for _, _, text in entries(tmp_path / "log")) == data
    assert max(len(text) for _, _, text in entries(tmp_path / "log")) <= PIECE


@pytest.mark.parametrize("lines", [0, 1, 2, 5000])
@pytest.mark.parametrize("tail", [0, 1, 2, 4999, 5000, 5001])
def test_the_tail_has_that_many_lines(tmp_path, lines, tail):
    log = Log(str(tmp_path / "log"), 0, 1)
    for number in range(lines):
        log.write("stdout", b"%d\n" % number)
    log.close()

    found = [int(text) for _, _, text in entries(tmp_path / "log", tail)]

    assert found == list(range(lines))[max(0, lines - tail) :] if tail else found == []


def test_a_half_written_entry_is_left_out_and_what_follows_is_read(tmp_path):
    log = Log(str(tmp_path / "log"), 0, 1)
    log.write("stdout", b"one\n")
    log.close()
    with open(tmp_path / "log", "a") as file:
        file.write('{"log":"tw')
    log = Log(str(tmp_path / "log"), 0, 1)
    log.write("stdout", b"three\n")
    log.close()

    assert [text for _, _, text in entries(tmp_path / "log")] == [b"one\n", b"three\n"]


def test_a_reader_follows_a_rotation(tmp_path):
    log = Log(str(tmp_path / "log"), 1000, 3)
    history = History(str(tmp_path / "log"), -1, "", "")
    found = []
    for number in range(30):
        log.write("stdout", b"%d\n" % number)
        while (some := history.next()) is not None:
            found += [int(text) for _, _, text in some]
    log.close()
    history.close()

    assert found == list(range(30))
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]


def test_an_entry_is_json_for_other_readers_too(tmp_path):
    log = Log(str(tmp_path / "log"), 0, 1)
    log.write("stderr", 'a "quoted" \\ ä \x00\n'.encode())
    log.close()

    entry = json.loads((tmp_path / "log").read_text())
    assert (entry["log"], entry["stream"]) == ('a "quoted" \\ ä \x00\n', "stderr")


# Keys.


@pytest.mark.parametrize(
    ("text", "expected"), [("ctrl-p,ctrl-q", b"\x10\x11"), ("a", b"a"), ("ctrl-@,ctrl-_", b"\0\x1f"), ("", b"")]
)
def test_detach_keys_are_read(text, expected):
    assert keys.parse(text) == expected


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", "a,,b", "ä"])
def test_keys_that_nobody_can_type_are_refused(text):
    with pytest.raises(ApiError, match="Invalid detach keys"):
        keys.parse(text)


@pytest.mark.parametrize(
    ("pieces", "passed", "has_left"),
    [
        ([b"ab\x10", b"\x11cd"], b"ab", True),
        ([b"\x10", b"a"], b"\x10a", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"abc"], b"abc", False),
    ],
)
def test_keys_are_found_over_several_packets(pieces, passed, has_left):
    scanner = keys.Scanner(keys.DEFAULT)
    found, left = b"", False
    for piece in pieces:
        data, left = scanner.scan(piece)
        found += data

    assert (found, left) == (passed, has_left)


# Words and numbers of docker's.


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_durations_have_docker_s_words(seconds, words):
    assert times.duration(seconds) == words


def test_times_can_be_compared_as_texts():
    assert times.rfc3339(1_500_000_000_000_000_001) == "2017-07-14T02:40:00.000000001Z"
    assert times.seconds("2017-07-14T02:40:00.5Z") == 1_500_000_000.5
    assert times.seconds("nonsense") == 0


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("SIGTERM", 15), ("9", 9), ("term", 15), ("RTMIN+3", 37)])
def test_signals_are_known_by_names_and_numbers(text, number):
    assert signals.number(text) == number


@pytest.mark.parametrize("text", ["", "FOO", "0", "65", "-1", "TERM+1", "RTMIN+x", "9" * 5000])
def test_unknown_signals_are_refused(text):
    with pytest.raises(ApiError, match="invalid signal"):
        signals.number(text)


@pytest.mark.parametrize(("text", "bytes_"), [("10", 10), ("1k", 1024), ("64m", 64 << 20), ("1GB", 1 << 30)])
def test_sizes_have_units(text, bytes_):
    assert log_config.size(text) == bytes_


@pytest.mark.parametrize("name", ["a", "-a", "a b", "a/b", "", "ä1"])
def test_names_that_docker_refuses_are_refused(name):
    with pytest.raises(ApiError, match="only .a-zA-Z0-9.* are allowed"):
        names.check_name(name)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "ab/c", False),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("a?b", "a/b", False),
        ("ab[c-e]", "abd", True),
        ("ab[^e-g]", "abf", False),
        ("ab[^b-d\\]]", "abz", True),
        ("a[!b", "a!", None),
        ("[", "a", None),
        ("[]a]", "]", None),
        ("[a-]", "a", None),
        ("[-x]", "x", None),
        ("a\\*b", "a*b", True),
        ("a\\", "a", None),
        ("", "", True),
    ],
)
def test_patterns_of_names_are_go_s(pattern, name, expected):
    """Most of these are of path/match_test.go."""
    if expected is None:
        with pytest.raises(ValueError, match="syntax error in pattern"):
            Glob(pattern)
    else:
        assert Glob(pattern).matches(name) is expected


def test_a_pattern_with_many_stars_takes_no_long_time():
    assert not Glob("*a" * 200 + "b").matches("a" * 2000)


# Addresses.


def routes(*networks):
    lines = ["Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"]
    for network in networks:
        found = subnet.parse(network)
        hexadecimal = [number.to_bytes(4, "little").hex() for number in (found.base, found.mask)]
        lines.append(f"eth0 {hexadecimal[0]} 00000000 0001 0 0 0 {hexadecimal[1]} 0 0 0")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("used", "chosen"),
    [
        ([], "172.17.0.0/16"),
        (["0.0.0.0/0"], "172.17.0.0/16"),
        (["172.17.0.0/16"], "172.18.0.0/16"),
        (["172.17.5.0/24"], "172.18.0.0/16"),
        (["172.16.0.0/12"], "192.168.0.0/20"),
        (["172.16.0.0/12", "192.168.0.0/24"], "192.168.16.0/20"),
    ],
)
def test_a_subnet_overlaps_no_route_of_the_host(used, chosen):
    assert str(subnet.choose(routes(*used), [], "pyrund0")) == chosen


def test_a_subnet_overlaps_none_of_our_own_but_may_be_that_of_an_earlier_engine():
    used = [subnet.parse("172.18.0.0/16"), subnet.parse("172.19.4.0/24")]

    assert str(subnet.choose(routes("172.17.0.0/16"), used, "eth0")) == "172.17.0.0/16"
    assert str(subnet.choose(routes("172.17.0.0/16"), used, "pyrund0")) == "172.20.0.0/16"


def test_ports_that_are_given_back_are_remembered_no_more():
    reservations = Reservations()
    empty = len(str(vars(reservations)))
    for number in range(20):
        reservations.reserve(f"id {number}", [Binding("tcp", 80, ["127.0.0.1"], 0, 0)])
        reservations.release(f"id {number}")

    assert len(str(vars(reservations))) <= empty + len("32768")


def test_without_a_free_subnet_that_is_said():
    with pytest.raises(ApiError, match="all predefined address pools have been fully subnetted"):
        subnet.choose(routes("172.16.0.0/12", "192.168.0.0/16"), [], "pyrund0")


def test_the_lowest_free_address_is_given_until_none_is_left():
    small = subnet.parse("192.168.7.0/29")

    assert small.lowest_free(["192.168.7.1", "192.168.7.2", "192.168.7.4"], small) == "192.168.7.3"
    assert small.lowest_free([], subnet.parse("192.168.7.4/30")) == "192.168.7.4"
    assert small.lowest_free((f"192.168.7.{last}" for last in range(1, 7)), small) is None


def test_subnets_of_ipv6_have_local_addresses_of_the_engine():
    first = subnet.choose_local("0123456789", [])
    second = subnet.choose_local("0123456789", [first, subnet.parse("172.17.0.0/16")])

    assert (str(first), str(second)) == ("fd01:2345:6789::/64", "fd01:2345:6789:1::/64")
    assert first.lowest_free([first.gateway], first) == "fd01:2345:6789::2"
    assert first.holds("fd01:2345:6789::ffff") and not first.holds("172.17.0.2")
    assert str(subnet.parse("fd00::/8")) == "fd00::/8"


@pytest.mark.parametrize(
    "text",
    ["172.17.0.0", "172.17.0.0/33", "172.17.0/16", "172.17.0.256/16", "a/16", "1.2.3.4/-1", "fd00::/129", "fd00::g/64"],
)
def test_what_is_no_subnet_is_refused(text):
    with pytest.raises(ValueError):
        subnet.parse(text)


# Create.

IMAGE = {"Cmd": ["cmd"], "Entrypoint": ["entry"], "Env": ["A=image", "B=image"], "Labels": {"a": "1"}, "User": "u"}


@pytest.mark.parametrize(
    ("wanted", "entrypoint", "command"),
    [
        ({}, ["entry"], ["cmd"]),
        ({"Cmd": ["own"]}, ["entry"], ["own"]),
        ({"Entrypoint": ["own"]}, ["own"], None),
        ({"Entrypoint": [""], "Cmd": ["own"]}, None, ["own"]),
        ({"Entrypoint": [], "Cmd": []}, None, ["cmd"]),
        ({"Cmd": "a string"}, ["entry"], ["a string"]),
    ],
)
def test_a_command_replaces_the_image_s_as_in_docker(wanted, entrypoint, command):
    found = merged(wanted, IMAGE, "a" * 64)

    assert (found["Entrypoint"], found["Cmd"]) == (entrypoint, command)


def test_variables_and_labels_are_merged():
    found = merged({"Env": ["A=own", "C"], "Labels": {"b": "2"}}, IMAGE, "a" * 64)

    assert found["Env"] == ["A=own", "C", "B=image"]
    assert found["Labels"] == {"a": "1", "b": "2"}
    assert (found["User"], found["Hostname"]) == ("u", "a" * 12)


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ("/a", "invalid volume specification"),
        ("/a:b", "mount path must be absolute"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/b:zz", "invalid mode: zz"),
        ("n:/b", "volume name is too short"),
        ("/a:/b:ro:x", "invalid volume specification"),
    ],
)
def test_wrong_binds_are_refused(bind, words):
    with pytest.raises(ApiError, match=words):
        mounts_of({"Binds": [bind]})


def test_mounts_come_before_those_below_them():
    wanted = mounts_of({"Binds": ["/x:/a/b/c", "/y:/a:ro"], "Tmpfs": {"/a/b": "size=1m,exec"}})
    found = with_volumes(wanted, [], [])

    assert [mount.target for mount in found] == ["/a", "/a/b", "/a/b/c"]
    assert found[0].entry()["options"] == ["rbind", "rprivate", "rro"]
    assert found[1].entry()["options"] == ["nosuid", "nodev", "size=1m", "exec"]


# Sizes.


def test_a_link_that_takes_the_place_of_a_directory_leads_nowhere(tmp_path):
    """A container can do that at any moment: here another process does nothing else."""
    (tmp_path / "top/directory").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(bytes(1 << 20))
    os.symlink(tmp_path / "outside", tmp_path / "top/link")
    exchange = ctypes.CDLL(None).renameat2
    pid = os.fork()
    while pid == 0:
        exchange(-100, bytes(tmp_path / "top/link"), -100, bytes(tmp_path / "top/directory"), 2)  # RENAME_EXCHANGE
    try:
        assert max(size_of(str(tmp_path / "top")) for _ in range(3000)) < 1 << 20
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# TLS.


def test_a_handshake_that_comes_drop_by_drop_takes_no_longer_than_any(monkeypatch):
    monkeypatch.setattr(tls, "_HANDSHAKE", 0.5)
    ours, theirs = socket.socketpair()
    carrier = tls.Carrier(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), theirs, True, None)
    stop = threading.Event()

    def drip():
        ours.send(b"\x16\x03\x01\x02\x00")  # the beginning of a ClientHello of 512 bytes
        while not stop.wait(0.1) and time.monotonic() < begun + 20:
            ours.send(b"\x01")

    begun = time.monotonic()
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(OSError, match="the handshake takes too long"):
            carrier.shake_hands()
    finally:
        stop.set()
        dripping.join()

    assert time.monotonic() - begun < 10
