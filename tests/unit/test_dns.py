"""Messages of DNS, and the names in networks."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrund.dns.message import PTR, A, Malformed, Question, written
from pyrund.dns.names import Names
from pyrund.dns.others import servers_of
from pyrund.dns.service import Service
from pyrund.loop import Future, Loop


def asked(name, kind=A, flags=0x0100, questions=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    numbers = (0x1234, flags, questions, 0, 0, 0)
    head = b"".join(number.to_bytes(2, "big") for number in numbers)
    return head + labels + b"\0" + kind.to_bytes(2, "big") + b"\0\1"


def test_a_question_is_read_and_answered():
    question = Question(asked("Web.Example"))

    assert (question.name, question.type) == ("web.example", A)
    answer = question.answered([bytes([172, 18, 0, 2])])
    assert answer[:4].hex() == "12348180"
    assert answer[12 : 12 + len(question.text)] == question.text
    assert answer[-16:].hex() == "c00c000100010000025800" + "04ac120002"


def test_an_answer_that_does_not_fit_says_so():
    answer = Question(asked("all")).answered([bytes(4)] * 100)

    assert len(answer) <= 512
    assert answer[2] & 0x02
    assert int.from_bytes(answer[6:8], "big") == (512 - 12 - 9) // 16


def test_the_name_of_an_address_is_asked_for():
    assert Question(asked("2.0.18.172.in-addr.arpa", PTR)).address == "172.18.0.2"
    assert Question(asked("2.0.18.172.in-addr.arpa")).address == ""
    digits = ".".join(reversed("fd010000000000000000000000000003"))
    assert Question(asked(f"{digits}.ip6.arpa", PTR)).address == "fd01::3"
    assert Question(asked(f"{digits[2:]}.ip6.arpa", PTR)).address == ""
    assert Question(asked(f"x{digits[1:]}.ip6.arpa", PTR)).address == ""
    assert written("web.n1") == b"\x03web\x02n1\x00"


def test_an_answer_belongs_to_its_question_and_number():
    question = Question(asked("web"))
    answer = question.answered([])

    assert question.is_answered_by(answer, 0x1234)
    assert not question.is_answered_by(answer, 0x1235)
    assert not question.is_answered_by(asked("web"), 0x1234)
    assert not question.is_answered_by(Question(asked("bad")).answered([]), 0x1234)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        asked("web")[:-3],
        asked("web", flags=0x8000),
        asked("web", flags=0x2800),
        asked("web", questions=2),
        asked("web")[:12] + b"\xc0\x0c" + bytes(4),
        asked(".".join(["a" * 63] * 5)),
    ],
)
def test_what_is_no_question_is_malformed(data):
    with pytest.raises(Malformed):
        Question(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_question_or_malformed(data):
    for head in (b"", asked("web")[:12]):
        try:
            Question(head + data).answered([bytes(4)])
        except Malformed:
            pass


def test_names_are_those_of_the_networks_of_who_asks():
    names = Names()
    names.put("n1", "c1", ["Web", "all"], ["172.18.0.2"])
    names.put("n1", "c2", ["db", "all"], ["172.18.0.3"])
    names.put("n2", "c3", ["far"], ["172.19.0.2"])
    networks = {"n1": ["Front", {"store": "DB"}]}

    def find(name):
        return sorted(names.addresses(name, networks))

    assert [find(name) for name in ("web", "web.front", "store", "far", "web.back")] == [
        ["172.18.0.2"],
        ["172.18.0.2"],
        ["172.18.0.3"],
        [],
        [],
    ]
    assert find("all") == ["172.18.0.2", "172.18.0.3"]
    assert names.name("172.18.0.3", networks) == "db.Front"
    assert names.name("172.19.0.2", networks) == ""
    names.remove("c2")
    assert find("all") == ["172.18.0.2"]


def test_name_servers_are_read_from_resolv_conf():
    assert servers_of("# nameserver 1.1.1.1\nsearch x\nnameserver 9.9.9.9\nnameserver ::1 # x\nnameserver\n") == [
        "9.9.9.9",
        "::1",
    ]


def test_a_server_that_is_closed_before_it_has_begun_ends_without_a_word(capsys):
    loop = Loop()
    service, wanted = Service(loop), {"networks": {}, "servers": [], "forwards": False}
    sockets = [socket.socket(socket.AF_INET, kind).detach() for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]

    service.do({"do": "resolve", "id": "a", "wanted": wanted}, sockets)
    service.do({"do": "forget", "id": "a"}, [])
    loop.run(loop.spawn(loop.in_time(Future(), 0.01)))

    assert capsys.readouterr().err == ""
