"""pyrund help, and --help: the entry of a verb in the tables of options.py, with more text and an example."""

from foundation.help import explained, overview
from pyrund import __version__
from pyrund.options import GLOBAL, VERBS, check_verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.client.server import Server
    from pyrund.options import Options

_BEGIN = "pyrund run -d --name web busybox sleep 60\n"
_END = "\npyrund rm -f web"

# verb: (more than the summary says, an example, which leaves nothing behind).
TEXTS: "dict[str, tuple[str, str]]" = {
    "run": (
        "A missing image is fetched. The exit status is the program's; 125 if the container could not be made or "
        "started, 126 if the program cannot be executed, 127 if it is not there.",
        "pyrund run --rm hello-world",
    ),
    "create": ("", "pyrund create --name web busybox sleep 60\npyrund start web" + _END),
    "start": ("", "pyrund create --name web busybox echo hello\npyrund start -a web\npyrund rm web"),
    "stop": ("", _BEGIN + "pyrund stop -t 1 web\npyrund rm web"),
    "restart": ("", _BEGIN + "pyrund restart -t 1 web" + _END),
    "kill": ("", _BEGIN + "pyrund kill -s TERM web" + _END),
    "rm": ("", _BEGIN + "pyrund rm -f web"),
    "ps": ("", _BEGIN + "pyrund ps --format '{{.Names}}: {{.Status}}'" + _END),
    "logs": ("", _BEGIN + "pyrund logs --tail 10 web" + _END),
    "exec": ("The exit status is the program's.", _BEGIN + "pyrund exec -e NAME=world web sh -c 'echo $NAME'" + _END),
    "attach": (
        "Signals are passed on to the program, and the exit status is the program's.",
        "pyrund run -d --name web busybox sleep 1\npyrund attach web\npyrund rm web",
    ),
    "wait": ("", "pyrund run -d --name web busybox sleep 1\npyrund wait web\npyrund rm web"),
    "inspect": ("", _BEGIN + "pyrund inspect -f '{{.State.Pid}}' web" + _END),
    "stats": ("100 % is one CPU.", _BEGIN + "pyrund stats --no-stream" + _END),
    "cp": (
        "A directory is copied with all in it; DIR/. stands for its content.",
        _BEGIN + "pyrund cp web:/etc/hosts /tmp/hosts.of.web\npyrund cp /tmp/hosts.of.web web:/tmp/\n"
        "rm /tmp/hosts.of.web" + _END,
    ),
    "top": ("The options are those of ps(1).", _BEGIN + "pyrund top web -o pid,args" + _END),
    "pull": ("Credentials are those that `docker login` has noted.", "pyrund pull busybox"),
    "push": (
        "What the registry has is not sent. The credentials are those of `pyrund login` or `docker login`.",
        "pyrund pull busybox\npyrund tag busybox localhost:5000/busybox\npyrund push localhost:5000/busybox\n"
        "pyrund rmi localhost:5000/busybox",
    ),
    "login": (
        "They are kept where docker's and podman's clients find them, too: in a file, or by a credential helper.",
        "pyrund login localhost:5000 -u me --password-stdin <<<secret\npyrund logout localhost:5000",
    ),
    "logout": ("", "pyrund logout localhost:5000"),
    "search": ("", "pyrund search busybox"),
    "images": ("", "pyrund images --digests"),
    "rmi": ("", "pyrund pull busybox\npyrund tag busybox mine\npyrund rmi mine"),
    "tag": ("", "pyrund pull busybox\npyrund tag busybox mine:1\npyrund rmi mine:1"),
    "info": ("", "pyrund info -f '{{.ServerVersion}}'"),
    "version": ("", "pyrund version"),
    "events": ("", "pyrund events --since 10m --until 0s"),
    "serve": (
        "Other commands start a daemon by themselves if none listens at the default socket. Containers go "
        "on running when it ends. Without root its places are those of the user: $XDG_RUNTIME_DIR/docker.sock, "
        "$XDG_RUNTIME_DIR/pyrund, ~/.local/share/pyrund and ~/.config/docker/daemon.json.",
        "pyrund serve -H unix:///run/pyrund.sock &\npyrund -H unix:///run/pyrund.sock ps\nkill %1",
    ),
    "dial-stdio": ("`pyrund -H ssh://HOST` runs it on the other machine.", "pyrund dial-stdio </dev/null"),
    "completion": ("", "source <(pyrund completion bash)"),
    "help": ("", "pyrund help run"),
}


def run(server: "Server | None", words: "list[str]", options: "Options") -> int:
    print(text(words[0] if words else ""))
    return 0


def text(verb: str) -> str:
    """Return the help of `verb`, or for "" the overview."""
    if not verb:
        return _overview()
    check_verb(verb)
    usage, options, summary = VERBS[verb]
    more, example = TEXTS[verb]
    lines = explained(f"Usage: pyrund {verb} [OPTIONS] {usage}", summary, more, options)
    return "\n".join([*lines, "Example:", *(f"    {line}" for line in example.split("\n"))])


def _overview() -> str:
    program = f"an engine for containers, version {__version__}"
    summaries = {verb: summary for verb, (_, _, summary) in VERBS.items()}
    lines = overview("Usage: pyrund [OPTIONS] COMMAND", program, summaries, GLOBAL)
    return "\n".join([*lines, "pyrund help COMMAND shows a command's options."])
