"""Generated profiles, and the calls and arguments to try them with."""

import random

from pyrun.confine import seccomp
from pyrun.confine.seccomp_calls import X32_BIT, multiplexed, numbers

ARCHITECTURES = list(seccomp.ARCHITECTURES)
WORD = 0xFFFFFFFF
ALL_ONES = (1 << 64) - 1


def calls_of(architecture):
    """Every number of the architecture, and some that belong to no call."""
    first = X32_BIT if architecture == "SCMP_ARCH_X32" else 0
    return [*range(first, first + 600), first + 0xF0002, first + 0x3FFFFFFF]


def argument_table(profile, architecture):
    """Return, by number, arguments that are near to each condition from all sides."""
    known = numbers(architecture)
    also = multiplexed() if architecture == "SCMP_ARCH_X86" else {}
    table = {}
    for entry in profile["syscalls"]:
        conditions = entry.get("args", [])
        vectors = list(near(conditions)) if conditions else []
        for name in entry["names"]:
            if name in known:
                table.setdefault(known[name], []).extend(vectors)
            if name in also:
                number, which = also[name]
                table.setdefault(number, []).extend((which, *vector[1:]) for vector in [(0,) * 6, *vectors])
    return table


def near(conditions):
    matching = [0] * 6
    for condition in conditions:
        matching[condition["index"]] = values_near(condition)[0]
    for condition in conditions:
        for value in values_near(condition):
            vector = list(matching)
            vector[condition["index"]] = value
            yield tuple(vector)


def values_near(condition):
    value = condition["value"]
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        wanted = value & condition.get("valueTwo", 0)
        lowest_bit = value & -value
        return [wanted, wanted | (~value & ALL_ONES), wanted ^ lowest_bit, wanted ^ 1 << 32, wanted ^ 1, ALL_ONES]
    near = [value, value + 1, value - 1, value ^ 1 << 32, value & WORD, value | WORD << 32, 0, ALL_ONES]
    return [one & ALL_ONES for one in near]


def wild(seed):
    """Return a profile with all that a profile can have; any two rules may meet."""
    rng = random.Random(seed)
    actions = [action for action in seccomp.ACTIONS if action != "SCMP_ACT_NOTIFY"]
    everywhere = sorted(set().union(*map(numbers, ARCHITECTURES)) - {"read", "write"})
    popular = rng.sample(everywhere, 12) + ["socket", "semop", "clone"]
    some = rng.sample([*seccomp.ACTIONS], 3)
    profile = {"defaultAction": rng.choice(actions), "listenerPath": "/run/agent", "syscalls": []}
    profile["architectures"] = rng.sample(ARCHITECTURES, rng.randint(0, 5))
    add_errno(rng, profile, "defaultAction", "defaultErrnoRet")
    for _ in range(rng.randint(1, 40)):
        entry = {"action": rng.choice(some if rng.random() < 0.8 else actions)}
        add_errno(rng, entry, "action", "errnoRet")
        if rng.random() < 0.6:
            entry["args"] = [random_condition(rng) for _ in range(rng.choice([1, 1, 1, 2, 2, 3]))]
            entry["names"] = rng.sample(popular, rng.randint(1, 5))
        else:
            entry["names"] = rng.sample(everywhere, rng.randint(1, 60))
        profile["syscalls"].append(entry)
    return profile


def add_errno(rng, json_object, action, errno):
    if json_object[action] in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") and rng.random() < 0.5:
        json_object[errno] = rng.choice([0, 1, 38, 4000])


def random_condition(rng):
    value = rng.choice([0, 1, 2, 40, 0x7E020000, WORD, 1 << 32, (1 << 32) + 1, 5 << 32 | 7, ALL_ONES, 1 << 63])
    condition = {"index": rng.randint(0, 2), "op": rng.choice([*seccomp.OPERATORS]), "value": value}
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        condition["valueTwo"] = rng.choice([0, value, value & -value, 1, 1 << 32])
    return condition


def tame(seed):
    """Return such a profile in which libseccomp does what its rules say.

    Where one call has several rules that compare one 64-bit argument for order, or rules with conditions on different
    arguments, libseccomp 2.5.4 drops some (`a < 2^64-1` beside `a < 1` no longer matches 2^32-1); and where inequality
    or a mask meets a rule with another action, the order in which the rules were added decides.
    """
    profile = wild(seed)
    entries = []
    per_call = {}
    for entry in profile["syscalls"]:
        if "args" not in entry:
            entries.append(entry)
            continue
        for name in entry["names"]:
            call = per_call.setdefault(name, Tame(sum(map(ord, name)) + seed, entry))
            conditions = call.accept(entry["args"])
            if conditions:
                action = call.action if call.style == "one action" else entry
                verdict = {key: action[key] for key in ("action", "errnoRet") if key in action}
                entries.append({"names": [name], "args": conditions, **verdict})
    return {**profile, "syscalls": entries}


class Tame:
    """What the rules of one call may be: one rule, or rules on one argument."""

    def __init__(self, choice, first):
        self.style = ["one rule", "one action", "values"][choice % 3]
        self.index = choice % 4
        self.action = first
        self.ordered = set()
        self.rules = 0

    def accept(self, conditions):
        self.rules += 1
        if self.style == "one rule":
            return [one for one in conditions if self.orders_once(one)] if self.rules == 1 else []
        one = {**conditions[0], "index": self.index}
        inexact = one["op"] in ("SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE")
        return [one] if self.orders_once(one) and not (inexact and self.style == "values") else []

    def orders_once(self, condition):
        if condition["op"] in ("SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_GT", "SCMP_CMP_GE"):
            if condition["index"] in self.ordered:
                return False
            self.ordered.add(condition["index"])
        return True
