"""parse(): the command line as Go's flag package reads it, which is what engines write for."""

import pytest

from foundation.errors import did_you_mean
from pyrun import cli
from pyrun.errors import UsageError
from pyrun.options import GLOBAL, VERBS, parse

KNOWN = {
    "bundle": ("b", "DIR", ""),
    "env": ("e", "NAME=VALUE...", ""),
    "detach": ("d", "", ""),
    "pid-file": ("", "FILE", ""),
}


def options(*arguments):
    return parse(list(arguments), KNOWN, stop_early=False)[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bundle", "/b"],
        ["--bundle=/b"],
        ["-bundle", "/b"],
        ["-bundle=/b"],
        ["-b", "/b"],
        ["-b=/b"],
        ["--b", "/b"],
        ["--b=/b"],
    ],
    ids=" ".join,
)
def test_a_value_comes_in_any_form(arguments):
    assert options(*arguments) == {"bundle": "/b"}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--detach", True),
        ("-detach", True),
        ("-d", True),
        ("--detach=true", True),
        ("--detach=1", True),
        ("-d=false", False),
        ("--detach=0", False),
    ],
)
def test_a_switch_comes_in_any_form(argument, value):
    assert options(argument) == {"detach": value}


@pytest.mark.parametrize("value", ["", "yes", "TRUE "])
def test_a_switch_with_another_value_is_refused(value):
    with pytest.raises(UsageError, match=f'invalid value "{value}" for flag -detach: true or false'):
        options(f"--detach={value}")


def test_a_switch_takes_no_value_from_the_next_argument():
    assert parse(["--detach", "true"], KNOWN, stop_early=False) == ({"detach": True}, ["true"])


def test_dashes_in_a_name_become_underscores():
    assert options("--pid-file", "f") == {"pid_file": "f"}


def test_only_the_first_equals_sign_divides():
    assert options("--bundle=a=b") == {"bundle": "a=b"}


def test_a_value_may_be_empty():
    assert options("--pid-file=") == options("--pid-file", "") == {"pid_file": ""}


@pytest.mark.parametrize("arguments", [("--bundle=",), ("--bundle", "")])
def test_a_bundle_without_a_name_is_refused(arguments):
    with pytest.raises(UsageError, match='invalid value "" for flag -bundle: expected a directory'):
        options(*arguments)


@pytest.mark.parametrize("value", ["-", "--", "-d", "--detach"])
def test_a_value_may_look_like_an_option(value):
    assert options("--bundle", value) == {"bundle": value}


def test_the_last_of_two_values_counts():
    assert options("-b", "1", "--bundle", "2") == {"bundle": "2"}


def test_an_option_for_many_collects_them_in_order():
    assert options("-e", "A=1", "--env", "B=2", "-e=C=3") == {"env": ["A=1", "B=2", "C=3"]}


def test_options_and_others_mix():
    assert parse(["x", "-d", "y", "-b", "z", "w"], KNOWN, stop_early=False) == (
        {"detach": True, "bundle": "z"},
        ["x", "y", "w"],
    )


def test_with_a_command_all_from_the_first_other_one_is_left_alone():
    assert parse(["-d", "id", "-d", "--", "-x"], KNOWN, stop_early=True) == ({"detach": True}, ["id", "-d", "--", "-x"])


@pytest.mark.parametrize("stop_early", [True, False])
def test_two_dashes_end_the_options_and_are_kept(stop_early):
    assert parse(["-d", "--", "-b", "--", "x"], KNOWN, stop_early) == ({"detach": True}, ["--", "-b", "--", "x"])


def test_one_dash_is_no_option():
    assert parse(["-"], KNOWN, stop_early=False) == ({}, ["-"])


def test_an_empty_argument_is_no_option():
    assert parse(["", "-d"], KNOWN, stop_early=False) == ({"detach": True}, [""])


@pytest.mark.parametrize("argument", ["--nothing", "-x", "--nothing=1", "-db", "--bundl", "--pid_file=1", "---"])
def test_an_unknown_option_is_refused(argument):
    with pytest.raises(UsageError, match="flag provided but not defined: -"):
        options(argument)


@pytest.mark.parametrize("argument", ["--bundle", "-b", "--env"])
def test_an_option_at_the_end_without_its_value_is_refused(argument):
    with pytest.raises(UsageError, match="flag needs an argument: -"):
        options("-d", argument)


def test_the_arguments_are_not_changed():
    arguments = ["-d", "x"]
    parse(arguments, KNOWN, stop_early=False)

    assert arguments == ["-d", "x"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_module(verb):
    command = __import__(f"pyrun.commands.{verb}", fromlist=["run"])

    assert callable(command.run)


@pytest.mark.parametrize("verb", VERBS)
def test_no_two_options_of_a_verb_have_one_short_name(verb):
    short = [one[0] for one in VERBS[verb][1].values() if one[0]]

    assert len(short) == len(set(short))


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_names_its_options(verb, capsys):
    status = cli.run([verb, "--help"])
    text = capsys.readouterr().out

    assert status == 0
    assert all(f"--{name}" in text for name in VERBS[verb][1])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_help_names_all_verbs_and_global_options(arguments, capsys):
    cli.run(arguments)
    text = capsys.readouterr().out

    assert all(f"  {verb} " in text for verb in VERBS)
    assert all(f"--{name}" in text for name in GLOBAL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start"], '"pyrun start" requires exactly 1 argument: ID'),
        (["start", "a", "b"], '"pyrun start" requires exactly 1 argument: ID'),
        (["state"], '"pyrun state" requires a minimum of 1 argument: ID...'),
        (["kill"], '"pyrun kill" requires a minimum of 1 argument: ID... [SIGNAL]'),
        (["spec", "a"], '"pyrun spec" requires exactly 0 arguments'),
        (["list", "a"], '"pyrun list" requires exactly 0 arguments'),
        (["completion"], '"pyrun completion" requires exactly 1 argument: bash|zsh|fish'),
        (["exec"], '"pyrun exec" requires a minimum of 1 argument: ID [CMD...]'),
    ],
)
def test_a_wrong_number_of_arguments_is_told(arguments, message):
    with pytest.raises(UsageError) as raised:
        cli.run(arguments)

    assert str(raised.value) == message


def test_the_version_has_the_lines_that_callers_parse(capsys):
    cli.run(["--version"])

    names = [
        line.replace("pyrun version ", "version: ").split(": ")[0] for line in capsys.readouterr().out.splitlines()
    ]
    assert names == ["version", "commit", "spec", "python"]


def test_what_is_typed_is_never_suggested():
    assert did_you_mean("hbs", ["hbs"]) == ""
    assert did_you_mean("hbs", ["hbs", "hbsx"]) == ": did you mean 'hbsx'?"
