"""What the tables of options.py say to a person: help with an example, and what a misspelt name may have meant."""

from pyfetch.options import EXIT_STATUS, VERBS, options_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Each works when pasted, where a registry can be reached.
EXAMPLES = {
    "pull": "pyfetch alpine ./box -- echo hello\npyrun run -b ./box box\npyfetch rm ./box",
    "images": "pyfetch alpine >/dev/null\npyfetch images",
    "inspect": "pyfetch alpine ./box\npyfetch inspect ./box\npyfetch rm ./box",
    "rm": "pyfetch alpine ./box\npyfetch rm ./box alpine",
    "prune": "pyfetch prune",
    "save": "pyfetch alpine ./box\npyfetch save alpine -o alpine.tar\npyfetch rm ./box",
}


def help_text(verb: str) -> str:
    """Return the help of a verb, or of all with ""."""
    if not verb:
        verbs = "".join(f"  {name:8} {summary}\n" for name, (_, summary) in VERBS.items())
        usage = "usage: pyfetch [pull] IMAGE [BUNDLE] [-- ARGUMENT...]\n       pyfetch help VERB"
        return f"{usage}\n\n{verbs}\n{EXIT_STATUS}"
    words, summary = VERBS[verb]
    rows = [(f"{', '.join(option.names)} {option.value}", option.summary) for option in options_of(verb)]
    lines = "".join(f"  {left:32} {right}\n" for left, right in rows)
    usage = f"usage: pyfetch {verb} [OPTION...] {words}".rstrip()
    example = "".join(f"    {line}\n" for line in EXAMPLES[verb].split("\n"))
    return f"{usage}\n\n{summary}\n\n{lines}\nexample:\n{example}\n{EXIT_STATUS}"


def did_you_mean(name: str, known: "Iterable[str]", likeness: float = 0.6) -> str:
    """Return what an error says behind a `name` that is not among the `known` ones: the one that it is most like."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=likeness)
    return f"; did you mean {close[0]}?" if close else ""


def mistaken_verb(words: "list[str]") -> str:
    """The same for a word that was taken for the name of an image, and is more like a verb's."""
    return did_you_mean(words[0], VERBS, 0.75) if words and words[0] not in VERBS and words[0][:1] != "-" else ""
