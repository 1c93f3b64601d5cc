"""Makes the bundle's config.json from the image's config.

Sources: image-spec, conversion.md; runtime-spec 1.0, config.md. What the specification leaves open is docker's choice
(capabilities, seccomp profile, masked paths, mounts), so that images run as they do there. An image is hostile: it may
choose what runs inside the container, and nothing outside.
"""

from foundation.linux import os, whole_file
from pyfetch.bundle.seccomp import default_profile
from pyfetch.bundle.users import User
from pyfetch.errors import UsageError, VerificationError
from pyfetch.image.document import Document
from pyfetch.image.manifest import ImageConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, object]

OCI_VERSION = "1.0.2"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ANNOTATION = "org.opencontainers.image."
_MOST = 1 << 20  # bytes that are read of a file of the host

# docker's default set. None is inheritable: that would make the image's file capabilities effective for every user
# (CVE-2022-24769).
_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP "
        "SETUID SYS_CHROOT"
    ).split()
]
MASKED_PATHS = [
    *(
        f"/proc/{name}"
        for name in "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list".split()
    ),
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]
READONLY_PATHS = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")]

# Labels become annotations, and runtimes and engines act on some of these: an image must not choose hooks, devices or
# systemd properties on the host (CVE-2026-53488 and relatives). These are the potentiallyUnsafeConfigAnnotations of
# the runtimes' `features`, and what engines, gVisor, Kata and crun's handlers document.
_ACTING_LABELS = (
    "run.oci.",
    "run.pyrun.",
    "pyrun.",
    "module.wasm.",
    "dev.gvisor.",
    "com.github.containers.virtcontainers.",
    "org.systemd.property.",
    "org.criu.",
    "krun.",
    "io.kubernetes.",
    "io.cri-o.",
    "io.containerd.",
    "io.katacontainers.",
    "io.podman.",
    "cdi.k8s.io/",
    "org.opencontainers.runtime.",
    "bundle",
)


class Settings:
    """The command line's options for the container."""

    def __init__(self) -> None:
        self.args: list[str] = []
        self.entrypoint: str | None = None
        self.env: list[str] = []
        self.user = ""
        self.workdir = ""
        self.hostname = ""
        self.network = "none"
        self.read_only = False
        self.tty = False

    def any(self) -> bool:
        """Return whether any option differs from its default."""
        return vars(self) != vars(Settings())


class IdMappings:
    """How ids in a rootless container map to the host's: lists of (container, host, size). Empty for root."""

    def __init__(self, uids: "list[tuple[int, int, int]]", gids: "list[tuple[int, int, int]]") -> None:
        self.uids = uids
        self.gids = gids

    @property
    def single(self) -> bool:
        """Whether one id stands for all ids of the image."""
        return len(self.uids) == 1


def runtime_config(
    image: ImageConfig, settings: Settings, user: User, mappings: IdMappings, warn: "Callable[[str], None]"
) -> "Json":
    """Return config.json for a bundle whose root file system is in `rootfs`, beside the files of extra_files."""
    rootless = bool(mappings.uids)
    config: Json = {
        "ociVersion": OCI_VERSION,
        "process": _process(image.settings, settings, user, rootless, warn),
        "root": {"path": "rootfs", "readonly": settings.read_only},
        "hostname": settings.hostname,
        "mounts": _mounts(image.settings, settings, rootless),
        "annotations": annotations(image, warn),
        "linux": _linux(settings, mappings),
    }
    return config


def _process(image: Document, settings: Settings, user: User, rootless: bool, warn: "Callable[[str], None]") -> "Json":
    json_user: Json = {"uid": user.uid, "gid": user.gid}
    if not rootless:
        # Include the primary group: otherwise a program could drop it by setgid(2), and with it the denials of negative
        # group permissions (CVE-2022-36109).
        json_user["additionalGids"] = sorted({user.gid, *user.groups})
    return {
        "terminal": settings.tty,
        "user": json_user,
        "args": _args(image, settings),
        "env": _environment(image, settings, warn),
        "cwd": _cwd(image, settings),
        "capabilities": {kind: _CAPABILITIES for kind in ("bounding", "effective", "permitted")},
        "noNewPrivileges": False,
    }


def _args(image: Document, settings: Settings) -> "list[str]":
    """Return the command. As with docker, arguments replace Cmd, --entrypoint drops Cmd, [""] means none."""
    if settings.entrypoint is None:
        entrypoint = image.strings("Entrypoint")
        args = (entrypoint if entrypoint != [""] else []) + (settings.args or image.strings("Cmd"))
    else:
        args = [settings.entrypoint] * bool(settings.entrypoint) + settings.args
    if settings.entrypoint == "" and not args:
        raise UsageError('--entrypoint "" leaves no command: give one after `--`')
    if not args or not args[0]:
        raise UsageError("no command specified: the image names none; give one after `--`")
    return args


def _environment(image: Document, settings: Settings, warn: "Callable[[str], None]") -> "list[str]":
    ours = [_PATH, f"HOSTNAME={settings.hostname}", *(["TERM=xterm"] if settings.tty else [])]
    variables = {}
    for entry in [*ours, *image.strings("Env"), *settings.env]:
        name, equals, _ = entry.partition("=")
        if equals and not name:
            raise VerificationError(f"the image's environment: {entry[:80]!r} is not NAME=VALUE")
        if equals:
            variables[name] = entry
        else:
            warn(f"left out {entry[:80]!r} of the image's environment: it is not NAME=VALUE")
    return list(variables.values())


def _cwd(image: Document, settings: Settings) -> str:
    cwd = settings.workdir or image.string("WorkingDir") or "/"
    # CVE-2024-21626: a path such as /proc/self/fd/7 could make a directory of the host the working directory.
    if not cwd.startswith("/") or "/proc/" in f"{os.path.normpath(cwd)}/":
        raise VerificationError(f"working directory {cwd[:200]!r}: expected an absolute path outside of /proc")
    return cwd


def annotations(image: ImageConfig, warn: "Callable[[str], None]") -> "dict[str, str]":
    """Return the annotations (conversion.md, "Annotation Fields"): labels override derived values."""
    document, settings = image.document, image.settings
    derived = {
        "os": document.string("os"),
        "architecture": document.string("architecture"),
        "variant": document.string("variant"),
        "os.version": document.string("os.version"),
        "os.features": ",".join(document.strings("os.features")),
        "author": document.string("author"),
        "created": document.string("created"),
        "stopSignal": settings.string("StopSignal"),
        "exposedPorts": ",".join(sorted(settings.keys("ExposedPorts"))),
    }
    found = {_ANNOTATION + key: value for key, value in derived.items() if value}
    for key, value in settings.text_map("Labels").items():
        if not key or key.startswith(_ACTING_LABELS):
            warn(f"left out the label {key[:100]!r}: a runtime might act on it")
        else:
            found[key] = value
    return found


def _mounts(image: Document, settings: Settings, rootless: bool) -> "list[Json]":
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    mounts = [
        _mount("/proc", "proc", "proc", "nosuid noexec nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        # Group 5 (tty) has no mapping in a container with few ids.
        _mount("/dev/pts", "devpts", "devpts", " ".join(devpts[:-1] if rootless else devpts)),
        _mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ]
    if rootless and settings.network == "host":  # a sysfs must be mounted by the owner of the network namespace
        mounts[3:5] = [_mount("/sys", "none", "/sys", "rbind nosuid noexec nodev ro")]
    elif rootless:
        del mounts[4]
    if settings.read_only:
        mounts += [_mount("/tmp", "tmpfs", "tmpfs", "nosuid nodev mode=1777")]
        _check_volumes(image)
        mounts += [_mount(path, "tmpfs", "tmpfs", "nosuid nodev tmpcopyup") for path in volumes(image)]
    names = ["hosts", "hostname"]
    if settings.network == "host":
        mounts.append(_mount("/etc/resolv.conf", "bind", "/etc/resolv.conf", "rbind ro nosuid noexec nodev"))
    else:
        names.append("resolv.conf")
    mounts += [_mount(f"/etc/{name}", "bind", name, "rbind nosuid noexec nodev") for name in names]
    return mounts


def _mount(destination: str, kind: str, source: str, options: str) -> "Json":
    return {"destination": destination, "type": kind, "source": source, "options": options.split()}


def volumes(image: Document) -> "list[str]":
    """Return the image's volumes. They are folders of the container's own root, unless that is read-only."""
    return [os.path.normpath(f"/{path.lstrip('/')}") for path in image.keys("Volumes")]


def _check_volumes(image: Document) -> None:
    for path, normal in zip(image.keys("Volumes"), volumes(image)):
        if ".." in path.split("/") or normal == "/":
            raise VerificationError(f"volume {path[:200]!r}: expected an absolute path inside the container")
        if normal.split("/")[1] in ("proc", "sys", "dev"):
            raise VerificationError(f"volume {path[:200]!r}: would cover what the kernel shows there")


def _linux(settings: Settings, mappings: IdMappings) -> "Json":
    namespaces = ["pid", "ipc", "uts", "mount", "cgroup"]
    if settings.network == "none":
        namespaces.append("network")
    linux: Json = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READONLY_PATHS,
        "seccomp": default_profile(),
    }
    if mappings.uids:
        linux["namespaces"] = [{"type": kind} for kind in [*namespaces, "user"]]
        linux["uidMappings"] = _id_mappings(mappings.uids)
        linux["gidMappings"] = _id_mappings(mappings.gids)
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return linux


def _id_mappings(mappings: "list[tuple[int, int, int]]") -> "list[Json]":
    return [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in mappings]


def extra_files(settings: Settings) -> "dict[str, str]":
    """Return the bundle's files that are mounted over the image's, {name: content}."""
    files = hosts_and_hostname(settings)
    if settings.network != "host":
        files["resolv.conf"] = name_servers()
    return files


def hosts_and_hostname(settings: Settings) -> "dict[str, str]":
    """Return /etc/hosts and /etc/hostname, {name: content}. With the host's network, the host's own names are known."""
    name = settings.hostname
    hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{name}\n"
    files = {"hosts": hosts, "hostname": f"{name}\n"}
    if settings.network == "host":
        files["hosts"] = _of_host("/etc/hosts") or hosts
    return files


def name_servers() -> str:
    """Return resolv.conf for a network namespace of its own, for the time when that is connected.

    As with docker, it is the host's without the name servers on loopback, which the container cannot reach. If that is
    the file of systemd-resolved's stub, the file with its upstream servers is used.
    """
    text = _of_host("/etc/resolv.conf")
    if "nameserver 127.0.0.53" in text:
        text = _of_host("/run/systemd/resolve/resolv.conf") or text
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("nameserver 127.", "nameserver ::1")))


def _of_host(path: str) -> str:
    try:
        return os.fsdecode(whole_file.read(path, _MOST)[:_MOST])
    except OSError:
        return ""  # the host has no such file
