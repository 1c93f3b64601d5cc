"""Rules that are tables: names, platforms, proxies, TOML. Tested as tables."""

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import one_line
from foundation.linux.os import environment
from pyfetch.errors import NotFound, UsageError
from pyfetch.image.image import choose
from pyfetch.image.manifest import Descriptor
from pyfetch.image.platforms import Platform, host_platform, parse_platform
from pyfetch.image.reference import parse_reference
from pyfetch.options import parse
from pyfetch.registry.proxies import proxy_for
from pyfetch.registry.toml import parse_toml

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("quay.io/a/b/c__d-e.f", "quay.io/a/b/c__d-e.f:latest", "quay.io/a/b/c__d-e.f:latest"),
        ("HOST/x", "HOST/x:latest", "HOST/x:latest"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"alpine:3@{DIGEST}", f"docker.io/library/alpine:3@{DIGEST}", f"alpine:3@{DIGEST}"),
        ("5000/x", "docker.io/5000/x:latest", "5000/x:latest"),
    ],
)
def test_a_name_is_completed_as_docker_does(text, full, familiar):
    reference = parse_reference(text)

    assert (str(reference), reference.familiar()) == (full, familiar)


COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
HOST = rf"(?:{LABEL}(?:\.{LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?"
GRAMMAR = re.compile(rf"{HOST}/{COMPONENT}(?:/{COMPONENT})*:[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}")


@settings(max_examples=2000, deadline=None)
@given(
    st.text(alphabet="az09A._-:/[]é\n", max_size=9),
    st.text(alphabet="az0._-/A", max_size=7),
    st.text("aZ0._-:", max_size=4),
)
def test_a_name_is_what_the_grammar_of_the_distribution_project_says(host, repository, tag):
    for name in (f"a.{host}/{repository}:{tag}", f"[{host}]/{repository}:{tag}"):
        try:
            parse_reference(name)
            is_valid = True
        except UsageError:
            is_valid = False
        port = name.partition("/")[0].rpartition(":")[2]
        is_port = not port.isdigit() or 0 < int(port) < 65536

        assert is_valid == (GRAMMAR.fullmatch(name) is not None and is_port)


def test_the_digest_decides_where_there_is_a_tag_too():
    assert parse_reference(f"alpine:3@{DIGEST}").version == DIGEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("Linux/AMD64/V3", "linux/amd64/v3"),
        ("s390x", "linux/s390x"),
    ],
)
def test_a_platform_is_written_in_one_way(text, expected):
    assert str(parse_platform(text)) == expected


BAD_PLATFORMS = [
    "a/b/c/d",
    "/",
    "linux/",
    "linux/../x",
    "linux/a b",
    "x\ny",
    "linux/amd64/v8x",
    "linux/arm64/v9.",
    "linux/arm/x",
]
BAD_PLATFORMS += [
    "linux/amd64/v\xb2",
    "linux/arm64/v9.\u0663",
    "linux/amd64/v99999999999",
    "linux/arm64/v8.999999999",
    "linux/arm/v",
]


@pytest.mark.parametrize("text", BAD_PLATFORMS)
def test_a_platform_that_is_none_is_refused(text):
    with pytest.raises(UsageError):
        parse_platform(text)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64/v3", ["linux/amd64/v4", "linux/amd64", "linux/amd64/v2"], 2),
        ("linux/amd64", ["linux/amd64/v2", "linux/386"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64"], 1),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm64/v9.2", ["linux/arm64", "linux/arm64/v9.1"], 1),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", ["", "linux/arm64"], 0),
    ],
)
def test_the_best_platform_is_chosen_and_of_equals_the_first(wanted, offered, chosen):
    manifests = [Descriptor("", DIGEST, 1) for _ in offered]
    for manifest, text in zip(manifests, offered):
        manifest.platform = Platform(*text.split("/")) if text else None

    assert choose(manifests, parse_platform(wanted))[0] is manifests[chosen]


def test_an_empty_index_has_nothing_to_choose():
    with pytest.raises(NotFound, match="the list is empty"):
        choose([], host_platform())


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "notexample.com", False),
        (".example.com", "example.com", False),
        ("*.example.com", "a.example.com", True),
        ("example.com:443", "example.com", True),
        ("example.com:80", "example.com", False),
        ("example.com:\xb2", "example.com", False),
        ("nonsense/99,", "example.com", False),
        ("*", "example.com", True),
        ("", "localhost", True),
        ("", "127.5.5.5", True),
        ("", "::1", True),
    ],
)
def test_no_proxy_has_gos_rules(monkeypatch, no_proxy, host, direct):
    monkeypatch.setitem(environment, "https_proxy", "http://proxy:3128")
    monkeypatch.setitem(environment, "no_proxy", no_proxy)

    assert (proxy_for("https", host, 443) is None) == direct


def test_a_cgi_program_does_not_believe_its_client(monkeypatch):
    monkeypatch.setitem(environment, "HTTP_PROXY", "http://evil:1")
    monkeypatch.setitem(environment, "REQUEST_METHOD", "GET")

    assert proxy_for("http", "example.com", 80) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = true # x\nc = 'l\\it'\n", {"a": 1, "b": True, "c": "l\\it"}),
        ('a = "x\\n\\"y\\""', {"a": 'x\n"y"'}),
        ('[t."a.b".c]\nd = []\r\n[t]\ne = -5', {"t": {"a.b": {"c": {"d": []}}, "e": -5}}),
        ("[[x]]\na = 1\n[[x]]\na = 2\n[[x.y]]\nb = 3", {"x": [{"a": 1}, {"a": 2, "y": [{"b": 3}]}]}),
        ('a = [\n "x", # one\n ["y"],\n]\n', {"a": ["x", ["y"]]}),
        ('a = {b = "c", d.e = 1}\nf.g = 2', {"a": {"b": "c", "d": {"e": 1}}, "f": {"g": 2}}),
        ("", {}),
    ],
)
def test_toml_is_read(text, expected):
    assert parse_toml(text.encode(), "file").properties == expected


@pytest.mark.parametrize(
    "text", ["a", "a =", "a = 1 b", "[a", "a = 1.5", "a = 1\na = 2", "= 1", 'a = "\\q"', "a = [1", "a = 1\n[a]"]
)
def test_toml_that_is_not_understood_names_the_line(text):
    with pytest.raises(UsageError, match="file: line "):
        parse_toml(text.encode(), "file")


@pytest.mark.parametrize(
    "data", [b"a = 1\n# \xe9", b"a = " + b"[" * 100_000, b"a=" + b"{a=" * 100_000, b"a = " + b"9" * 5000]
)
def test_toml_that_is_damaged_is_refused(data):
    with pytest.raises(UsageError, match="file: "):
        parse_toml(data, "file")


@pytest.mark.parametrize(
    "url",
    [
        "http://u:pa/ss@p:1",
        "http://u:12#ss@p:1",
        "http://u:1?x@p:1",
        "http://p:x",
        "http://p:99999",
        "http://[::1",
        "http://",
    ]
    + ["http://p..q:1", "http://\xe9:1", f"http://{'p' * 64}:1", "http:// p:1"],
)
def test_a_proxy_that_is_none_is_refused_without_showing_its_password(monkeypatch, url):
    monkeypatch.setitem(environment, "https_proxy", url)
    with pytest.raises(UsageError, match=r"^HTTPS_PROXY: not http://\[user:password@\]host:port [^@]*$"):
        proxy_for("https", "example.com", 443)


def test_a_proxys_password_may_be_any_bytes(monkeypatch):
    monkeypatch.setitem(environment, "https_proxy", "http://u:\udce9%2F@p:1")

    assert proxy_for("https", "example.com", 443).authorization == "Basic " + base64.b64encode(b"u:\xe9/").decode()


@pytest.mark.parametrize("url", ["socks5://p:1", "socks5h://p:1", "https://p:1"])
def test_a_proxy_of_another_kind_matters_only_where_it_would_be_used(monkeypatch, url):
    monkeypatch.setitem(environment, "https_proxy", url)
    monkeypatch.setitem(environment, "no_proxy", "exempt.example")

    assert proxy_for("https", "exempt.example", 443) is None
    assert proxy_for("http", "example.com", 80) is None
    with pytest.raises(UsageError, match="^HTTPS_PROXY: .*only proxies by http://"):
        proxy_for("https", "example.com", 443)


def test_all_proxy_is_used_where_it_is_one_that_we_know(monkeypatch):
    monkeypatch.setitem(environment, "ALL_PROXY", "socks5://p:1")
    assert proxy_for("https", "example.com", 443) is None

    monkeypatch.setitem(environment, "ALL_PROXY", "http://p:1")
    assert proxy_for("https", "example.com", 443).host == "p"


def test_text_from_elsewhere_cannot_steer_a_terminal():
    text = one_line("a\x1b[2Jb\x07\u202ec\r\n d\t" + "e" * 5000)

    assert text == "a\\x1b[2Jb\\x07\\x202ec d " + "e" * (1000 - 23)


@pytest.mark.parametrize("line", ["--store DIR rm x", "--store=DIR rm x", "rm --store DIR x"])
def test_the_store_may_be_named_before_the_verb(line):
    arguments = parse(line.split())

    assert (arguments.verb, arguments.words, arguments.store) == ("rm", ["x"], "DIR")
