"""Several ids in one command: each is done, and each that fails has its own line."""

import json
import subprocess

import pytest

pytestmark = pytest.mark.only_pyrun("takes one id")


@pytest.fixture
def three(new_container):
    return [new_container().sleeping() for _ in range(3)]


def ids(containers):
    return [one.id for one in containers]


def test_a_list_of_ids_can_be_deleted_by_xargs(three):
    first = three[0]
    pyrun = f"{first.runtime} --root {first.root}"
    result = subprocess.run(f"{pyrun} list -q | xargs {pyrun} delete -f", shell=True, capture_output=True, text=True)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert first.works("list", "-q") == ""


def test_containers_are_paused_and_resumed_together(three):
    three[0].works("pause", *ids(three))
    paused = [one.status() for one in three]
    three[0].works("resume", *ids(three))

    assert paused == ["paused"] * 3
    assert [one.status() for one in three] == ["running"] * 3


def test_state_prints_an_object_for_each(three):
    text = three[0].works("state", *ids(three))
    found = []
    while text.strip():
        one, end = json.JSONDecoder().raw_decode(text)
        found.append(one["id"])
        text = text[end:].lstrip()

    assert found == ids(three)


def test_the_last_word_of_kill_is_the_signal_of_all(three):
    three[0].works("kill", *ids(three), "KILL")

    for one in three:
        one.wait_until("stopped")


def test_kill_without_a_signal_takes_ids_alone(three):
    for one in three:
        one.bundle.process["args"] = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"]
        one.works("delete", "--force", one.id)
        one.run_detached()
        while "ready" not in one.output():
            pass
    three[0].works("kill", *ids(three))

    for one in three:
        one.wait_until("stopped")


def test_a_misspelt_signal_reaches_nobody(three):
    message = three[0].fails("kill", *ids(three), "KILLL")

    assert message == 'error: unknown signal "KILLL"'
    assert [one.status() for one in three] == ["running"] * 3


@pytest.mark.parametrize("verb", ["kill", "delete", "pause", "resume", "state"])
def test_each_that_fails_has_a_line_and_the_others_are_done(three, verb):
    one, two, _ = three
    if verb == "resume":
        one.works("pause", one.id)
    options = {"kill": ["KILL"], "delete": []}.get(verb, [])
    if verb == "delete":
        one.works("kill", one.id, "KILL")
        one.wait_until("stopped")
    result = one.call(verb, "nobody", one.id, "no/id", *options)

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: nobody: container does not exist: nobody",
        'error: no/id: invalid container id "no/id": use up to 255 of A-Z a-z 0-9 _ + . -',
    ]
    if verb == "kill":
        one.wait_until("stopped")
    elif verb == "delete":
        assert not one.exists()
    else:
        assert one.status() == {"pause": "paused"}.get(verb, "running")
    assert two.status() == "running"


def test_a_single_id_has_the_words_that_engines_match(container):
    assert container.fails("kill", "nobody", "9") == "error: container does not exist: nobody"


@pytest.mark.parametrize(
    ("patterns", "deleted"), [(["^web"], "01"), (["1$"], "1"), (["nobody"], ""), (["0$", "db$"], "02"), (["."], "012")]
)
def test_delete_regex_deletes_what_the_expression_is_found_in(new_container, patterns, deleted):
    named = [new_container() for _ in range(3)]
    for one, name in zip(named, ("web-0", "web-1", "the-db")):
        one.id = name
        one.create()
    named[0].works("delete", "--force", "--regex", *patterns)

    assert [one.exists() for one in named] == [str(number) not in deleted for number in range(3)]


def test_delete_regex_without_force_leaves_what_runs(three):
    one, two, three_ = three
    one.works("kill", one.id, "KILL")
    one.wait_until("stopped")
    result = one.call("delete", "--regex", ".")

    assert result.returncode == 1
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == sorted([two.id, three_.id])
    assert [one.exists(), two.exists(), three_.exists()] == [False, True, True]


def test_a_regular_expression_that_is_none_is_refused(three):
    assert "--regex" in three[0].fails("delete", "--force", "--regex", "(")
    assert all(one.exists() for one in three)
