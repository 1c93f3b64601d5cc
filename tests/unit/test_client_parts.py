"""Parts of pyrund's client that need no daemon: the command line, values of options, templates."""

import pytest

from foundation import durations
from pyrund.client import creation, moments, mounts, ports
from pyrund.client.address import Address
from pyrund.client.frames import Frames
from pyrund.client.output import table
from pyrund.client.template import Template
from pyrund.commands.help import TEXTS
from pyrund.commands.ps import _ports
from pyrund.errors import Refused
from pyrund.options import GLOBAL, VERBS, check_count, parse, takes_all

# The command line.


@pytest.mark.parametrize(
    ("words", "options", "others"),
    [
        ("-it --name web image ls -l", {"interactive": True, "tty": True, "name": "web"}, "image ls -l"),
        ("-itename=x image", {"interactive": True, "tty": True, "env": ["name=x"]}, "image"),
        ("-e=A=b --env C image", {"env": ["A=b", "C"]}, "image"),
        ("--rm=false -d -- image --rm", {"rm": False, "detach": True}, "image --rm"),
        ("--net host --name= image", {"network": ["host"], "name": ""}, "image"),
        ("- x", {}, "- x"),
    ],
)
def test_a_command_line_is_read_as_docker_reads_it(words, options, others):
    assert parse(words.split(), VERBS["run"][1], takes_all(VERBS["run"][0])) == (options, others.split())


def test_options_stand_anywhere_unless_a_command_follows():
    assert parse(["web", "-f", "other"], VERBS["rm"][1], takes_all(VERBS["rm"][0])) == (
        {"force": True},
        ["web", "other"],
    )


@pytest.mark.parametrize(
    ("verb", "count", "error"),
    [
        ("ps", 1, "'pyrund ps' accepts no arguments: see `pyrund help ps`"),
        ("stop", 0, "'pyrund stop' requires at least 1 argument: CONTAINER [CONTAINER...]"),
        ("tag", 1, "'pyrund tag' requires 2 arguments: SOURCE[:TAG] TARGET[:TAG]"),
        ("images", 2, "'pyrund images' requires at most 1 argument: [NAME[:TAG]]"),
        ("exec", 1, "'pyrund exec' requires at least 2 arguments: CONTAINER COMMAND [ARG...]"),
    ],
)
def test_a_wrong_number_of_words_is_refused(verb, count, error):
    with pytest.raises(Refused) as caught:
        check_count(verb, VERBS[verb][0], count)

    assert str(caught.value) == error


def test_every_verb_has_a_text_and_no_two_options_a_letter():
    assert TEXTS.keys() == VERBS.keys()
    for verb, (_, options, _) in VERBS.items():
        letters = [short for short, _, _ in {**options, "help": GLOBAL["help"]}.values() if short]
        assert len(letters) == len(set(letters)), verb


# Values.


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1h30m", 5400 * 10**9), ("1.5s", 1_500_000_000), ("200ms", 200_000_000), ("3us", 3000), ("", 0)],
)
def test_durations_are_go_s(text, nanoseconds):
    assert durations.nanoseconds(text) == nanoseconds


@pytest.mark.parametrize("text", ["5", "1x", "h", "1.2.3s", "-1s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError):
        durations.nanoseconds(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1700000000.5", "1700000000.5"),
        ("2026-01-31T12:00:00Z", "1769860800"),
        ("2026-01-31T12:00:00.25+01:00", "1769857200.250000000"),
    ],
)
def test_times_become_seconds(text, seconds):
    assert moments.moment({"since": text}, "since") == seconds


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "10 m"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Refused):
        moments.moment({"since": text}, "since")


@pytest.mark.parametrize("text", ["99999", "a:b", "80/xyz", "300.1.1.1:1:1", "5-3", ":::", "target=", "x=1"])
def test_what_is_no_port_is_refused(text):
    with pytest.raises(Refused):
        ports.bindings([text])


@pytest.mark.parametrize(
    "text", ["type=bind", "nosuch=1,target=/x", "type=tmpfs,target=/x,bind-propagation=shared", '"']
)
def test_what_is_no_mount_is_refused(text):
    with pytest.raises(Refused):
        mounts.mounts([text])


@pytest.mark.parametrize(
    "options",
    [
        {"cpus": "x"},
        {"ulimit": ["nofile"]},
        {"device": ["/a:/b:/c:rw"]},
        {"attach": ["nosuch"]},
        {"sysctl": ["x"]},
        {"restart": "on-failure:x"},
        {"no_healthcheck": True, "health_cmd": "x"},
        {"env": ["=x"]},
        {"env_file": ["/nosuch"]},
        {"network": ["name=x,nosuch=1"]},
        {"security_opt": ["seccomp=/nosuch"]},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(options):
    with pytest.raises(Refused) as caught:
        creation.body("image", [], options, False)

    assert caught.value.status == 125


@pytest.mark.parametrize("text", ["", "http://x", "unix://", "tcp://"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(Refused):
        Address(text)


def test_frames_come_in_pieces_of_any_size():
    data = b"\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\4err\n\1\0\0\0\0\0\0\0"
    for size in range(1, len(data) + 1):
        frames, found = Frames(True), []
        for begin in range(0, len(data), size):
            found += frames.pieces(data[begin : begin + size])
        assert found == [(1, b"out"), (2, b"err\n"), (1, b"")]


# Tables and templates.


def test_columns_are_as_wide_as_their_widest_cell():
    assert (
        table(["A", "LONGER NAME", "C"], [["1", "2", "3"]]) == "A         LONGER NAME   C\n1         2             3\n"
    )


def port(private, public=0, address="", kind="tcp"):
    return {"PrivatePort": private, "Type": kind, **({"PublicPort": public, "IP": address} if public else {})}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([port(80)], "80/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(82), port(81), port(80), port(9, kind="udp")], "80-82/tcp, 9/udp"),
        ([port(2, 12, "1.1.1.1"), port(1, 11, "1.1.1.1"), port(3)], "3/tcp, 1.1.1.1:11-12->1-2/tcp"),
    ],
)
def test_ports_that_follow_each_other_are_one(given, shown):
    assert _ports(given) == shown


DATA = {
    "Name": "web",
    "On": True,
    "List": ["b", "a"],
    "Map": {"y": "2", "x": 1},
    "None": None,
    "M": lambda key: key * 2,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}}!", "web!"),
        ("{{ . | json | len }}", "75"),
        ("{{json .Map}} {{.Map}} {{.List}} {{.On}} {{.None}}", '{"y":"2","x":1} map[x:1 y:2] [b a] true <no value>'),
        ("a {{- .Name -}} b", "awebb"),
        ("{{range .List}}<{{.}}>{{else}}none{{end}}", "<b><a>"),
        ("{{range $i, $one := .List}}{{$i}}{{$one}}{{$.Name}} {{end}}", "0bweb 1aweb "),
        ("{{range .None}}x{{else}}none{{end}}", "none"),
        ('{{if and .On (eq .Name "web" "x")}}yes{{else}}no{{end}}', "yes"),
        ("{{if not .On}}1{{else if .Name}}2{{else}}3{{end}}", "2"),
        ("{{with .Map}}{{.x}}{{end}}{{with .None}}x{{else}}-{{end}}", "1-"),
        ('{{$a := .Name}}{{printf "%s=%v" $a .On}}', "web=true"),
        (
            '{{join .List ","}} {{upper .Name}} {{index .Map "x"}} {{index .List 1}} {{(index .List 0)}}',
            "b,a WEB 1 a b",
        ),
        ('{{.M "x"}} {{"a|b }" | print}}', "xx a|b }"),
        ("{{/* nothing */}}{{`raw`}}", "raw"),
        ('{{split "a:b" ":"}} {{slice_ok}}'.replace(" {{slice_ok}}", ""), "[a b]"),
    ],
)
def test_a_template_is_filled_as_go_does(template, text):
    assert Template(template).fill(DATA) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{",
        "{{.A.B",
        "{{if .On}}",
        "{{end}}",
        "{{nosuch .}}",
        "{{.Nosuch}}",
        "{{.Name.X}}",
        "{{index .List 9}}",
        "{{}}",
        "{{range .Name}}{{end}}",
        '{{"open}}',
        "{{.Name | join}}",
        "{{else}}",
        "{{(}}",
        "{{.Name 1}}",
        '{{"a"b}}',
        '{{"\\x"}}',
        pytest.param("{{" + "(" * 1500 + ".Name" + ")" * 1500 + "}}", id="deep"),
    ],
)
def test_a_wrong_template_is_refused(template):
    with pytest.raises(Refused):
        Template(template).fill(DATA)
