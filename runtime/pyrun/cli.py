"""The command line: verbs, options, exit codes. The only `except` that prints.

Every verb is a module in commands/, imported only when the verb is typed, with one function

    run(settings, *arguments, **options)

which returns the exit code, None for 0. The tables below are the only place that knows an option's name: they parse,
they check the number of arguments, and the help, the man page and the completion are made of them. (argparse would cost
11 ms at each start.)
"""

import _signal
import os
import sys
from io import TextIOWrapper

from pyrun import __version__, log
from pyrun.container.state import OCI_VERSION, default_root
from pyrun.errors import Error, UsageError, did_you_mean, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # short name or "", what it takes ("" for nothing, "X..." for many, "[=X]" for one that may be left out), summary
    Option = tuple[str, str, str]

_BUNDLE: "dict[str, Option]" = {
    "bundle": ("b", "DIR", "directory of config.json, default: the current one"),
    "console-socket": ("", "PATH", "AF_UNIX socket that receives the master end of the terminal"),
    "pidfd-socket": ("", "PATH", "AF_UNIX socket that receives a pidfd of the init"),
    "pid-file": ("", "FILE", "file to write the pid of the init to"),
    "no-pivot": ("", "", "do not use pivot_root: for a root file system on a ramdisk"),
    "no-new-keyring": ("", "", "stay in the caller's session keyring"),
    "preserve-fds": ("", "N", "pass on N more descriptors, after those of LISTEN_FDS"),
    "overlay": ("", "[=DIR]", "a writable layer over the bundle, which stays untouched; kept in DIR, or ephemeral"),
    "monitor": ("", "", "leave a process behind that records how the container ends"),
    "init": ("", "", "run the program under an init that passes on signals and collects orphans"),
    "stdin": ("", "FILE", "standard input of the container, instead of the caller's"),
    "stdout": ("", "FILE", "standard output, appended to FILE"),
    "stderr": ("", "FILE", "standard error, appended to FILE"),
}
_PROCESS: "dict[str, Option]" = {
    "console-socket": _BUNDLE["console-socket"],
    "pidfd-socket": ("", "PATH", "AF_UNIX socket that receives a pidfd of the process"),
    "pid-file": ("", "FILE", "file to write the pid of the process to"),
    "cwd": ("", "DIR", "working directory"),
    "env": ("e", "NAME=VALUE...", "environment variable, also many"),
    "tty": ("t", "", "with a terminal"),
    "user": ("u", "UID[:GID]", "user and group"),
    "additional-gids": ("g", "GID...", "additional group, also many"),
    "process": ("p", "FILE", "the process as JSON, instead of a command"),
    "detach": ("d", "", "do not wait"),
    "process-label": ("", "LABEL", "SELinux label"),
    "apparmor": ("", "PROFILE", "AppArmor profile"),
    "no-new-privs": ("", "", "set no_new_privs"),
    "cap": ("c", "CAP...", "capability to add, also many"),
    "preserve-fds": _BUNDLE["preserve-fds"],
    "cgroup": ("", "PATH", "[controller:]path of a cgroup below the container's"),
    "ignore-paused": ("", "", "also in a paused container: waits until it is resumed"),
}
# What criu is told by both `checkpoint` and `restore`.
_CRIU: "dict[str, Option]" = {
    "image-path": ("", "DIR", "directory of the image, default: checkpoint in the current one"),
    "work-path": ("", "DIR", "directory for criu's log, which is kept there; default: that of the image"),
    "tcp-established": ("", "", "also established TCP connections"),
    "ext-unix-sk": ("", "", "also unix sockets whose other end is outside of the container"),
    "shell-job": ("", "", "also a program that has the terminal of a shell outside of the container"),
    "file-locks": ("", "", "also locks of files"),
    "manage-cgroups-mode": ("", "soft|full|strict|ignore", "what criu does about cgroups, default: soft"),
    "empty-ns": ("", "network...", "leave out what is in the namespace: others will set it up"),
    "auto-dedup": ("", "", "drop from parent images what is in this one too"),
    "lazy-pages": ("", "", "memory is fetched by those who need it, from a page server"),
}

# verb: (arguments, options, summary). "[X]" may be left out; "X..." is all that follows, options included.
VERBS: "dict[str, tuple[str, dict[str, Option], str]]" = {
    "create": ("ID", _BUNDLE, "create a container from a bundle, ready to be started"),
    "start": ("ID", {}, "execute the program of a created container"),
    "run": (
        "[ID] [-- CMD...]",
        {
            **_BUNDLE,
            "detach": ("d", "", "do not wait; without an ID, print the one that was made up"),
            "keep": ("", "", "do not delete the container when it ends"),
            "no-subreaper": ("", "", "do not collect the container's orphans"),
        },
        "create and start a container, wait for its end, delete it",
    ),
    "state": ("ID...", {}, "print the state of containers"),
    "wait": ("ID...", {}, "wait until containers end, print their exit statuses, exit with the first that is not 0"),
    "kill": ("ID... [SIGNAL]", {"all": ("a", "", "signal all processes of the container")}, "signal containers' inits"),
    "delete": ("ID...", {"force": ("f", "", "kill it first; no error where it does not exist")}, "delete containers"),
    "exec": ("ID [CMD...]", _PROCESS, "execute another process in a container"),
    "pause": ("ID...", {}, "suspend all processes of containers"),
    "resume": ("ID...", {}, "resume them"),
    "update": (
        "ID",
        {
            "resources": ("r", "FILE", "linux.resources as JSON, - for standard input; other options are ignored"),
            "blkio-weight": ("", "N", "weight of block I/O, 10 to 1000"),
            "cpu-period": ("", "US", "period of the CPU quota, in microseconds"),
            "cpu-quota": ("", "US", "CPU time in a period"),
            "cpu-burst": ("", "US", "CPU time that may be saved up"),
            "cpu-share": ("", "N", "CPU shares, 2 to 262144"),
            "cpu-rt-period": ("", "US", "period of the realtime runtime"),
            "cpu-rt-runtime": ("", "US", "realtime CPU time in a period"),
            "cpu-idle": ("", "N", "1 to run only when the CPU is idle, else 0"),
            "cpuset-cpus": ("", "LIST", "CPUs to use, like 0-3,7"),
            "cpuset-mems": ("", "LIST", "memory nodes to use"),
            "memory": ("", "SIZE", "memory limit, like 64m; -1 for none"),
            "memory-reservation": ("", "SIZE", "what is left to it when memory is scarce"),
            "memory-swap": ("", "SIZE", "limit of memory and swap together"),
            "kernel-memory": ("", "SIZE", "accepted for compatibility, and ignored"),
            "kernel-memory-tcp": ("", "SIZE", "accepted for compatibility, and ignored"),
            "l3-cache-schema": ("", "LINE", "share of the L3 caches, like L3:0=f;1=ff (Intel RDT)"),
            "mem-bw-schema": ("", "LINE", "memory bandwidth, like MB:0=50 (Intel RDT)"),
            "pids-limit": ("", "N", "maximum number of processes, -1 for any"),
            "device-add": ("", "RULE...", "allow devices, like 'c 10:200 rwm'; also many"),
            "device-remove": ("", "RULE...", "deny devices, before what device-add allows; also many"),
        },
        "change the limits of a container",
    ),
    "events": (
        "ID",
        {
            "interval": ("", "DURATION", "time between two statistics, default: 5s"),
            "stats": ("", "", "print the statistics once, and exit"),
        },
        "print what a container uses, and when it is out of memory, as JSON",
    ),
    "stats": (
        "[ID...]",
        {
            "no-stream": ("", "", "print once, and exit"),
            "format": ("f", "table|json", "how to print it; JSON is an object a line"),
        },
        "show what containers use, live",
    ),
    "mount": (
        "ID SOURCE DEST",
        {
            "options": (
                "o",
                "OPTIONS...",
                "as in config.json, with commas between them, like rbind,ro,nosuid; also many",
            )
        },
        "bind a file or directory of the host into a container that runs",
    ),
    "umount": ("ID DEST", {}, "take away what mount has put into a container"),
    "checkpoint": (
        "ID",
        {
            **_CRIU,
            "parent-path": ("", "DIR", "an earlier --pre-dump, relative to --image-path: only what differs is written"),
            "pre-dump": (
                "",
                "",
                "write memory only, to be the parent of a later image, and let the container go on",
            ),
            "leave-running": ("", "", "let the container go on, instead of deleting it"),
            "page-server": ("", "ADDRESS:PORT", "send the memory to a page server; with --lazy-pages, be one"),
            "status-fd": ("", "N", "descriptor to write a byte to when the page server listens"),
            "tcp-skip-in-flight": ("", "", "leave out connections that are not established yet"),
            "link-remap": ("", "", "keep open files that were removed by links in their directory"),
        },
        "write a running container to files, and delete it",
    ),
    "restore": (
        "ID",
        {
            "bundle": _BUNDLE["bundle"],
            **_CRIU,
            "detach": ("d", "", "do not wait"),
            "pid-file": _BUNDLE["pid-file"],
            "console-socket": _BUNDLE["console-socket"],
            "no-subreaper": ("", "", "do not collect the container's orphans"),
            "no-pivot": ("", "", "refused: criu knows pivot_root only"),
            "tcp-close": ("", "", "close the TCP connections that were established"),
            "lsm-profile": ("", "TYPE:NAME", "security profile for its processes, of type apparmor or selinux"),
            "lsm-mount-context": ("", "LABEL", "SELinux label for its mounts"),
        },
        "let a container go on from files that checkpoint has written, and wait for its end",
    ),
    "list": (
        "",
        {"format": ("f", "table|json", "how to print it"), "quiet": ("q", "", "print the ids only")},
        "list the containers",
    ),
    "ps": (
        "ID [PS-OPTIONS...]",
        {"format": ("f", "table|json", "how to print it")},
        "show the processes of a container, by the host's ps",
    ),
    "spec": (
        "",
        {
            "bundle": ("b", "DIR", "directory to write config.json to, default: the current one"),
            "rootless": ("", "", "for a user without privileges"),
        },
        "write a config.json to begin with",
    ),
    "validate": (
        "",
        {
            "bundle": ("b", "DIR", "directory of config.json, default: the current one"),
            "format": ("f", "text|json", "how to print it"),
        },
        "tell all that is wrong with a config.json, without running it",
    ),
    "explain": (
        "",
        {"bundle": ("b", "DIR", "directory of config.json, default: the current one")},
        "tell what create would do, in order, without doing it",
    ),
    "doctor": (
        "",
        {"format": ("f", "table|json", "how to print it")},
        "tell what this machine lacks for containers, what follows, and what mends it",
    ),
    "features": ("", {}, "print what this runtime supports, as JSON"),
    "completion": ("bash|zsh|fish", {}, "print a script that completes verbs, options and ids in a shell"),
    "help": ("[COMMAND]", {}, "explain a command, with an example"),
}

GLOBAL: "dict[str, Option]" = {
    "root": (
        "",
        "DIR",
        "directory of the containers' states, default: /run/pyrun, or $XDG_RUNTIME_DIR/pyrun without root",
    ),
    "log": ("", "FILE", "write errors and warnings to this file too"),
    "log-format": ("", "text|json", "how to write it"),
    "debug": ("", "", "log what is about to be done"),
    "systemd-cgroup": ("", "", "have systemd make the cgroups: linux.cgroupsPath is SLICE:PREFIX:NAME"),
    "cgroup-manager": ("", "cgroupfs|systemd|disabled", "who makes the cgroups, if any"),
    "rootless": ("", "MODE", "accepted for compatibility: it is found out"),
    "criu": ("", "PATH", "the program criu, default: the one in PATH"),
    "version": ("v", "", "print the version"),
    "help": ("h", "", "print this help"),
}


class Settings:
    """What the global options say.

    root, root_given    where the states of containers are, and whether that was said
    cgroup_manager      who makes the cgroups: cgroupfs, systemd or disabled
    criu                the path of criu, "" for the one in PATH
    """

    def __init__(self, root: str, root_given: bool, cgroup_manager: str, criu: str = "") -> None:
        self.root = root
        self.root_given = root_given
        self.cgroup_manager = cgroup_manager
        self.criu = criu


def main() -> None:
    """Run the command line of this process, and exit."""
    _open_standard_streams()
    _use_utf8()
    # A caller that ignores it hands that down: then nobody can wait for a child, wait(2), NOTES.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    status = 0
    try:
        status = run(sys.argv[1:])
        _flush()
    except KeyboardInterrupt:
        log.error("interrupted")
        status = 130
    except (Error, OSError) as error:
        log.error(reason(error))
        status = error.status if isinstance(error, Error) else 1
    os._exit(status)  # skips the interpreter's teardown: 1.3 ms, and nothing to tear down


def _flush() -> None:
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # whoever read our output has enough of it


def _use_utf8() -> None:
    """Have names of files be UTF-8, as config.json is, where the locale says otherwise; C does not (PEP 540)."""
    if sys.getfilesystemencoding() != "utf-8":
        from pyrun.launch.executor import restart  # hardly a machine has such a locale

        restart(sys.executable, "-X", "utf8")


def _open_standard_streams() -> None:
    """Fill 0, 1 and 2 where the caller closed them, lest the next file that is opened be taken for one of them."""
    while True:
        fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if fd > 2:
            os.close(fd)
            break
        os.set_inheritable(fd, True)
    if isinstance(sys.stdout, TextIOWrapper):  # None where it was closed: print() then does nothing
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # JSON, and paths that are bytes


def run(arguments: "list[str]") -> int:
    """Carry out the command line `arguments` and return its exit code."""
    options, rest = parse(arguments, GLOBAL, stop_early=True)
    if options.get("version"):
        print(f"pyrun version {__version__}\nspec: {OCI_VERSION}\npython: {sys.version.split()[0]}")
        return 0
    if options.get("help") or not rest:
        return _help("")
    verb, *rest = rest
    check_verb(verb)
    settings = _settings(options)
    usage, known, _ = VERBS[verb]
    takes_command = usage.endswith("...]") and "ID..." not in usage and "--" not in usage
    verb_options, positional = parse(rest, {**known, "help": GLOBAL["help"]}, stop_early=takes_command)
    if verb_options.pop("help", False):
        return _help(verb)
    if "--" not in usage and positional[:1] == ["--"]:
        del positional[0]
    _check_count(verb, usage, positional)
    command = __import__(f"pyrun.commands.{verb}", fromlist=["run"])
    status = command.run(settings, *positional, **verb_options)
    return status or 0


def parse(arguments: "list[str]", known: "dict[str, Option]", stop_early: bool) -> "tuple[dict[str, Any], list[str]]":
    """Return (options by keyword, other arguments). With `stop_early` all from the first other one on is left alone.

    As Go's flag package has it: one dash or two, `--name value` or `--name=value`; "--" ends the options, and is kept.
    """
    names = {short: name for name, (short, _, _) in known.items() if short}
    options: dict[str, Any] = {}
    others: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return options, others + [argument] + rest
        if not argument.startswith("-") or argument == "-":
            others.append(argument)
            if stop_early:
                return options, others + rest
            continue
        given, equals, value = argument.lstrip("-").partition("=")
        name = names.get(given, given)
        if name not in known:
            raise UsageError(f"flag provided but not defined: -{given}{did_you_mean(given, known, '--')}")
        takes = known[name][1]
        if takes.startswith("["):
            if equals and not value:
                raise UsageError(f"flag needs an argument: -{given}=")
        elif takes and not equals:
            if not rest:
                raise UsageError(f"flag needs an argument: -{given}")
            value = rest.pop(0)
        _add(options, name, takes, value if takes or equals else "true")
    return options, others


def _add(options: "dict[str, Any]", name: str, takes: str, value: str) -> None:
    keyword = name.replace("-", "_")
    if takes.endswith("..."):
        options.setdefault(keyword, []).append(value)
    elif takes:
        options[keyword] = value
    elif value in ("true", "false", "1", "0"):
        options[keyword] = value in ("true", "1")
    else:
        raise UsageError(f'invalid value "{value}" for flag -{name}: true or false')


def _settings(options: "dict[str, Any]") -> Settings:
    format_ = options.get("log_format", "text")
    if format_ not in ("text", "json"):
        raise UsageError(f'invalid log-format "{format_}": text or json')
    log.configure(options.get("log"), format_, options.get("debug", False))
    root = options.get("root", default_root())
    if root in ("", "/"):
        raise UsageError(f'invalid root "{root}": name a directory for the containers\' states')
    manager = "systemd" if options.get("systemd_cgroup") else options.get("cgroup_manager", "cgroupfs")
    if manager not in ("cgroupfs", "systemd", "disabled"):
        raise UsageError(f'invalid cgroup-manager "{manager}": cgroupfs, systemd or disabled')
    root = os.path.abspath(root) if not root.startswith("/") else root
    return Settings(root, "root" in options, manager, options.get("criu", ""))


def _check_count(verb: str, usage: str, positional: "list[str]") -> None:
    words = usage.split()
    least = sum(1 for word in words if word.rstrip(".").isalpha())
    most = len(positional) if "..." in usage else len(words)
    if len(positional) < least or len(positional) > most:
        exactly = "exactly" if least == most else "a minimum of" if len(positional) < least else "at most"
        count = most if len(positional) > most else least
        raise UsageError(f'"pyrun {verb}" requires {exactly} {count} argument{"" if count == 1 else "s"}: {usage}')


def check_verb(verb: str) -> None:
    if verb not in VERBS:
        raise UsageError(f'"{verb}" is no command of pyrun{did_you_mean(verb, VERBS) or ": see pyrun --help"}')


def _help(verb: str) -> int:
    from pyrun.commands import help  # its texts are for whoever asks

    help.run(None, verb)
    return 0
