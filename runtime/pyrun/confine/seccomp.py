"""linux.seccomp of config.json, compiled to a program for seccomp(2). Source: config-linux.md#seccomp.

The spec does not define what a profile means if several rules match. Here it means what libseccomp, as used by runc,
makes of it, because profiles are written for that:

- A rule whose action is the default action is ignored, and so is a name that an architecture does not have.
- A rule without conditions beats all rules with conditions; of several without conditions, the first counts.
- All conditions of a rule must hold; but if two of them are about the same argument, each condition is a separate rule.
- Of rules with conditions and different actions, the more specific one wins: see _specificity.
- The machine's own architecture is always in the filter, listed or not; a call of an architecture that is not in the
  filter kills the thread.
- Calls newer than the newest one that the profile names return ENOSYS, unless the default action lets calls pass: then
  a program that probes for a new call uses its fallback; EPERM would be taken for an error.
"""

from foundation.linux import os
from foundation.linux.syscalls import MACHINE
from foundation.node import UINT16, UINT64, shown
from pyrun.config.document import SECCOMP_RECEIVER, SECCOMP_STRICT
from pyrun.config.node import Node
from pyrun.confine import seccomp_bpf as bpf
from pyrun.confine.seccomp_bpf import EQUAL, GREATER, GREATER_OR_EQUAL
from pyrun.confine.seccomp_calls import ARM_PRIVATE, X32_BIT, multiplexed, numbers

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun.confine.seccomp_bpf import Condition, Rules, Verdict

# SECCOMP_RET_* of <linux/seccomp.h>
_KILL_THREAD = 0x00000000
_ERRNO = 0x00050000
_NOTIFY = 0x7FC00000
_TRACE = 0x7FF00000
_LOG = 0x7FFC0000
_ALLOW = 0x7FFF0000
ACTIONS = {
    "SCMP_ACT_ALLOW": _ALLOW,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_NOTIFY": _NOTIFY,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_TRAP": 0x00030000,
}
_EPERM = 1
_FEW = 12  # names that a line of the summary has room for
_ENOSYS = _ERRNO | 38

OPERATORS = {  # BPF has three tests; the other operators are their negations
    "SCMP_CMP_EQ": (EQUAL, False),
    "SCMP_CMP_GE": (GREATER_OR_EQUAL, False),
    "SCMP_CMP_GT": (GREATER, False),
    "SCMP_CMP_LE": (GREATER, True),
    "SCMP_CMP_LT": (GREATER_OR_EQUAL, True),
    "SCMP_CMP_MASKED_EQ": (EQUAL, False),
    "SCMP_CMP_NE": (EQUAL, True),
}

# AUDIT_ARCH_* of <linux/audit.h>. x32 is x86_64 with other numbers.
ARCHITECTURES = {
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_X32": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
}
# Profiles for all machines also name these. A kernel of x86_64 or aarch64 does not run their programs.
_ELSEWHERE = """
SCMP_ARCH_LOONGARCH64 SCMP_ARCH_M68K SCMP_ARCH_MIPS SCMP_ARCH_MIPS64 SCMP_ARCH_MIPS64N32 SCMP_ARCH_MIPSEL
SCMP_ARCH_MIPSEL64 SCMP_ARCH_MIPSEL64N32 SCMP_ARCH_PARISC SCMP_ARCH_PARISC64 SCMP_ARCH_PPC SCMP_ARCH_PPC64
SCMP_ARCH_PPC64LE SCMP_ARCH_RISCV64 SCMP_ARCH_S390 SCMP_ARCH_S390X SCMP_ARCH_SH SCMP_ARCH_SHEB
"""
KNOWN_ARCHITECTURES = (*ARCHITECTURES, *_ELSEWHERE.split())
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

# SECCOMP_FILTER_FLAG_* of <linux/seccomp.h>
_SPEC_ALLOW = 4
_NEW_LISTENER = 8
_WAIT_KILLABLE_RECV = 32
KNOWN_FLAGS = {
    # TSYNC loads the filter for all threads. It is left out: our process has one thread, and the kernel refuses TSYNC
    # together with a listener.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": _SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": _WAIT_KILLABLE_RECV,
}


class Filter:
    """The arguments of seccomp(2). With `notify` the call returns a descriptor for the agent at `listener_path`."""

    def __init__(
        self,
        program: bytes,
        rules: "list[_Rule]",
        default: int,
        flags: int,
        notify: bool,
        listener_path: str,
        listener_metadata: str,
    ) -> None:
        self.program = program
        self._rules = rules
        self._default = default
        self.flags = flags
        self.notify = notify
        self.listener_path = listener_path
        self.listener_metadata = listener_metadata

    def summary(self) -> "list[str]":
        """Return a line for each action, with the calls of the machine's own architecture that it applies to."""
        architecture = _NATIVE[MACHINE]
        known = numbers(architecture)
        verdicts = _verdicts(architecture, known, self._rules, self._default)
        lines: dict[str, list[str]] = {}
        for name, number in known.items():
            verdict = verdicts.get(number, self._default)
            what = _shown(verdict) if isinstance(verdict, int) else "by arguments"
            lines.setdefault(what, []).append(name)
        counted = sorted(lines.items(), key=lambda line: len(line[1]), reverse=True)
        return [f"{what}: {len(names)} call(s){_listed(names)}" for what, names in counted]


class _Rule:
    """`alternatives` are lists of conditions: the rule applies if all conditions of one list hold."""

    def __init__(self, json: Node) -> None:
        self.names = json.strings("names")
        if not self.names:
            raise json.error("names", "needs at least one system call")
        self.action = _action(json, "action", "errnoRet")
        conditions = [_condition(argument) for argument in json.objects("args")]
        several = len({index for index, *_ in conditions}) < len(conditions)
        self.alternatives = [[condition] for condition in conditions] if several else [sorted(conditions)]
        # The stub reports the number of the listener by write(2), before the agent has the listener and could answer a
        # notification. It then waits with read(2), which may cause one: by then the agent has the listener.
        if self.action == _NOTIFY and "write" in self.names:
            raise json.error("action", "SCMP_ACT_NOTIFY cannot be used for the write syscall")


def compile(json: Node, annotations: "Mapping[str, str]") -> "Filter | None":
    """Return the filter for `json`, the object linux.seccomp; None if it is empty, as in runc. Raises ConfigError.

    crun's annotations can name a receiver for the listener, and have unknown names of calls refused.

    The last filter is remembered: an engine that makes one before it forks has it in each child.
    """
    wanted = json.properties, annotations.get(SECCOMP_RECEIVER, ""), SECCOMP_STRICT in annotations
    if not _last or _last[0] != wanted:
        _last[:] = [wanted, _compile(json, annotations)]
    return _last[1]  # type: ignore[no-any-return]


_last: "list[Any]" = []  # what was compiled last: (profile, receiver, whether it is strict), and its filter


def _compile(json: Node, annotations: "Mapping[str, str]") -> "Filter | None":
    if not json.string("defaultAction", default="") and not json.objects("syscalls"):
        return None
    default = _action(json, "defaultAction", "defaultErrnoRet")
    if default == _NOTIFY:
        raise json.error("defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
    architectures = _architectures(json)
    rules = [_Rule(rule) for rule in json.objects("syscalls")]
    if SECCOMP_STRICT in annotations:
        _refuse_unknown_calls(json)
    notify = any(rule.action == _NOTIFY for rule in rules)
    flags = _flags(json, notify)
    path, metadata = _listener(json, notify, annotations.get(SECCOMP_RECEIVER, ""))
    program = _program(architectures, rules, default)
    if len(program) > bpf.MAXIMUM_LENGTH:
        raise json.error("syscalls", f"{len(program)} BPF instructions, the kernel takes {bpf.MAXIMUM_LENGTH}")
    return Filter(program.assemble(), rules, default, flags, notify, path, metadata)


def _shown(action: int) -> str:
    names = {value: name for name, value in reversed(ACTIONS.items())}
    number = action & 0xFFFF
    return names[action & ~0xFFFF] + (f"({os.strerror(number)})" if number else "")


def _listed(names: "list[str]") -> str:
    return f": {' '.join(names)}" if len(names) <= _FEW else ""


def _action(json: Node, name: str, errno_name: str) -> int:
    word = json.string(name)
    action = ACTIONS.get(word)
    if action is None:
        raise json.error(name, f"string {shown(word)} is not a valid action for seccomp")
    errno = json.integer_or_none(errno_name, UINT16)
    if action in (_ERRNO, _TRACE):
        return action | (_EPERM if errno is None else errno)
    if errno is not None:  # "When the action doesn't support an errno, the runtime MUST print and error and fail."
        raise json.error(errno_name, f"{word} returns no errno")
    return action


def _condition(json: Node) -> "Condition":
    index = json.integer("index", (0, 5))
    word = json.string("op")
    if word not in OPERATORS:
        raise json.error("op", f"string {shown(word)} is not a valid operator for seccomp")
    test, negated = OPERATORS[word]
    value = json.integer("value", UINT64)
    value_two = json.integer("valueTwo", UINT64, default=0)
    if word == "SCMP_CMP_MASKED_EQ":
        return index, test, negated, value, value & value_two
    return index, test, negated, UINT64[1], value


def _architectures(json: Node) -> "list[str]":
    """Return the architectures of the filter, the machine's own first, so that its calls are found fastest."""
    native = _NATIVE.get(MACHINE)
    if native is None:
        raise json.error("", f"seccomp is not supported on this machine ({MACHINE})")
    listed = json.strings("architectures")
    for i, name in enumerate(listed):
        if name not in KNOWN_ARCHITECTURES:
            raise json.error(f"architectures[{i}]", f"string {shown(name)} is not a valid arch for seccomp")
    return [name for name in dict.fromkeys([native, *listed]) if name in ARCHITECTURES]


def _flags(json: Node, notify: bool) -> int:
    listed = json.strings_or_none("flags")
    if listed is None:
        flags = _SPEC_ALLOW  # runc's default: without it, the kernel slows the process to mitigate Spectre v4
    else:
        flags = 0
        for i, name in enumerate(listed):
            if name not in KNOWN_FLAGS:
                raise json.error(f"flags[{i}]", f"seccomp flag {shown(name)} is not known to pyrun")
            flags |= KNOWN_FLAGS[name]
    if notify:
        return flags | _NEW_LISTENER
    return flags & ~_WAIT_KILLABLE_RECV  # seccomp(2): EINVAL without a listener


def _refuse_unknown_calls(json: Node) -> None:
    known = {name for architecture in ARCHITECTURES for name in numbers(architecture)} | set(multiplexed())
    for rule in json.objects("syscalls"):
        for i, name in enumerate(rule.strings("names")):
            if name not in known:
                raise rule.error(f"names[{i}]", f"invalid seccomp syscall {shown(name)}")


def _listener(json: Node, notify: bool, receiver: str) -> "tuple[str, str]":
    path = json.string("listenerPath", default="") or receiver
    metadata = json.string("listenerMetadata", default="")
    if metadata and not path:
        raise json.error("listenerMetadata", "needs a listenerPath")
    if notify and not path:
        raise json.error("listenerPath", "is required by SCMP_ACT_NOTIFY")
    return path, metadata


def _program(architectures: "list[str]", rules: "list[_Rule]", default: int) -> bpf.Program:
    program = bpf.Program()
    audited = list(dict.fromkeys(ARCHITECTURES[name] for name in architectures))
    tables = []
    for audit in reversed(audited):  # the program is written backwards, so the machine's own comes first in it
        names = [name for name in architectures if ARCHITECTURES[name] == audit]
        tables.append((audit, _table(program, names, rules, default)))
    bpf.dispatch(program, tables[::-1], _KILL_THREAD)
    return program


def _table(program: bpf.Program, names: "list[str]", rules: "list[_Rule]", default: int) -> int:
    """Add the search among the calls of one machine to the program, and return its label."""
    if names[0] in ("SCMP_ARCH_X86", "SCMP_ARCH_ARM"):
        return bpf.search(program, _ranges(names[0], 0, rules, default), 0)
    if names[0] == "SCMP_ARCH_AARCH64":
        return bpf.search(program, _ranges(names[0], 0, rules, default), X32_BIT)
    ranges: list[tuple[int, Verdict]] = [(0, _KILL_THREAD)]
    if "SCMP_ARCH_X86_64" in names:
        ranges = _ranges("SCMP_ARCH_X86_64", 0, rules, default)
    if "SCMP_ARCH_X32" in names:
        ranges += _ranges("SCMP_ARCH_X32", X32_BIT, rules, default)
    else:
        ranges += [(X32_BIT, _KILL_THREAD), (bpf.WORD, default)]  # a tracer sets -1 to skip a call
    return bpf.search(program, ranges, X32_BIT)


def _ranges(architecture: str, first: int, rules: "list[_Rule]", default: int) -> "list[tuple[int, Verdict]]":
    """Return (first number, verdict) of each range of call numbers of `architecture`, in order, starting at `first`."""
    known = numbers(architecture)
    verdicts = _verdicts(architecture, known, rules, default)
    newest = _newest(known, rules)
    passes = default in (_ALLOW, _LOG) or default & ~0xFFFF == _TRACE
    beyond = default if passes or newest < 0 else _ENOSYS
    if newest >= 0:
        verdicts.setdefault(newest, default)
    ranges: list[tuple[int, Verdict]] = []
    following = first
    for number in sorted(verdicts):
        if number > following:
            ranges.append((following, default if following < newest else beyond))
        if not ranges or ranges[-1][1] != verdicts[number]:
            ranges.append((number, verdicts[number]))
        following = number + 1
    ranges.append((following, beyond))
    return ranges


def _newest(known: "dict[str, int]", rules: "list[_Rule]") -> int:
    """Return the greatest number that any rule names, -1 if no rule names a call of the architecture."""
    # Calls that only arm has are in a separate range, which says nothing about the age of the profile.
    private = range(ARM_PRIVATE, ARM_PRIVATE + 0x10000)
    found = {known[name] for rule in rules for name in rule.names if name in known}
    return max((number for number in found if number not in private), default=-1)


def _verdicts(architecture: str, known: "dict[str, int]", rules: "list[_Rule]", default: int) -> "dict[int, Verdict]":
    """Return, by number of the call, its action or the rules that check its arguments."""
    verdicts: dict[int, Verdict] = {}
    conditional: dict[int, Rules] = {}
    also = multiplexed() if architecture == "SCMP_ARCH_X86" else {}
    compared = UINT64[1] if architecture in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64") else bpf.WORD
    for rule in rules:
        if rule.action == default:
            continue
        # A condition whose mask leaves no bit to compare always holds, so it is dropped.
        alternatives = [[one for one in conditions if one[3] & compared] for conditions in rule.alternatives]
        named = [known[name] for name in rule.names if name in known]
        if [] in alternatives:
            for number in named:
                verdicts.setdefault(number, rule.action)
        else:
            for number in named:
                conditional.setdefault(number, []).extend((one, rule.action) for one in alternatives)
        for name in rule.names if also else ():
            if name in also:
                number, which = also[name]
                # The arguments of the call itself are in memory, where a filter cannot read them.
                selects = (0, EQUAL, False, UINT64[1], which)
                conditional.setdefault(number, []).extend(
                    ([selects] + [other for other in one if other[0] != 0], rule.action) for one in alternatives
                )
    for number, decisive in conditional.items():
        if len({action for _, action in decisive}) > 1:
            decisive.sort(key=lambda rule: _specificity(rule[0], compared))
        verdicts.setdefault(number, [*decisive, ([], default)])
    return verdicts


def _specificity(conditions: "list[Condition]", compared: int) -> "list[tuple[int, int, int]]":
    """Return a sort key that puts more specific rules first, as libseccomp does: a later argument before an earlier
    one, equality before an upper bound before a lower bound, the tighter bound before the looser one."""
    key = []
    for index, test, negated, _, value in conditions:
        upper_bound = negated and test != EQUAL
        rank = 0 if test == EQUAL else 1 if upper_bound else 2
        bound = value & compared
        key.append((-index, rank, bound if upper_bound else -bound))
    return key
