"""linux.seccomp of config.json, compiled to a program for seccomp(2). Source: config-linux.md#seccomp.

The spec leaves open what a profile means where its rules meet. Here it means what libseccomp, as runc drives it, makes
of it, for profiles are written against that:

- A rule whose action is the default action is no rule. A name that an architecture does not have is no rule there.
- A rule without conditions beats all that have some; of several without, the first counts.
- The conditions of a rule must all hold; but where two of them are about the same argument, each is a rule of its own.
- Of rules with conditions and different actions, the one that says more wins: see _specificity.
- The machine's own architecture is always in the filter, listed or not; a call of an architecture that is not in the
  filter kills the thread.
- Calls newer than the newest one that the profile names give ENOSYS, unless the default action lets calls pass: a
  program that probes for a new call then takes its fallback, which EPERM would keep it from.
"""

import os

from pyrun.confine import seccomp_bpf as bpf
from pyrun.confine.seccomp_bpf import EQUAL, GREATER, GREATER_OR_EQUAL
from pyrun.confine.seccomp_calls import ARM_PRIVATE, X32_BIT, multiplexed, numbers
from pyrun.linux.syscalls import MACHINE
from pyrun.spec.node import UINT16, UINT64, Node

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
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

OPERATORS = {  # BPF knows three tests; the others are their negations
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
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

# SECCOMP_FILTER_FLAG_* of <linux/seccomp.h>
_SPEC_ALLOW = 4
_NEW_LISTENER = 8
_WAIT_KILLABLE_RECV = 32
KNOWN_FLAGS = {
    # The same filter for all threads: the process that loads ours has one, and with a listener the kernel refuses it.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": _SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": _WAIT_KILLABLE_RECV,
}


class Filter:
    """What seccomp(2) needs. With `notify` it returns a descriptor, which belongs to who listens at `listener_path`."""

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
        """Return what becomes of which calls of the machine's own architecture, a line each."""
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
    """`alternatives` are lists of conditions: the rule holds where all conditions of one of them do."""

    def __init__(self, json: Node) -> None:
        self.names = json.strings("names")
        if not self.names:
            raise json.error("names", "needs at least one system call")
        self.action = _action(json, "action", "errnoRet")
        conditions = [_condition(argument) for argument in json.objects("args")]
        several = len({index for index, *_ in conditions}) < len(conditions)
        self.alternatives = [[condition] for condition in conditions] if several else [sorted(conditions)]
        # As in runc: the listener is handed over by these calls, which cannot wait for who does not have it yet.
        for call in ("read", "write"):
            if self.action == _NOTIFY and call in self.names:
                raise json.error("action", f"SCMP_ACT_NOTIFY cannot be used for the {call} system call")


def compile(json: Node) -> "Filter | None":
    """Return the filter that `json`, the object linux.seccomp, describes; None where it is empty, as runc has it."""
    if not json.string("defaultAction", default="") and not json.objects("syscalls"):
        return None
    default = _action(json, "defaultAction", "defaultErrnoRet")
    if default == _NOTIFY:
        raise json.error("defaultAction", "SCMP_ACT_NOTIFY cannot be the default")
    architectures = _architectures(json)
    rules = [_Rule(rule) for rule in json.objects("syscalls")]
    notify = any(rule.action == _NOTIFY for rule in rules)
    flags = _flags(json, notify)
    path, metadata = _listener(json, notify)
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
        raise json.error(name, f'unknown action "{word}"')
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
        raise json.error("op", f'unknown operator "{word}"')
    test, negated = OPERATORS[word]
    value = json.integer("value", UINT64)
    value_two = json.integer("valueTwo", UINT64, default=0)
    if word == "SCMP_CMP_MASKED_EQ":
        return index, test, negated, value, value & value_two
    return index, test, negated, UINT64[1], value


def _architectures(json: Node) -> "list[str]":
    """Return the architectures of the filter, the machine's own first: its calls shall be found fastest."""
    native = _NATIVE.get(MACHINE)
    if native is None:
        raise json.error("", f"seccomp is not supported on this machine ({MACHINE})")
    listed = json.strings("architectures")
    for i, name in enumerate(listed):
        if name not in ARCHITECTURES:
            supported = ", ".join(ARCHITECTURES)
            raise json.error(f"architectures[{i}]", f'"{name}" is not supported (supported: {supported})')
    return list(dict.fromkeys([native, *listed]))


def _flags(json: Node, notify: bool) -> int:
    listed = json.strings_or_none("flags")
    if listed is None:
        flags = _SPEC_ALLOW  # runc's default: without it, the kernel slows the process to mitigate Spectre v4
    else:
        flags = 0
        for i, name in enumerate(listed):
            if name not in KNOWN_FLAGS:
                raise json.error(f"flags[{i}]", f'unknown flag "{name}"')
            flags |= KNOWN_FLAGS[name]
    if notify:
        return flags | _NEW_LISTENER
    return flags & ~_WAIT_KILLABLE_RECV  # seccomp(2): EINVAL without a listener


def _listener(json: Node, notify: bool) -> "tuple[str, str]":
    path = json.string("listenerPath", default="")
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
    for audit in reversed(audited):  # the machine's own comes last, next to the beginning of the program
        names = [name for name in architectures if ARCHITECTURES[name] == audit]
        tables.append((audit, _table(program, names, rules, default)))
    bpf.dispatch(program, tables[::-1], _KILL_THREAD)
    return program


def _table(program: bpf.Program, names: "list[str]", rules: "list[_Rule]", default: int) -> int:
    """Put the search through the calls of one machine into the program and return its label."""
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
        ranges += [(X32_BIT, _KILL_THREAD), (bpf.WORD, default)]  # -1 is the call that a tracer has told to be skipped
    return bpf.search(program, ranges, X32_BIT)


def _ranges(architecture: str, first: int, rules: "list[_Rule]", default: int) -> "list[tuple[int, Verdict]]":
    """Return where in the numbers of `architecture`, from `first` on, which verdict begins."""
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
    """Return the greatest number that any rule names, -1 where none names a call of the architecture."""
    # Calls that only arm has are numbered apart, and tell nothing of how new the profile is.
    private = range(ARM_PRIVATE, ARM_PRIVATE + 0x10000)
    found = {known[name] for rule in rules for name in rule.names if name in known}
    return max((number for number in found if number not in private), default=-1)


def _verdicts(architecture: str, known: "dict[str, int]", rules: "list[_Rule]", default: int) -> "dict[int, Verdict]":
    """Return, by the number of the call, either its action or the rules that decide by its arguments."""
    verdicts: dict[int, Verdict] = {}
    conditional: dict[int, Rules] = {}
    also = multiplexed() if architecture == "SCMP_ARCH_X86" else {}
    compared = UINT64[1] if architecture in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64") else bpf.WORD
    for rule in rules:
        if rule.action == default:
            continue
        # A mask that leaves nothing to compare is no condition.
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
                # The arguments of the call itself lie in memory, where no filter can see them.
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
    """Order rules by how much they say, as libseccomp does: a later argument before an earlier one, equality before
    an upper bound before a lower bound, the tighter bound before the looser one."""
    key = []
    for index, test, negated, _, value in conditions:
        upper_bound = negated and test != EQUAL
        rank = 0 if test == EQUAL else 1 if upper_bound else 2
        bound = value & compared
        key.append((-index, rank, bound if upper_bound else -bound))
    return key
