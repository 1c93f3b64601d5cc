"""The verbs and all options, as tables, and their parser.

The parser, the check of the number of arguments, the help, the man page and the completion use the same tables.
(argparse would cost 11 ms at each start.)
"""

from foundation.errors import did_you_mean
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # short name or "", value ("" for none, "X..." if the option can be repeated, "[=X]" if it is optional), summary
    Option = tuple[str, str, str]

_BUNDLE: "dict[str, Option]" = {
    "bundle": ("b", "DIR", "directory of config.json, default: the current one"),
    "config": ("f", "FILE", "file to read instead of the bundle's config.json"),
    "console-socket": ("", "PATH", "AF_UNIX socket that receives the master end of the terminal"),
    "pidfd-socket": ("", "PATH", "AF_UNIX socket that receives a pidfd of the init"),
    "pid-file": ("", "FILE", "file to write the pid of the init to"),
    "no-pivot": ("", "", "do not use pivot_root: for a root file system on a ramdisk"),
    "no-new-keyring": ("", "", "stay in the caller's session keyring"),
    "preserve-fds": ("", "N", "pass on N more descriptors, after those of LISTEN_FDS"),
    "overlay": ("", "[=DIR]", "a writable layer over the bundle, which is not changed; kept in DIR, or ephemeral"),
    "monitor": ("", "", "leave a process behind that records how the container ends"),
    "init": ("", "", "run the program under an init that forwards signals and reaps orphans"),
    "stdin": ("", "FILE", "standard input of the container, instead of the caller's"),
    "stdout": ("", "FILE", "standard output, appended to FILE"),
    "stderr": ("", "FILE", "standard error, appended to FILE"),
}
_PROCESS: "dict[str, Option]" = {
    "console-socket": _BUNDLE["console-socket"],
    "pidfd-socket": ("", "PATH", "AF_UNIX socket that receives a pidfd of the process"),
    "pid-file": ("", "FILE", "file to write the pid of the process to"),
    "cwd": ("", "DIR", "working directory"),
    "env": ("e", "NAME=VALUE...", "environment variable"),
    "tty": ("t", "", "allocate a terminal"),
    "user": ("u", "UID[:GID]", "user and group"),
    "additional-gids": ("g", "GID...", "additional group"),
    "process": ("p", "FILE", "the process as JSON, instead of a command"),
    "detach": ("d", "", "do not wait"),
    "process-label": ("", "LABEL", "SELinux label"),
    "apparmor": ("", "PROFILE", "AppArmor profile"),
    "no-new-privs": ("", "", "set no_new_privs"),
    "cap": ("c", "CAP...", "capability to add"),
    "preserve-fds": _BUNDLE["preserve-fds"],
    "cgroup": ("", "PATH", "[controller:]path of a cgroup below the container's"),
    "ignore-paused": ("", "", "allow it in a paused container: the process waits until that is resumed"),
}
# The options for criu of both `checkpoint` and `restore`.
_CRIU: "dict[str, Option]" = {
    "image-path": ("", "DIR", "directory of the image, default: checkpoint in the current one"),
    "work-path": ("", "DIR", "directory for criu's log, which is kept there; default: the image's"),
    "tcp-established": ("", "", "allow established TCP connections"),
    "ext-unix-sk": ("", "", "allow unix sockets whose other end is outside of the container"),
    "shell-job": ("", "", "allow a program that uses the terminal of a shell outside of the container"),
    "file-locks": ("", "", "allow file locks"),
    "manage-cgroups-mode": ("", "soft|full|strict|ignore", "what criu does about cgroups, default: soft"),
    "empty-ns": ("", "network...", "restore the namespace empty: another program sets it up"),
    "auto-dedup": ("", "", "deduplicate parent images"),
    "lazy-pages": ("", "", "restore memory lazily, over a page server"),
}

# verb: (arguments, options, summary). "[X]" is optional; "X..." takes all following words, options included.
VERBS: "dict[str, tuple[str, dict[str, Option], str]]" = {
    "create": ("ID", _BUNDLE, "create a container from a bundle, ready to be started"),
    "start": ("ID", {}, "execute the program of a created container"),
    "run": (
        "[ID] [-- CMD...]",
        {
            **_BUNDLE,
            "detach": ("d", "", "do not wait; without an ID, print the generated one"),
            "keep": ("", "", "do not delete the container when it ends"),
            "no-subreaper": ("", "", "do not reap the container's orphans"),
        },
        "create and start a container, wait for its end, delete it",
    ),
    "state": ("ID...", {}, "print the state of containers"),
    "wait": ("ID...", {}, "wait until containers end, print their exit statuses, exit with the first that is not 0"),
    "kill": ("ID... [SIGNAL]", {"all": ("a", "", "signal all processes of the container")}, "signal containers' inits"),
    "delete": (
        "ID...",
        {
            "force": ("f", "", "kill it first; no error if it does not exist"),
            "regex": ("r", "", "each ID is a regular expression: delete all containers whose id it matches anywhere"),
        },
        "delete containers",
    ),
    "exec": ("ID [CMD...]", _PROCESS, "execute another process in a container"),
    "pause": ("ID...", {}, "suspend all processes of containers"),
    "resume": ("ID...", {}, "resume all processes of containers"),
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
            "memory-reservation": ("", "SIZE", "soft limit under memory pressure"),
            "memory-swap": ("", "SIZE", "limit of memory and swap together"),
            "kernel-memory": ("", "SIZE", "ignored (for compatibility)"),
            "kernel-memory-tcp": ("", "SIZE", "limit of kernel memory for TCP buffers (cgroup v1)"),
            "l3-cache-schema": ("", "LINE", "share of the L3 caches, like L3:0=f;1=ff (Intel RDT)"),
            "mem-bw-schema": ("", "LINE", "memory bandwidth, like MB:0=50 (Intel RDT)"),
            "pids-limit": ("", "N", "maximum number of processes, -1 for no limit"),
            "device-add": ("", "RULE...", "allow devices, like 'c 10:200 rwm'"),
            "device-remove": ("", "RULE...", "deny devices; applied before --device-add"),
        },
        "change the limits of a container",
    ),
    "events": (
        "ID",
        {
            "interval": ("", "DURATION", "time between two statistics, default: 5s"),
            "stats": ("", "", "print the statistics once, and exit"),
        },
        "print a container's resource usage, and when it runs out of memory, as JSON",
    ),
    "stats": (
        "[ID...]",
        {
            "no-stream": ("", "", "print once, and exit"),
            "format": ("f", "table|json", "output format; JSON has one object per line"),
        },
        "show the resource usage of containers, live",
    ),
    "mount": (
        "ID SOURCE DEST",
        {
            "options": (
                "o",
                "OPTIONS...",
                "mount options as in config.json, separated by commas, like rbind,ro,nosuid",
            )
        },
        "bind a file or directory of the host into a running container",
    ),
    "umount": ("ID DEST", {}, "remove a mount that `pyrun mount` has made"),
    "checkpoint": (
        "ID",
        {
            **_CRIU,
            "parent-path": ("", "DIR", "an earlier --pre-dump, relative to --image-path: write only the difference"),
            "pre-dump": (
                "",
                "",
                "write memory only, as the parent of a later image, and leave the container running",
            ),
            "leave-running": ("", "", "leave the container running, instead of deleting it"),
            "page-server": ("", "ADDRESS:PORT", "send the memory to a page server; with --lazy-pages, be one"),
            "status-fd": ("", "N", "descriptor to write a byte to when the page server listens"),
            "tcp-skip-in-flight": ("", "", "skip TCP connections that are not established yet"),
            "link-remap": ("", "", "relink deleted open files"),
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
            "no-subreaper": ("", "", "do not reap the container's orphans"),
            "no-pivot": ("", "", "refused: criu supports only pivot_root"),
            "tcp-close": ("", "", "close the TCP connections that were established"),
            "lsm-profile": ("", "TYPE:NAME", "security profile for its processes, of type apparmor or selinux"),
            "lsm-mount-context": ("", "LABEL", "SELinux label for its mounts"),
        },
        "restore a container from files that checkpoint has written, and wait for its end",
    ),
    "list": (
        "",
        {"format": ("f", "table|json", "output format"), "quiet": ("q", "", "print only the ids")},
        "list the containers",
    ),
    "ps": (
        "ID [PS-OPTIONS...]",
        {"format": ("f", "table|json", "output format")},
        "show the processes of a container with the host's ps",
    ),
    "spec": (
        "",
        {
            "bundle": ("b", "DIR", "directory to write config.json to, default: the current one"),
            "rootless": ("", "", "for a user without privileges"),
        },
        "write a default config.json",
    ),
    "validate": (
        "",
        {
            "bundle": ("b", "DIR", "directory of config.json, default: the current one"),
            "format": ("f", "text|json", "output format"),
        },
        "print all errors and warnings about a config.json, without running it",
    ),
    "explain": (
        "",
        {"bundle": ("b", "DIR", "directory of config.json, default: the current one")},
        "print the steps of create, in order, without doing them",
    ),
    "doctor": (
        "",
        {"format": ("f", "table|json", "output format")},
        "check whether this machine can run containers, and print what is missing and what helps",
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
    "log": ("", "FILE", "also write errors and warnings to this file"),
    "log-format": ("", "text|json", "format of the log"),
    "debug": ("", "", "log each step before it is done"),
    "systemd-cgroup": ("", "", "have systemd make the cgroups: linux.cgroupsPath is SLICE:PREFIX:NAME"),
    "cgroup-manager": ("", "cgroupfs|systemd|disabled", "how the cgroups are made, if at all"),
    "rootless": ("", "MODE", "ignored (detected automatically)"),
    "criu": ("", "PATH", "the program criu, default: the one in PATH"),
    "version": ("v", "", "print the version"),
    "help": ("h", "", "print this help"),
}


class Settings:
    """The values of the global options.

    root, root_given    the directory of the containers' states, and whether --root was given
    cgroup_manager      how the cgroups are made: cgroupfs, systemd or disabled
    criu                the path of criu, "" for the one in PATH
    """

    def __init__(self, root: str, root_given: bool, cgroup_manager: str, criu: str = "") -> None:
        self.root = root
        self.root_given = root_given
        self.cgroup_manager = cgroup_manager
        self.criu = criu


def check_verb(verb: str) -> None:
    """Raise UsageError if there is no such verb."""
    if verb not in VERBS:
        raise UsageError(f'"{verb}" is not a command of pyrun{did_you_mean(verb, VERBS) or ": see pyrun --help"}')


def parse(arguments: "list[str]", known: "dict[str, Option]", stop_early: bool) -> "tuple[dict[str, Any], list[str]]":
    """Return (options by keyword, other arguments). `stop_early` ends the options at the first other argument.

    As in Go's flag package: one dash or two, `--name value` or `--name=value`; "--" ends the options, and is kept.
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
            meant = ": it stands before the command" if given in GLOBAL else did_you_mean(given, known, "--")
            raise UsageError(f"flag provided but not defined: -{given}{meant or ': see --help'}")
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
    choices = takes.split("|")
    if len(choices) > 1 and value not in choices:
        what = "format option" if name == "format" else name  # runc's words
        known = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise UsageError(f'invalid {what} "{value}": {known}{did_you_mean(value, choices)}')
    if takes.endswith("..."):
        options.setdefault(keyword, []).append(value)
    elif name == "bundle" and not value:
        raise UsageError(f'invalid value "" for flag -{name}: expected a directory')
    elif takes:
        options[keyword] = value
    elif value in ("true", "false", "1", "0"):
        options[keyword] = value in ("true", "1")
    else:
        raise UsageError(f'invalid value "{value}" for flag -{name}: true or false')


def check_count(verb: str, usage: str, positional: "list[str]") -> None:
    """Raise UsageError if `usage` of `verb` takes more or fewer arguments than `positional` are."""
    words = usage.split()
    least = sum(1 for word in words if word.rstrip(".").replace("|", "").isalpha())
    most = len(positional) if "..." in usage else len(words)
    if len(positional) < least or len(positional) > most:
        exactly = "exactly" if least == most else "a minimum of" if len(positional) < least else "at most"
        count = most if len(positional) > most else least
        plural = "" if count == 1 else "s"
        raise UsageError(f'"pyrun {verb}" requires {exactly} {count} argument{plural}{usage and ": "}{usage}')
