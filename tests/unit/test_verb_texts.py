"""Every verb has what help, man page and completion show of it."""

from pyfetch.help import EXAMPLES, MORE, help_text
from pyfetch.options import VERBS as PYFETCH_VERBS
from pyrun.commands.help import TEXTS
from pyrun.commands.help import text as help_of_pyrun
from pyrun.options import VERBS
from pyrund.commands.help import TEXTS as ENGINE_TEXTS
from pyrund.commands.help import text as help_of_pyrund
from pyrund.options import VERBS as ENGINE_VERBS


def test_every_verb_has_an_example():
    assert TEXTS.keys() == VERBS.keys()
    assert ENGINE_TEXTS.keys() == ENGINE_VERBS.keys()
    assert EXAMPLES.keys() == PYFETCH_VERBS.keys()
    assert MORE.keys() <= PYFETCH_VERBS.keys()
    assert all("pyrun" in example for _, example in TEXTS.values())


def test_help_says_what_an_image_may_be():
    for verb in ("", "pull", "inspect", "push", "copy"):
        assert all(f"{kind}:" in help_text(verb) for kind in ("oci", "oci-archive", "docker-archive")), verb


def test_help_says_once_of_an_option_that_it_can_be_repeated():
    assert help_of_pyrun("exec").count("; can be repeated") == 3
    assert help_of_pyrun("update").count("; can be repeated") == 2
    assert "set a variable; without a value, that of this command; can be repeated\n" in help_of_pyrund("run")
    assert "can be repeated" not in help_of_pyrund("")  # -H of a client is given once
