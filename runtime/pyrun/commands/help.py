"""pyrun help, and --help: what the tables of cli.py say of a verb, with an example.

The texts are here and not in the tables, so that no other verb loads them. The man page has them too.
"""

from pyrun import __version__
from pyrun.cli import GLOBAL, VERBS, check_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Option, Settings

_BEGIN = "pyrun run -d web -- sleep 60\n"
_APART = "pyrun run -d web -- sleep 60 </dev/null &>/dev/null\n"  # from the terminal
_END = "\npyrun delete -f web"

# verb: (what the summary leaves out, an example). Each example works when pasted in the directory of a bundle, such as
# the one that the example of `spec` makes, and leaves nothing behind.
TEXTS: "dict[str, tuple[str, str]]" = {
    "create": (
        "The container waits, with all that config.json asks for, until `pyrun start` executes its program.",
        "pyrun create web </dev/null\npyrun state web\npyrun start web\npyrun delete -f web",
    ),
    "start": (
        "Returns when the program runs. One that cannot be executed is told here, with the reason.",
        "pyrun create web </dev/null\npyrun start web" + _END,
    ),
    "run": (
        "CMD replaces the bundle's command, and --overlay lets many containers share one bundle. Without -d the exit "
        "status is the program's, 128+N after signal N.",
        "pyrun run --overlay -- echo hello",
    ),
    "state": ("An object of JSON for each container.", _BEGIN + "pyrun state web" + _END),
    "kill": (
        "SIGNAL is a number or a name, with or without SIG; TERM if it is left out. The last of several words is the "
        "signal wherever it can be one.",
        _BEGIN + "pyrun kill web KILL" + _END,
    ),
    "delete": ("Only of stopped containers, unless --force.", _BEGIN + "pyrun list -q | xargs pyrun delete -f"),
    "wait": (
        "Prints a line for each, and exits with the first status that is not 0.",
        "pyrun run -d web -- sleep 1\npyrun wait web\npyrun delete web",
    ),
    "exec": (
        "The exit status is the process's; 255 says that it did not come to life.",
        _BEGIN + "pyrun exec -e NAME=world web sh -c 'echo hello $NAME'" + _END,
    ),
    "pause": ("", _BEGIN + "pyrun pause web\npyrun resume web" + _END),
    "resume": ("", _BEGIN + "pyrun pause web\npyrun resume web" + _END),
    "update": (
        "What no option names stays as it is. RULE is TYPE MAJOR:MINOR ACCESS: c, b or a for all; numbers or *; "
        "of r, w and m for mknod. The node itself can be given with `pyrun mount ID /dev/NAME /dev/NAME`.",
        _BEGIN + "pyrun update --memory 64m --pids-limit 20 web" + _END,
    ),
    "events": ("", _BEGIN + "pyrun events --stats web" + _END),
    "stats": (
        "Without an ID, of all that run. 100 % is one CPU; memory is without what the kernel can drop at once; "
        "pressure is the share of the last ten seconds in which some process had to wait.",
        _BEGIN + "pyrun stats --no-stream" + _END,
    ),
    "mount": (
        "DEST is resolved in the container, and made where it is missing. An interpreter is never seen in there.",
        _BEGIN + "mkdir -p data rootfs/mnt\npyrun mount -o ro web data /mnt\npyrun exec web ls /mnt\n"
        "pyrun umount web /mnt" + _END,
    ),
    "umount": (
        "Only what mount has put there. Who has files open in it keeps them.",
        _BEGIN + "mkdir -p data rootfs/mnt\npyrun mount web data /mnt\npyrun umount web /mnt" + _END,
    ),
    "checkpoint": (
        "By criu 3.16 or newer, which must know the kernel: `pyrun doctor` tells. The root file system, and what is "
        "bound from the host, are no part of the image: they must be the same when it is restored.",
        _APART + "pyrun checkpoint --image-path image web\npyrun restore -d --image-path image web" + _END,
    ),
    "restore": (
        "Also under another ID, with a copy of the bundle, or on another machine. Standard streams that were pipes are "
        "now those of this command; files are opened again, and must have the size that they had. Without -d the exit "
        "status is the program's.",
        _APART + "pyrun checkpoint --leave-running --image-path image web\npyrun restore -d --image-path image twin\n"
        "pyrun delete -f twin" + _END,
    ),
    "list": ("", _BEGIN + "pyrun list" + _END),
    "ps": ("PS-OPTIONS are those of ps(1), which must show a column PID.", _BEGIN + "pyrun ps web -o pid,args" + _END),
    "spec": (
        "An existing config.json is left alone. The example makes a whole bundle, of the host's static busybox.",
        "mkdir -p box/rootfs/bin && cp /bin/busybox box/rootfs/bin && cd box\n"
        "for name in sh sleep echo cat ls; do ln -s busybox rootfs/bin/$name; done\n"
        'pyrun spec && sed -i \'s/"terminal": true/"terminal": false/\' config.json\n'
        "pyrun run -- echo hello",
    ),
    "explain": ("Derived from the plan that create carries out; nothing is made.", "pyrun explain"),
    "validate": ("The exit status is 1 where something is wrong.", "pyrun validate"),
    "doctor": (
        "Containers run without what is limited, and not without what is missing: then the exit status is 1.",
        "pyrun doctor",
    ),
    "features": ("What pyrun can do, whatever this kernel can: `pyrun doctor` tells that.", "pyrun features"),
    "completion": (
        "The script asks `pyrun list` for ids when a key is pressed.",
        "source <(pyrun completion bash)",
    ),
    "help": ("", "pyrun help run"),
}


def run(settings: "Settings | None", verb: str = "") -> None:
    print(text(verb))


def text(verb: str) -> str:
    """Return the help of `verb`, or with "" of all."""
    if not verb:
        return _overview()
    check_verb(verb)
    usage, options, summary = VERBS[verb]
    more, example = TEXTS[verb]
    lines = [f"pyrun {verb} [options] {usage}".rstrip(), f"    {summary}", ""]
    if more:
        lines += [*_wrapped(more), ""]
    if options:
        lines += [*_describe(options), ""]
    lines.append("Example, in the directory of a bundle (pyrun help spec makes one):" if verb != "spec" else "Example:")
    lines += [f"    {line}" for line in example.split("\n")]
    return "\n".join(lines)


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    lines = ["pyrun [global options] COMMAND [options] [arguments]", f"    an OCI runtime, version {__version__}", ""]
    lines += [f"  {verb.ljust(width)}{summary}" for verb, (_, _, summary) in VERBS.items()]
    lines += ["", *_describe(GLOBAL), "", "pyrun help COMMAND tells a command's options, and shows an example."]
    return "\n".join(lines)


def _describe(options: "dict[str, Option]") -> "list[str]":
    lines = []
    for name, (short, takes, summary) in options.items():
        names = f"-{short}, --{name}" if short else f"    --{name}"
        value = takes if takes.startswith("[") else f" {takes.rstrip('.')}"
        lines.append(f"  {names}{value}".ljust(36) + f" {summary}")
    return lines


def _wrapped(paragraph: str, width: int = 80) -> "list[str]":
    lines = [""]
    for word in paragraph.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
