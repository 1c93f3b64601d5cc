"""pyrun help, and --help: the entry of a verb in the tables of options.py, with more text and an example.

The texts are not in the tables, so that other verbs do not load them. The man page has them, too.
"""

from foundation.help import explained, overview
from pyrun import __version__
from pyrun.options import GLOBAL, VERBS, check_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings

_BEGIN = "pyrun run -d web -- sleep 60\n"
_APART = "pyrun run -d web -- sleep 60 </dev/null &>/dev/null\n"  # detached from the terminal
_END = "\npyrun delete -f web"

# verb: (more than the summary says, an example). Each example works when pasted in the directory of a bundle, such as
# the one of the example of `spec`, and leaves nothing behind.
TEXTS: "dict[str, tuple[str, str]]" = {
    "create": (
        "The container is complete and waits until `pyrun start` executes its program.",
        "pyrun create web </dev/null\npyrun state web\npyrun start web\npyrun delete -f web",
    ),
    "start": (
        "Returns when the program runs. If it cannot be executed, start says why.",
        "pyrun create web </dev/null\npyrun start web" + _END,
    ),
    "run": (
        "CMD replaces the bundle's command, and --overlay lets many containers share one bundle. Without -d the exit "
        "status is the program's, 128+N after signal N.",
        "pyrun run --overlay -- echo hello",
    ),
    "state": ("An object of JSON for each container.", _BEGIN + "pyrun state web" + _END),
    "kill": (
        "SIGNAL is a number or a name, with or without SIG, and defaults to TERM. The last of several words is taken "
        "as the signal if it can be one.",
        _BEGIN + "pyrun kill web KILL" + _END,
    ),
    "delete": (
        "Deletes containers that are stopped or not yet started; --force kills running ones first. With --regex, no "
        "match is not an error.",
        _BEGIN + "pyrun list -q | xargs pyrun delete -f",
    ),
    "wait": (
        "Prints a line for each container, and exits with the first status that is not 0. If an ID is unknown, it "
        "waits for none.",
        "pyrun run -d web -- sleep 1\npyrun wait web\npyrun delete web",
    ),
    "exec": (
        "The exit status is that of the process, or 255 if it could not be executed.",
        _BEGIN + "pyrun exec -e NAME=world web sh -c 'echo hello $NAME'" + _END,
    ),
    "pause": ("", _BEGIN + "pyrun pause web\npyrun resume web" + _END),
    "resume": ("", _BEGIN + "pyrun pause web\npyrun resume web" + _END),
    "update": (
        "Limits that no option names stay as they are. RULE is TYPE MAJOR:MINOR ACCESS: TYPE is c, b, or a for all; a "
        "number may be *; ACCESS is some of r, w, and m for mknod. `pyrun mount ID /dev/NAME /dev/NAME` adds the node.",
        _BEGIN + "pyrun update --memory 64m --pids-limit 20 web" + _END,
    ),
    "events": ("", _BEGIN + "pyrun events --stats web" + _END),
    "stats": (
        "Without an ID, shows all running containers. 100 % is one CPU; memory does not count inactive page cache; "
        "pressure is the share of the last ten seconds in which some process had to wait.",
        _BEGIN + "pyrun stats --no-stream" + _END,
    ),
    "mount": (
        "DEST is resolved in the container, and created if it is missing.",
        _BEGIN + "mkdir -p data rootfs/mnt\npyrun mount -o ro web data /mnt\npyrun exec web ls /mnt\n"
        "pyrun umount web /mnt" + _END,
    ),
    "umount": (
        "Removes only mounts that `pyrun mount` has made. Processes keep files in it that they have open.",
        _BEGIN + "mkdir -p data rootfs/mnt\npyrun mount web data /mnt\npyrun umount web /mnt" + _END,
    ),
    "checkpoint": (
        "Needs criu 3.16 or newer that supports the kernel: `pyrun doctor` checks that. The root file system and bind "
        "mounts are not part of the image: they must be the same when it is restored.",
        _APART + "pyrun checkpoint --image-path image web\npyrun restore -d --image-path image web" + _END,
    ),
    "restore": (
        "Works under another ID, with a copy of the bundle, or on another machine, too. Standard streams that were "
        "pipes are replaced by those of this command; files are opened again, and must have the same size. Without -d "
        "the exit status is the program's.",
        _APART + "pyrun checkpoint --leave-running --image-path image web\npyrun restore -d --image-path image twin\n"
        "pyrun delete -f twin" + _END,
    ),
    "list": ("", _BEGIN + "pyrun list" + _END),
    "ps": ("PS-OPTIONS are those of ps(1). They must print a column PID.", _BEGIN + "pyrun ps web -o pid,args" + _END),
    "spec": (
        "An existing config.json is not changed. The example makes a whole bundle from the host's static busybox, "
        "Debian's package busybox-static.",
        "mkdir -p box/rootfs/bin && cp /bin/busybox box/rootfs/bin && cd box\n"
        "for name in sh sleep echo cat ls; do ln -s busybox rootfs/bin/$name; done\n"
        'pyrun spec && sed -i \'s/"terminal": true/"terminal": false/\' config.json\n'
        "pyrun run -- echo hello",
    ),
    "explain": ("Prints the plan that create carries out, without any effect.", "pyrun explain"),
    "validate": ("The exit status is 1 if there are errors.", "pyrun validate"),
    "doctor": (
        "Containers run in spite of findings that are limited. If one is missing, they do not: the exit status is 1.",
        "pyrun doctor",
    ),
    "features": ("Lists the features of pyrun; `pyrun doctor` checks those of this kernel.", "pyrun features"),
    "completion": (
        "The script asks `pyrun list` for ids when a key is pressed.",
        "source <(pyrun completion bash)",
    ),
    "help": ("", "pyrun help run"),
}


def run(settings: "Settings | None", verb: str = "") -> None:
    print(text(verb))


def text(verb: str) -> str:
    """Return the help of `verb`, or for "" the overview."""
    if not verb:
        return _overview()
    check_verb(verb)
    usage, options, summary = VERBS[verb]
    more, example = TEXTS[verb]
    lines = explained(f"Usage: pyrun {verb} [options] {usage}", summary, more, options)
    lines.append("Example, in the directory of a bundle (pyrun help spec makes one):" if verb != "spec" else "Example:")
    lines += [f"    {line}" for line in example.split("\n")]
    return "\n".join(lines)


def _overview() -> str:
    usage = "Usage: pyrun [global options] COMMAND [options] [arguments]"
    summaries = {verb: summary for verb, (_, _, summary) in VERBS.items()}
    lines = overview(usage, f"an OCI runtime, version {__version__}", summaries, GLOBAL)
    lines += ["pyrun help COMMAND shows a command's options, and an example."]
    return "\n".join(lines)
