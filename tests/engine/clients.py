"""pyrund's own client, alone and beside docker's."""

import re
import subprocess

from daemon import PYRUND
from terminals import in_terminal


def ours(engine, *words, **options):
    return engine.docker(*words, client=PYRUND, **options)


def ok(engine, *words, **options):
    done = ours(engine, *words, **options)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.strip()


def begin(engine, *words, **options):
    return subprocess.Popen([PYRUND, "-H", f"unix://{engine.socket}", *words], **options)


def on_terminal(engine, *words):
    return in_terminal(PYRUND, "-H", f"unix://{engine.socket}", *words)


def first_error(text):
    """Return the first line without the program's name, in newer words: older clients have a full stop. What ours says
    there of its help is docker's second line.

    docker's client 20.10 also logs that it no longer waits for the container, before or after its error.
    """
    lines = [line for line in text.splitlines() if not line.startswith("time=")]
    line = re.sub(r"^(docker|pyrund): ", "", lines[0] if lines else "").rstrip(".")
    line = re.sub(r": see `pyrund help \w+`$", "", line)
    return re.sub(r"^Error: No such (container|image): (\w+)$", r"Error response from daemon: No such \1: \2", line)


def assert_same(engine, *words, **options):
    """Run both clients; return what ours has printed. Times such as "2 seconds ago" may pass between both."""
    for _ in range(3):
        theirs, own = engine.docker(*words, **options), ours(engine, *words, **options)
        if own.stdout == theirs.stdout:
            break
    seen, expected = own.stdout, theirs.stdout
    if seen != expected:
        seen, expected = without_times(seen), without_times(expected)
    assert (own.returncode, seen) == (theirs.returncode, expected), (own.stderr, theirs.stderr)
    errors = first_error(own.stderr).removesuffix(":latest"), first_error(theirs.stderr)
    assert errors[0] == errors[1], (own.stderr, theirs.stderr)
    return own.stdout


def without_times(text):
    """Return the text without durations, on which the widths of columns depend, too."""
    text = re.sub(r"\d+ (second|minute)s?|Less than a second|About a minute", "TIME", text)
    return re.sub(r" +", " ", text)
