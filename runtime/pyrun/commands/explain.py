"""pyrun explain: the steps of `create`, in order, for people.

This module does not interpret config.json: it prints the plan that `create` carries out, and the objects in it. The
order is that of the picture in launch/create.py.
"""

import _stat as stat

from foundation.errors import printable
from foundation.linux import os
from foundation.linux.capability import CAPABILITIES
from foundation.linux.prctl import capget
from pyrun.cgroup import device_rules, join
from pyrun.cgroup.resources import plan as planned_limits
from pyrun.launch.plan import Plan, Request
from pyrun.namespaces.namespaces import FLAGS
from pyrun.stub import init_rows
from pyrun.stub.entry import Entry
from pyrun.stub.execve import Program
from pyrun.stub.privileges import capability_sets
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.config.linux import IDMapping
    from pyrun.options import Settings
    from pyrun.rootfs.planned_mount import PlannedMount
    from pyrun.stub.table import Row

_ID = "ID"  # stands for the container's id
_CALL_WIDTH = 48


def run(settings: "Settings", bundle: str = ".") -> None:
    plan = Plan(Request(settings.root, _ID, bundle, detach=False))
    print(f"pyrun create --bundle {printable(plan.bundle)} {_ID} would, in this order:")
    for title, tell in _SECTIONS:
        lines = list(tell(plan))
        if lines:
            print("\n".join(["", title, *(f"    {printable(line)}" for line in lines)]))


def _cgroups(plan: Plan) -> "Iterator[str]":
    yield from plan.cgroup.directories


def _namespaces(plan: Plan) -> "Iterator[str]":
    names = {flag: name for name, flag in FLAGS.items()}
    for flag, fd in plan.namespaces.joined:
        yield f"join  {names[flag]}: {os.readlink(f'/proc/self/fd/{fd}')}"
    for namespace in plan.config.linux.namespaces:
        if not namespace.path:
            yield f"new   {namespace.type}"
    shared = [name for name in FLAGS if plan.config.linux.namespace(name) is None]
    if shared:
        yield f"share {' '.join(shared)} with the host"
    for clock, (seconds, nanoseconds) in plan.namespaces.time_offsets.items():
        yield f"{clock} clock: {seconds} s {nanoseconds} ns ahead"


def _ids(plan: Plan) -> "Iterator[str]":
    linux = plan.config.linux
    if linux.makes("user"):
        yield from _mappings("uid", linux.uid_mappings)
        yield from _mappings("gid", linux.gid_mappings)
    if plan.process.oom_score_adj is not None:
        yield f"oom_score_adj {plan.process.oom_score_adj}"


def _mappings(kind: str, mappings: "list[IDMapping]") -> "Iterator[str]":
    for mapping in mappings:
        first, on_host, size = mapping.container_id, mapping.host_id, mapping.size
        yield f"{kind} {first} to {first + size - 1} are the host's {on_host} to {on_host + size - 1}"


def _net_devices(plan: Plan) -> "Iterator[str]":
    for name, new_name in plan.config.linux.net_devices.items():
        yield f"{name} becomes {new_name}"


def _class_of_service(plan: Plan) -> "Iterator[str]":
    service = plan.class_of_service
    if service:
        yield from (f"make {directory}" for directory in service.made)
        yield from (f"{service.directories[0]}/schemata = {line}" for line in service.schemata)
        yield from (f"{directory}/tasks" for directory in service.directories)


def _limits(plan: Plan) -> "Iterator[str]":
    resources = plan.config.linux.resources
    for _, controller, settings in planned_limits(plan.cgroup, resources):
        for setting in settings:
            yield f"{controller.path(setting.file)} = {setting.value}"
    for rule in device_rules.in_force(resources):
        yield f"{'allow' if rule.allow else 'deny '} device {rule}"


def _mounts(plan: Plan) -> "Iterator[str]":
    propagation = plan.config.linux.rootfs_propagation
    if not plan.root.own_mounts:
        yield f"on the host, in {plan.root.path} mounted over itself, until the container is deleted"
    yield f"{plan.root.path} is the root{f', {propagation}' if propagation else ''}"
    for mount in plan.root.mounts:
        yield f"mount {_mount(mount)}"


def _mount(mount: "PlannedMount") -> str:
    options = mount.options
    what = f"{mount.type} {mount.source}".rstrip()
    if mount.is_bind:
        what = f"{'rbind' if options.bind else 'bind'} {mount.source}"
    words = [f"{what} at {mount.destination}", *options.names()]
    if mount.is_mapped:
        words.append("with mapped ids")
    if options.remounts:
        words.append("of the existing mount")
    if options.copies_symlink:
        words.append("as a copy of the source if that is a symlink")
    if not options.follows_source:
        words.append("without following the source")
    if options.copies_up:
        words.append("with a copy of the image's directory")
    if mount.label:
        words.append(f"labelled {mount.label}")
    return ", ".join(words)


def _devices(plan: Plan) -> "Iterator[str]":
    if plan.root.makes_devices:
        for node in plan.root.nodes:
            number = f"{os.major(node.number)}:{os.minor(node.number)}"
            yield f"{node.path} {stat.filemode(node.mode)} {number}, of {node.uid}:{node.gid}"
        for path, target in plan.root.links.items():
            yield f"{path} -> {target}"
    if plan.process.terminal:
        yield "/dev/console: a terminal of the container's devpts, and its standard streams"


def _early_hooks(plan: Plan) -> "Iterator[str]":
    yield from _hooks(plan, "prestart", "createRuntime", "createContainer")


def _late_hooks(plan: Plan) -> "Iterator[str]":
    yield from _hooks(plan, "startContainer", "poststart", "poststop")


def _hooks(plan: Plan, *kinds: str) -> "Iterator[str]":
    for kind in kinds:
        for hook in plan.config.hooks[kind]:
            limit = f", at most {hook.timeout} s" if hook.timeout else ""
            yield f"{kind}: {' '.join([hook.path, *hook.args[1:]])}{limit}"


def _names(plan: Plan) -> "Iterator[str]":
    config = plan.config
    if config.hostname:
        yield f"hostname {config.hostname}"
    if config.domainname:
        yield f"domainname {config.domainname}"
    for name, value in config.linux.sysctl.items():
        yield f"sysctl {name} = {value}"


def _masks(plan: Plan) -> "Iterator[str]":
    linux = plan.config.linux
    for path in linux.readonly_paths:
        yield f"read-only {path}"
    for path in linux.masked_paths:
        yield f"hide      {path}"
    if plan.config.root.readonly:
        yield "read-only /"
    yield "pivot_root" if plan.root.own_mounts else "chroot"


def _process(plan: Plan) -> "Iterator[str]":
    process = plan.process
    yield f"{' '.join(process.args)}, in {process.cwd}, with {len(process.env)} environment variables"
    groups = " ".join(map(str, process.user.additional_gids))
    yield f"uid {process.user.uid}, gid {process.user.gid}{f', groups {groups}' if groups else ''}"
    for kind, bits in capability_sets(process, capget()[1]).items():
        names = [name.removeprefix("CAP_") for number, name in enumerate(CAPABILITIES) if bits >> number & 1]
        yield f"{kind} capabilities: {' '.join(names) or 'none'}"
    for rlimit in process.rlimits:
        yield f"{rlimit.type} {rlimit.soft}, at most {rlimit.hard}"


def _filter(plan: Plan) -> "Iterator[str]":
    filter_ = plan.confinement.filter
    if filter_:
        yield f"{len(filter_.program) // 8} BPF instructions"
        yield from filter_.summary()


def _landlock(plan: Plan) -> "Iterator[str]":
    if plan.confinement.rules:
        yield from plan.confinement.rules.wanted.summary()


def _stub(plan: Plan) -> "Iterator[str]":
    table = _table(plan)
    for row, times in _grouped(table):
        label = row.label if row.label != row.call else ""
        count = f" ({times} of these)" if times > 1 else ""
        yield f"{table.shown(row).ljust(_CALL_WIDTH)}  {label}{count}".rstrip()


def _table(plan: Plan) -> "Table":
    """Return the table as create compiles it, except for the program, which create looks up in the container."""
    process, late = plan.process, plan.namespaces
    environment = [os.fsencode(entry) for entry in process.env]
    program = Program([os.fsencode(process.args[0])], [os.fsencode(argument) for argument in process.args], environment)
    plan.confinement.open(plan.config.linux.namespace("user") is not None)
    joins = len(join.files(plan.cgroup, v2=False)) if late.entered_by_child else plan.cgroup.memory_joins
    own = [0, 1, 2, *plan.request.preserved.numbers, *plan.confinement.descriptors(), late.cgroup_namespace]
    report, gate, *joined = [fd for fd in range(len(own) + 2 + joins) if fd not in own][: 2 + joins]
    entry = Entry(late.entered_by_child, -1, joined, late.makes_cgroup, late.cgroup_namespace)
    table = Table(report, [*own, gate, *joined])
    init_rows.create(table, gate, entry, process, program, plan.confinement, plan.request.keyring, plan.streams)
    return table


def _grouped(table: "Table") -> "Iterator[tuple[Row, int]]":
    """Yield each row, with the number of consecutive prctl(2) rows that have the same label."""
    rows = list(table.rows)
    while rows:
        row, times = rows.pop(0), 1
        while rows and rows[0].label == row.label and rows[0].call == row.call == "prctl":
            rows.pop(0)
            times += 1
        yield row, times


_SECTIONS = (
    ("make cgroups", _cgroups),
    ("enter namespaces", _namespaces),
    ("map ids", _ids),
    ("move network interfaces", _net_devices),
    ("limit resources", _limits),
    ("join a class of service", _class_of_service),
    ("mount", _mounts),
    ("make devices", _devices),
    ("run hooks", _early_hooks),
    ("set names and kernel parameters", _names),
    ("hide and protect paths, and change the root", _masks),
    ("prepare the program", _process),
    ("carry out the stub's table, which waits for `pyrun start` at accept4", _stub),
    ("restrict it there by Landlock", _landlock),
    ("load the seccomp filter there", _filter),
    ("run hooks at start, after start, and at delete", _late_hooks),
)
