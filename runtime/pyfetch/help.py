"""Help texts, made of the tables in options.py, and suggestions for misspelt verbs."""

from foundation.errors import did_you_mean
from foundation.help import wrapped
from pyfetch.options import EXIT_STATUS, VERBS, options_of

IMAGES = (
    "IMAGE is a name, such as alpine, docker.io/library/alpine:3 or docker://host:5000/a/b@sha256:...; an OCI image "
    "layout, oci:DIR[:REF], or its archive, oci-archive:FILE[:REF]; an archive of `docker save`, "
    "docker-archive:FILE[:TAG|:@N], of which @N is the image number N, from 0 on; or - for either archive on standard "
    "input."
)
# What a verb's summary does not say.
MORE = {
    "pull": f"{IMAGES} An image that has the name of a verb needs the word `pull`. Arguments after -- replace the "
    "image's command.",
    "inspect": IMAGES,
    "push": IMAGES,
    "copy": IMAGES,
}
OPTIONS = (
    ("-h, --help", "print this help, or that of the verb beside it, as `pyfetch help VERB` does"),
    ("--version", "print the version"),
)
# Each example works when pasted, if a registry can be reached.
EXAMPLES = {
    "pull": "pyfetch alpine ./box -- echo hello\npyrun run -b ./box box\npyfetch rm ./box",
    "images": "pyfetch alpine >/dev/null\npyfetch images",
    "inspect": "pyfetch alpine ./box\npyfetch inspect ./box\npyfetch rm ./box",
    "rm": "pyfetch alpine ./box\npyfetch rm ./box alpine",
    "prune": "pyfetch prune",
    "save": "pyfetch alpine ./box\npyfetch save alpine -o alpine.tar\npyfetch rm ./box",
    "push": "pyfetch alpine ./box\npyfetch push alpine localhost:5000/alpine\npyfetch rm ./box",
    "copy": "pyfetch copy alpine localhost:5000/alpine",
    "tags": "pyfetch tags alpine",
    "login": "pyfetch login localhost:5000 --username me --password-stdin <<<secret\npyfetch logout localhost:5000",
    "logout": "pyfetch logout localhost:5000",
    "tag": "pyfetch alpine ./box\npyfetch tag alpine localhost:5000/alpine\npyfetch rm ./box",
}


def help_text(verb: str) -> str:
    """Return the help of `verb`, or the list of verbs if it is ""."""
    if not verb:
        verbs = "".join(f"  {name:8} {summary}\n" for name, (_, summary) in VERBS.items())
        usage = "usage: pyfetch [pull] IMAGE [BUNDLE] [-- ARGUMENT...]\n       pyfetch help VERB"
        options = "".join(f"  {names:12} {summary}\n" for names, summary in OPTIONS)
        return "\n".join([usage, "", *wrapped(IMAGES), "", f"{verbs}\n{options}\n{EXIT_STATUS}"])
    words, summary = VERBS[verb]
    rows = [(f"{', '.join(option.names)} {option.value}", option.summary) for option in options_of(verb)]
    lines = "".join(f"  {left:32} {right}\n" for left, right in rows)
    usage = f"usage: pyfetch {verb} [OPTION...] {words}".rstrip()
    example = "".join(f"    {line}\n" for line in EXAMPLES[verb].split("\n"))
    more = "".join(f"{line}\n" for line in ["", *wrapped(MORE[verb])]) if verb in MORE else ""
    return f"{usage}\n\n{summary}\n{more}\n{lines}\nexample:\n{example}\n{EXIT_STATUS}"


def mistaken_verb(words: "list[str]") -> str:
    """Return a suggestion if the first word was taken for an image, but resembles a verb."""
    if not words or words[0] in VERBS or words[0].startswith("-"):
        return ""
    return did_you_mean(words[0], VERBS, likeness=0.75)
