"""Every verb has what help, man page and completion show of it."""

from pyfetch.help import EXAMPLES
from pyfetch.options import VERBS as PYFETCH_VERBS
from pyrun.commands.help import TEXTS
from pyrun.options import VERBS


def test_every_verb_has_an_example():
    assert TEXTS.keys() == VERBS.keys()
    assert EXAMPLES.keys() == PYFETCH_VERBS.keys()
    assert all("pyrun" in example for _, example in TEXTS.values())
