import pytest

from foundation.node import shown
from pyrun.config.node import Node
from pyrun.errors import ConfigError

DEEP = 100_000


def node(**properties):
    return Node(properties, "x.json: ")


def message_of(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "text, value",
    [
        ("{}", {}),
        (" \t\r\n[1, -2, 1.5, true, false, null]\n", [1, -2, 1.5, True, False, None]),
        (r'"\u00fc\ud83d\ude00\n"', "ü😀\n"),
        ('{"a": 1, "a": 2}', {"a": 2}),  # as in Go, the last one wins
        ("18446744073709551615", 18446744073709551615),
    ],
)
def test_json_is_read(text, value):
    assert Node.parse(text, "x.json") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,",
        '{"a" 1}',
        '{"a": }',
        "[1 2]",
        "{} {}",
        "{}x",
        "'a'",
        "tru",
        "01",
        "+1",
        ".5",
        '"a',
        '"\n"',
        "\ufeff{}",
    ],
)
def test_what_is_no_json_is_refused_in_one_line(text):
    message = message_of(Node.parse, text, "x.json")

    assert message.startswith("x.json: ")
    assert "\n" not in message


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_only_python_knows_is_refused(constant):
    assert message_of(Node.parse, f'{{"a": {constant}}}', "x.json") == f"x.json: not JSON: {constant} is not a number"


def test_a_number_of_a_million_digits_is_refused_at_once():
    assert (
        message_of(Node.parse, "[" + "9" * 1_000_000 + "]", "x.json") == "x.json: not JSON: a number of 1000000 digits"
    )


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
def test_deep_nesting_is_refused(text):
    assert message_of(Node.parse, text, "x.json") == "x.json: nested too deeply"


def test_a_value_that_is_nested_as_deep_as_the_parser_goes_is_named_all_the_same():
    for depth in range(100, 1000, 7):
        try:
            value = Node.parse("[" * depth + "]" * depth, "x.json")
        except ConfigError:
            break

        assert message_of(node(a=value).string, "a") == "x.json: a: expected string, found an array"


@pytest.mark.parametrize("value, kind", [([], "an array"), (1, "1"), ("a", "'a'"), (None, "null"), (True, "True")])
def test_a_document_is_an_object(value, kind):
    assert message_of(Node.root, value, "x.json") == f"x.json: expected an object, found {kind}"


def test_a_file_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": "ü"}')

    assert Node.load(str(path), "x.json").string("a") == "ü"


def test_a_file_larger_than_the_usual_is_read_whole(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": "' + "x" * 200_000 + '"}')

    assert len(Node.load(str(path), "x.json").string("a")) == 200_000


def test_a_file_that_is_too_large_is_refused(tmp_path):
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(Node.maximum + 1)

    assert message_of(Node.load, str(path), "x.json") == "x.json: larger than 32 MiB"


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'{"a": "\xff"}')

    assert message_of(Node.load, str(path), "x.json") == "x.json: not UTF-8 at byte 7"


def test_a_missing_file_is_the_error_of_open(tmp_path):
    with pytest.raises(FileNotFoundError):
        Node.load(str(tmp_path / "x.json"), "x.json")


@pytest.mark.parametrize(
    "method, right, wrong",
    [
        ("string", "a", [1, True, 1.0, [], {}]),
        ("integer", 1, ["1", True, 1.0, 1e3, [], {}]),
        ("boolean", True, [0, 1, "true", [], {}]),
        ("objects", [{}], [{}, "a", 1, [1], ["a"], [[]], [None]]),
        ("strings", ["a"], ["a", {}, [1], [None], [["a"]]]),
        ("integers", [1], [1, {}, ["1"], [True], [1.0]]),
        ("text_map", {"a": "b"}, [[], "a", {"a": 1}, {"a": None}, {"a": {}}]),
        ("object", {}, [[], "a", 1]),
    ],
)
def test_a_value_is_of_the_type_that_is_asked_for(method, right, wrong):
    getattr(node(a=right), method)("a")

    for value in wrong:
        assert message_of(getattr(node(a=value), method), "a").startswith("x.json: a")


@pytest.mark.parametrize("method", ["string", "integer", "object"])
@pytest.mark.parametrize("properties", [{}, {"a": None}])
def test_null_is_absence(method, properties):
    assert message_of(getattr(node(**properties), method), "a") == "x.json: a is required"


@pytest.mark.parametrize(
    "properties, value",
    [
        ({"PAGESIZE": "a"}, "a"),
        ({"pagesize": "a", "PageSize": "b"}, "b"),
        ({"pagesize": None, "PageSize": "b"}, "b"),
        ({"pageSize": "a", "PageSize": "b"}, "a"),
        ({"pageSize": None, "PageSize": "b"}, "b"),
    ],
)
def test_a_name_may_be_in_another_case_where_none_is_in_the_right_one(properties, value):
    document = node(**properties)

    assert document.has("pageSize")
    assert document.string("pageSize") == value
    assert document.properties["pageSize"] == value


def test_a_value_by_another_case_is_checked_and_named_like_any_other():
    assert message_of(node(pagesize=1).string, "pageSize") == "x.json: pageSize: expected string, found 1"


def test_the_names_of_a_map_are_the_authors_and_keep_their_case():
    assert node(A={"Key": "v", "key": "w"}).text_map("a") == {"Key": "v", "key": "w"}


@pytest.mark.parametrize("method", ["string", "strings", "text_map"])
@pytest.mark.parametrize(
    "text, reason",
    [("a\0b", "contains a NUL byte"), ("\ud800", "contains a lone surrogate, which is not a character")],
)
def test_a_string_that_no_system_call_takes_is_refused(method, text, reason):
    value = {"string": text, "strings": ["ok", text], "text_map": {"k": text}}[method]
    place = {"string": "a", "strings": "a[1]", "text_map": "a['k']"}[method]

    assert message_of(getattr(node(a=value), method), "a") == f"x.json: {place}: {reason}"


def test_a_key_that_no_system_call_takes_is_refused():
    assert message_of(node(a={"k\0": "v"}).text_map, "a") == "x.json: a['k\\x00']: contains a NUL byte"


@pytest.mark.parametrize("value", [-1, 256, 1 << 64, -(1 << 200)])
def test_an_integer_has_limits(value):
    assert message_of(node(a=value).integer, "a", (0, 255)).startswith(
        f"x.json: a: {shown(value)} is not between 0 and"
    )


def test_a_path_leads_through_objects_and_arrays():
    document = node(a={"b": [{}, {"c": {"d": 1}}]})

    inner = document.object("a").objects("b")[1].object("c")

    assert message_of(inner.string, "d") == "x.json: a.b[1].c.d: expected string, found 1"


def test_entries_are_named_by_their_keys():
    (entry,) = node(**{"mlx\n": {"a": "1"}}).entries().values()

    assert message_of(entry.integer, "a") == "x.json:['mlx\\n'].a: expected integer, found '1'"


@pytest.mark.parametrize("value", ["x" * 1_000_000, 10**90, "\n" * 100, "\u2028" * 100])
def test_what_is_shown_of_a_value_is_one_short_line(value):
    text = shown(value)

    assert len(text) <= 60
    assert len(text.splitlines()) == 1
