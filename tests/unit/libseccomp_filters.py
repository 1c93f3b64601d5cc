"""Run by the system's python3, which has libseccomp: compile profiles the way runc drives the library.

Standard input: a JSON list of linux.seccomp objects, without flags. Standard output: for each of them
    program   the filter as hexadecimal digits, without runc's ENOSYS stub
    refused   the [index of the entry, name] pairs that the library takes as a conflict with earlier rules
    unknown   the names that this version of the library does not know
    newest    the greatest number named, by architecture
"""

import json
import os
import sys

import seccomp

ACTIONS = {
    "SCMP_ACT_KILL": seccomp.KILL,
    "SCMP_ACT_KILL_THREAD": seccomp.KILL,
    "SCMP_ACT_KILL_PROCESS": seccomp.KILL_PROCESS,
    "SCMP_ACT_TRAP": seccomp.TRAP,
    "SCMP_ACT_ALLOW": seccomp.ALLOW,
    "SCMP_ACT_LOG": seccomp.LOG,
    "SCMP_ACT_NOTIFY": seccomp.NOTIFY,
}
WITH_ERRNO = {"SCMP_ACT_ERRNO": seccomp.ERRNO, "SCMP_ACT_TRACE": seccomp.TRACE}
OPERATORS = {
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_LE": seccomp.LE,
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_GE": seccomp.GE,
    "SCMP_CMP_GT": seccomp.GT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": seccomp.Arch.X86_64,
    "SCMP_ARCH_X86": seccomp.Arch.X86,
    "SCMP_ARCH_X32": seccomp.Arch.X32,
    "SCMP_ARCH_AARCH64": seccomp.Arch.AARCH64,
    "SCMP_ARCH_ARM": seccomp.Arch.ARM,
}
X32_BIT = 0x40000000


def main():
    numbers = {name: numbers_of(name) for name in ARCHITECTURES}
    json.dump([answer(profile, numbers) for profile in json.load(sys.stdin)], sys.stdout)


def numbers_of(architecture):
    found = {}
    first = X32_BIT if architecture == "SCMP_ARCH_X32" else 0
    for number in range(first, first + 600):
        try:
            found[seccomp.resolve_syscall(ARCHITECTURES[architecture], number).decode()] = number
        except ValueError:
            continue
    return found


def answer(profile, numbers):
    names = {name for entry in profile["syscalls"] for name in entry["names"]}
    known = set().union(*numbers.values()) | {"send", "recv"}
    refused = []
    while True:
        try:
            program = compile_profile(profile, names - known, refused)
        except Conflict as conflict:
            refused.append(conflict.args[0])
            continue
        newest = {a: max((n for name, n in numbers[a].items() if name in names), default=None) for a in numbers}
        return {"program": program.hex(), "refused": refused, "unknown": sorted(names - known), "newest": newest}


class Conflict(Exception):
    pass


def compile_profile(profile, unknown, refused):
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    built = seccomp.SyscallFilter(default)
    for name in profile.get("architectures", []):
        if not built.exist_arch(ARCHITECTURES[name]):
            built.add_arch(ARCHITECTURES[name])
    for i, entry in enumerate(profile["syscalls"]):
        verdict = action(entry["action"], entry.get("errnoRet"))
        for name in entry["names"]:
            if verdict != default and name not in unknown and [i, name] not in refused:
                try:
                    add(built, verdict, name, entry.get("args", []))
                except (OSError, RuntimeError) as error:
                    raise Conflict([i, name]) from error
    with open(os.memfd_create("filter"), "w+b") as file:
        built.export_bpf(file)
        file.seek(0)
        return file.read()


def add(built, verdict, name, arguments):
    conditions = [condition(argument) for argument in arguments]
    indexes = [argument["index"] for argument in arguments]
    if len(set(indexes)) < len(indexes):
        for one in conditions:
            built.add_rule(verdict, name, one)
    else:
        built.add_rule(verdict, name, *conditions)


def action(word, errno):
    return WITH_ERRNO[word](1 if errno is None else errno) if word in WITH_ERRNO else ACTIONS[word]


def condition(argument):
    operator = OPERATORS[argument["op"]]
    return seccomp.Arg(argument["index"], operator, argument["value"], argument.get("valueTwo", 0))


main()
