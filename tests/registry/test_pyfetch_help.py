"""Help, its examples, completion and suggestions."""

import json
import os
import subprocess

import pytest
from conftest import ROOT

from pyfetch.help import EXAMPLES
from pyfetch.options import VERBS, options_of


@pytest.mark.parametrize("ask", [("help", "pull"), ("pull", "--help"), ("pull", "-h")])
def test_help_shows_usage_options_and_example(pyfetch, ask):
    text = pyfetch.ok(*ask)

    assert text.startswith("usage: pyfetch pull [OPTION...] IMAGE [BUNDLE] [-- ARGUMENT...]\n")
    assert all(name in text for option in options_of("pull") for name in option.names)
    assert "example:\n    pyfetch alpine ./box" in text


@pytest.mark.parametrize("ask", [("help",), ("--help",)])
def test_help_names_all_verbs(pyfetch, ask):
    text = pyfetch.ok(*ask)

    assert all(f"  {verb} " in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_works_when_pasted(pyfetch, receiver, busybox, verb):
    # What the example calls alpine comes from here, and what it calls localhost:5000 is here.
    registry = receiver
    registry.add(busybox)
    registry.before = lambda h: setattr(h, "path", h.path.replace("library/alpine", "test").replace("latest", "1"))
    conf = pyfetch.home / ".config/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    entry = '[[registry]]\nprefix = "{}"\nlocation = "{}"\ninsecure = true\n'
    conf.write_text("".join(entry.format(prefix, registry.host) for prefix in ("docker.io", "localhost:5000")))
    environment = {**pyfetch.environment, "PATH": f"{ROOT}/dist:/usr/bin:/bin:/usr/sbin:/sbin"}
    result = subprocess.run(
        ["bash", "-e"], input=EXAMPLES[verb], cwd=pyfetch.folder, env=environment, capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (
            ["alpine", "--cpoy"],
            2,
            "pyfetch: error: unknown option --cpoy: did you mean '--copy'?",
        ),
        (["imagse"], None, ": did you mean 'images'?"),
        (["inspect", "tset"], 3, ": did you mean 'test'?"),
    ],
    ids=["option", "verb", "image"],
)
def test_what_is_misspelt_is_told_with_what_was_meant(pyfetch, registry, busybox, words, status, message):
    pyfetch.ok(registry.add(busybox))
    found, error = pyfetch.fails(*words, "--retries", "0") if words == ["imagse"] else pyfetch.fails(*words)

    assert found == status or status is None
    assert error.endswith(message)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_its_shell_can_read(name):
    script = os.path.join(ROOT, f"dist/pyfetch.{name}")
    result = subprocess.run([name, "-n", script], capture_output=True, text=True)

    assert (result.returncode, result.stderr) == (0, "")


def test_completion_offers_verbs_options_values_and_images(pyfetch, registry, busybox):
    image = registry.add(busybox)
    pyfetch.ok(image)
    lines = ["pyfetch imag", "pyfetch prune --al", "pyfetch pull --network h", f"pyfetch inspect {image[:10]}"]
    script = f"source {ROOT}/dist/pyfetch.fish\n" + "".join(f"complete -C '{line}' | cut -f 1\n" for line in lines)
    environment = {**pyfetch.environment, "PATH": f"{ROOT}/dist:/usr/bin:/bin"}
    result = subprocess.run(["fish", "--no-config"], input=script, env=environment, capture_output=True, text=True)

    assert result.stdout.splitlines() == ["images", "--all", "host", image]


@pytest.mark.parametrize("options", [["-q"], ["--quiet"], ["--store", "{store}"], ["--store={store}", "-q"]])
def test_options_may_stand_before_the_verb(pyfetch, busybox, options):
    options = [option.format(store=pyfetch.store) for option in options]
    busybox.write_layout(pyfetch.folder / "layout", "x")
    bundle = pyfetch.ok(*options, "pull", "oci:layout:x", "bundle")

    assert f"oci:{pyfetch.folder}/layout:x" in pyfetch.ok(*options, "images")
    pyfetch.ok(*options, "rm", "bundle")
    assert not os.path.exists(bundle)


def test_the_value_of_an_option_is_not_taken_for_the_verb(pyfetch, busybox):
    busybox.write_layout(pyfetch.folder / "layout", "x")
    bundle = pyfetch.ok("-e", "A=images", "--hostname", "images", "-u", "rm:1", "oci:layout:x", "bundle", "--user", "0")
    with open(f"{bundle}/config.json") as file:
        assert json.load(file)["hostname"] == "images"


def test_an_option_that_resembles_none_leads_to_the_help(pyfetch):
    status, error = pyfetch.fails("images", "--json")

    assert (status, error.endswith("unknown option --json; see `pyfetch images --help`")) == (2, True), error


def test_an_option_of_another_verb_before_the_verb_is_refused(pyfetch):
    status, error = pyfetch.fails("--tty", "images")

    assert (status, "unknown option --tty; see `pyfetch images --help`" in error) == (2, True)
