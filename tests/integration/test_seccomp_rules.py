"""linux.seccomp: what becomes of a call inside, and the program that the kernel has for it, taken from the host by
ptrace(2) and run on the same call."""

import ctypes
import errno
import os
import signal
import subprocess

import pytest
from classic_bpf import Machine

from pyrun.confine.seccomp import ARCHITECTURES
from pyrun.confine.seccomp_calls import X32_BIT, numbers

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox"),
    pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="there is no seccomp on this machine"),
]

NATIVE = "SCMP_ARCH_AARCH64" if os.uname().machine == "aarch64" else "SCMP_ARCH_X86_64"
MKDIR = ["mkdir", "mkdirat"]  # the one that the C library takes, by the machine
EDQUOT = 122

# <linux/ptrace.h>
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_SECCOMP_GET_FILTER = 17, 0x4206, 0x4207, 0x420C

# SECCOMP_RET_* of <linux/seccomp.h>
ALLOW = 0x7FFF0000
KILL_THREAD = 0
ERRNO = 0x00050000


def filter_of(pid):
    """Return the filter of a process, as the kernel has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    assert libc.ptrace(PTRACE_SEIZE, pid, None, None) == 0
    try:
        libc.ptrace(PTRACE_INTERRUPT, pid, None, None)
        os.waitpid(pid, 0x40000000)  # __WALL
        length = libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, None, None)
        if length < 0:
            reason = os.strerror(ctypes.get_errno())
            pytest.skip(f"this kernel does not show a filter (CONFIG_CHECKPOINT_RESTORE): {reason}")
        program = ctypes.create_string_buffer(length * 8)
        assert libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, None, program) == length
    finally:
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    return Machine(program.raw)


def verdict(container, call, *arguments, architecture=NATIVE):
    """Return what the container's filter says of a call."""
    number = numbers(architecture)[call] | (X32_BIT if architecture == "SCMP_ARCH_X32" else 0)
    arguments += (0,) * (6 - len(arguments))
    return filter_of(container.pid()).run(ARCHITECTURES[architecture], number, arguments)


def modes(status):
    """Return whether a process has a filter, by its /proc/PID/status."""
    return [line.split()[1] for line in status.splitlines() if line.startswith("Seccomp:")]


@pytest.fixture
def filtered(container):
    """The container, with rules for its seccomp filter."""

    def filtered(*rules, **seccomp):
        container.bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **seccomp}
        return container

    return filtered


def action(name, inside, number, **rule):
    proves = [f"linux.seccomp.syscalls[].action={name}", "linux.seccomp.syscalls[].names"]
    if "errnoRet" in rule:
        proves.append("linux.seccomp.syscalls[].errnoRet")
    marks = pytest.mark.proves(*proves)
    return pytest.param({"action": name, **rule}, inside, number, id=f"{name} {rule.get('errnoRet', '')}", marks=marks)


@pytest.mark.parametrize(
    "rule, inside, number",
    [
        action("SCMP_ACT_ERRNO", "Operation not permitted", ERRNO | 1),
        action("SCMP_ACT_ERRNO", "Disk quota exceeded", ERRNO | EDQUOT, errnoRet=EDQUOT),
        action("SCMP_ACT_KILL", "Bad system call", KILL_THREAD),
        action("SCMP_ACT_KILL_THREAD", "Bad system call", KILL_THREAD),
        action("SCMP_ACT_KILL_PROCESS", "Bad system call", 0x80000000),
        action("SCMP_ACT_TRAP", "Bad system call", 0x00030000),
        action("SCMP_ACT_TRACE", "Function not implemented", 0x7FF00007, errnoRet=7),  # nobody traces
        action("SCMP_ACT_LOG", "made", 0x7FFC0000),
    ],
)
def test_what_a_rule_does_to_its_calls(filtered, rule, inside, number):
    container = filtered({"names": MKDIR, **rule})
    output = container.look("(mkdir /made) 2>&1; test -d /made && echo made; grep Seccomp: /proc/self/status")

    assert inside in output
    assert (container.bundle.rootfs / "made").exists() == (inside == "made")
    assert verdict(container, "mkdirat") == number
    assert verdict(container, "unlinkat") == ALLOW
    assert modes(output) == modes(container.proc("status")) == ["2"]


@pytest.mark.proves(
    "linux.seccomp.defaultAction", "linux.seccomp.defaultErrnoRet", "linux.seccomp.syscalls[].action=SCMP_ACT_ALLOW"
)
def test_what_no_rule_names_has_the_default_action(filtered):
    allowed = [name for name in numbers(NATIVE) if name not in MKDIR]
    rule = {"names": allowed, "action": "SCMP_ACT_ALLOW"}
    container = filtered(rule, defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=EDQUOT)

    assert "Disk quota exceeded" in container.look("mkdir /made; true")
    assert verdict(container, "mkdirat") == ERRNO | EDQUOT
    assert verdict(container, "unlinkat") == ALLOW


@pytest.mark.differs("crun", "they have the default action as well")
def test_calls_newer_than_the_profile_are_not_there(filtered):
    """A program that probes for a new call takes its fallback, which EPERM would keep it from."""
    allowed = [name for name, number in numbers(NATIVE).items() if number < numbers(NATIVE)["openat2"]]
    rule = {"names": allowed, "action": "SCMP_ACT_ALLOW"}
    default = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EDQUOT}
    container = filtered(rule, architectures=[NATIVE], **default).sleeping()

    assert verdict(container, "openat2") == ERRNO | errno.ENOSYS


@pytest.mark.differs("crun", "it asks for an action")
@pytest.mark.parametrize("seccomp", [{}, {"defaultAction": "", "syscalls": None}], ids=["empty", "as Go writes it"])
def test_an_empty_profile_is_none(container, bundle, seccomp):
    bundle.linux["seccomp"] = seccomp

    assert modes(container.look("cat /proc/self/status")) == modes(container.proc("status")) == ["0"]


CHMOD, MODE = ("fchmodat", 2) if NATIVE == "SCMP_ARCH_AARCH64" else ("chmod", 1)


@pytest.mark.proves("linux.seccomp.syscalls[].args[].index", "linux.seccomp.syscalls[].args[].value")
@pytest.mark.parametrize(
    "op, values, refused",
    [
        pytest.param(f"SCMP_CMP_{op}", values, refused, id=op, marks=pytest.mark.proves(*proves))
        for op, values, refused, *proves in [
            ("EQ", {"value": 0o600}, {0o600}, "linux.seccomp.syscalls[].args[].op=SCMP_CMP_EQ"),
            ("NE", {"value": 0o600}, {0o500, 0o700}, "linux.seccomp.syscalls[].args[].op=SCMP_CMP_NE"),
            ("LT", {"value": 0o600}, {0o500}, "linux.seccomp.syscalls[].args[].op=SCMP_CMP_LT"),
            ("LE", {"value": 0o600}, {0o500, 0o600}, "linux.seccomp.syscalls[].args[].op=SCMP_CMP_LE"),
            ("GT", {"value": 0o600}, {0o700}, "linux.seccomp.syscalls[].args[].op=SCMP_CMP_GT"),
            ("GE", {"value": 0o600}, {0o600, 0o700}, "linux.seccomp.syscalls[].args[].op=SCMP_CMP_GE"),
            (
                "MASKED_EQ",
                {"value": 0o100, "valueTwo": 0},
                {0o600},
                "linux.seccomp.syscalls[].args[].op=SCMP_CMP_MASKED_EQ",
                "linux.seccomp.syscalls[].args[].valueTwo",
            ),
            (
                "MASKED_EQ",
                {"value": 0o300, "valueTwo": 0o300},
                {0o700},
                "linux.seccomp.syscalls[].args[].op=SCMP_CMP_MASKED_EQ",
                "linux.seccomp.syscalls[].args[].valueTwo",
            ),
        ]
    ],
)
def test_a_rule_holds_for_the_arguments_it_names(filtered, op, values, refused):
    rule = {"names": [CHMOD], "action": "SCMP_ACT_ERRNO", "args": [{"index": MODE, "op": op, **values}]}
    container = filtered(rule)
    output = container.look(
        "touch /file; for mode in 500 600 700; do chmod $mode /file 2>/dev/null || echo $mode; done"
    )
    arguments = {mode: (0,) * MODE + (mode,) for mode in (0o500, 0o600, 0o700)}

    assert {int(mode, 8) for mode in output.split()} == refused
    assert {mode for mode in arguments if verdict(container, CHMOD, *arguments[mode]) == ERRNO | 1} == refused


# By the machine: mkdir by the interface of another one, and what came of it as the exit status.
FOREIGN = {
    "SCMP_ARCH_X86": 'asm volatile("int $0x80" : "=a"(result) : "a"(39), "b"("/"), "c"(0755) : "memory");',
    "SCMP_ARCH_X32": 'asm volatile("syscall" : "=a"(result) : "a"(0x40000000 + 83), "D"("/"), "S"(0755)'
    ' : "rcx", "r11", "memory");',
}


@pytest.fixture
def foreign(tmp_path):
    def foreign(architecture):
        source = tmp_path / "foreign.c"
        source.write_text(f"int main() {{ int result; {FOREIGN[architecture]} return -result; }}\n")
        program = tmp_path / "foreign"
        subprocess.run(["gcc", "-static", "-no-pie", "-o", program, source], check=True)
        status = subprocess.run([program]).returncode
        if status not in (17, 38):  # EEXIST; ENOSYS comes after the filter
            pytest.skip(f"this kernel lacks the calls of {architecture}")
        return program

    return foreign


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proves(f"linux.seccomp.architectures={name}"))
        for name in sorted(ARCHITECTURES)
    ],
)
def test_the_rules_hold_for_the_architectures_that_are_listed(filtered, foreign, name):
    rule = {"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": EDQUOT}
    container = filtered(rule, architectures=[name])
    if name in FOREIGN and NATIVE == "SCMP_ARCH_X86_64":
        program = container.bundle.rootfs / "bin/foreign"
        program.write_bytes(foreign(name).read_bytes())
        program.chmod(0o755)
        assert container.look("foreign; echo $?").splitlines()[-1] == str(EDQUOT)
    else:
        assert "Disk quota exceeded" in container.look("mkdir /made; true")
    assert verdict(container, "mkdirat", architecture=name) == ERRNO | EDQUOT
    assert verdict(container, "mkdirat") == ERRNO | EDQUOT


@pytest.mark.needs("gcc")
@pytest.mark.skipif(NATIVE != "SCMP_ARCH_X86_64", reason="the calls of another machine, from this one")
@pytest.mark.parametrize("name", FOREIGN)
def test_a_call_of_an_architecture_that_is_not_listed_kills(filtered, foreign, name):
    container = filtered({"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": EDQUOT})
    program = container.bundle.rootfs / "bin/foreign"
    program.write_bytes(foreign(name).read_bytes())
    program.chmod(0o755)

    assert container.look("(foreign) 2>&1; echo $?").splitlines()[-1] == str(128 + signal.SIGSYS)
    assert verdict(container, "mkdirat", architecture=name) == KILL_THREAD


def loaded(container, log):
    """Run the container under strace and return with which flags a filter was loaded."""
    container.prefix = ["strace", "-f", "-qq", "-e", "trace=seccomp", "-e", "signal=none", "-o", str(log)]
    assert "2" in modes(container.run("cat", "/proc/self/status"))
    lines = [line for line in log.read_text().splitlines() if "SECCOMP_SET_MODE_FILTER" in line and "{len=" in line]
    return lines[-1].split(", ")[1].split("|")


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    "flag",
    [
        pytest.param(flag, marks=pytest.mark.proves(f"linux.seccomp.flags={flag}"))
        for flag in ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    ],
)
@pytest.mark.differs("runc", "it takes no flags before 1.2")
def test_a_filter_is_loaded_with_the_flags_that_are_listed(filtered, tmp_path, flag):
    container = filtered({"names": MKDIR, "action": "SCMP_ACT_ERRNO"}, flags=[flag])

    assert loaded(container, tmp_path / "log") == [flag]


@pytest.mark.needs("strace")
@pytest.mark.differs("runc", "it takes no flags before 1.2")
def test_a_filter_without_flags_is_loaded_with_that_which_makes_it_fast(filtered, tmp_path):
    container = filtered({"names": MKDIR, "action": "SCMP_ACT_ERRNO"})

    assert loaded(container, tmp_path / "log") == ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]


@pytest.mark.proves("linux.seccomp.flags=SECCOMP_FILTER_FLAG_TSYNC")
@pytest.mark.differs("runc", "it takes no flags before 1.2")
def test_all_threads_have_the_filter(filtered):
    container = filtered({"names": MKDIR, "action": "SCMP_ACT_ERRNO"}, flags=["SECCOMP_FILTER_FLAG_TSYNC"])
    inside = container.look("cat /proc/self/task/*/status; mkdir /made")
    threads = os.listdir(f"/proc/{container.pid()}/task")

    assert "Operation not permitted" in inside
    assert modes(inside) == ["2"] * len(modes(inside))
    assert {mode for thread in threads for mode in modes(container.proc(f"task/{thread}/status"))} == {"2"}


@pytest.mark.differs("runc", "libseccomp has no filter for machines of both byte orders")
@pytest.mark.differs("crun", "libseccomp has no filter for machines of both byte orders")
def test_a_profile_for_all_machines_is_in_force(container, bundle):
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [
            f"SCMP_ARCH_{name}" for name in ("X86_64", "AARCH64", "MIPSEL", "PPC64LE", "RISCV64", "S390X")
        ],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}],
    }

    assert "uota exceeded" in container.sh("mkdir /made 2>&1; true")
