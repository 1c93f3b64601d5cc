"""<linux/bpf.h>: load a program and attach it to a cgroup."""

from foundation.linux import os
from foundation.linux.libc import (
    Structure,
    addressof,
    buffer,
    byref,
    c_int,
    c_uint,
    c_uint32,
    c_uint64,
    c_void_p,
    declare_syscall,
    sizeof,
)

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6

BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2

# The kernel's maximum for the programs of one type at one cgroup.
BPF_CGROUP_MAX_PROGS = 64


class load_attr(Structure):
    _fields_ = [
        ("prog_type", c_uint32),
        ("insn_cnt", c_uint32),
        ("insns", c_uint64),
        ("license", c_uint64),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_uint64),
        ("kern_version", c_uint32),
        ("prog_flags", c_uint32),
    ]


class attach_attr(Structure):
    _fields_ = [
        ("target_fd", c_uint32),
        ("attach_bpf_fd", c_uint32),
        ("attach_type", c_uint32),
        ("attach_flags", c_uint32),
        ("replace_bpf_fd", c_uint32),
    ]


class query_attr(Structure):
    # The whole structure, since the kernel writes to it.
    _fields_ = [
        ("target_fd", c_uint32),
        ("attach_type", c_uint32),
        ("query_flags", c_uint32),
        ("attach_flags", c_uint32),
        ("prog_ids", c_uint64),
        ("prog_cnt", c_uint32),
        ("padding", c_uint32),
        ("prog_attach_flags", c_uint64),
        ("link_ids", c_uint64),
        ("link_attach_flags", c_uint64),
        ("revision", c_uint64),
    ]


class get_id_attr(Structure):
    _fields_ = [("prog_id", c_uint32), ("next_id", c_uint32), ("open_flags", c_uint32)]


_bpf = declare_syscall("bpf", c_int, c_void_p, c_uint)


def load(type_: int, instructions: bytes) -> int:
    """Load a program and return its descriptor, which is close-on-exec as all of bpf(2); the caller closes it.

    EPERM without CAP_BPF or CAP_SYS_ADMIN in the initial user namespace; EINVAL if the verifier refuses it.
    """
    code = buffer(instructions)
    license_ = buffer(b"Apache-2.0\0")  # read only by helpers for GPL programs
    attr = load_attr(type_, len(instructions) // 8, addressof(code), addressof(license_))
    try:
        return _bpf(BPF_PROG_LOAD, byref(attr), sizeof(attr))
    except PermissionError as refusal:
        return _load_beyond_memlock(attr, refusal)


def _load_beyond_memlock(attr: load_attr, refusal: PermissionError) -> int:
    """Load it without RLIMIT_MEMLOCK: before Linux 5.11 programs count as locked memory, and EPERM can mean that."""
    import resource  # imported here because few kernels need it

    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:
        raise refusal from None  # Python raises ValueError for EPERM
    try:
        return _bpf(BPF_PROG_LOAD, byref(attr), sizeof(attr))
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)  # or the container would inherit it


def attach(cgroup: int, type_: int, program: int) -> None:
    """Attach `program` beside those attached, as systemd and other runtimes do: all of them must allow an access."""
    attr = attach_attr(cgroup, program, type_, BPF_F_ALLOW_MULTI)
    _bpf(BPF_PROG_ATTACH, byref(attr), sizeof(attr))


def replace(cgroup: int, type_: int, program: int) -> None:
    """Attach `program` in place of all programs of the cgroup, with no moment in which there is none."""
    old = [_by_id(id_) for id_ in attached(cgroup, type_)]
    try:
        if len(old) == 1:
            attr = attach_attr(cgroup, program, type_, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, old[0])  # Linux 5.6
            _bpf(BPF_PROG_ATTACH, byref(attr), sizeof(attr))
            return
        attach(cgroup, type_, program)
        for fd in old:
            attr = attach_attr(cgroup, fd, type_)
            _bpf(BPF_PROG_DETACH, byref(attr), sizeof(attr))
    finally:
        for fd in old:
            os.close(fd)


def attached(cgroup: int, type_: int) -> "list[int]":
    """Return the ids of the programs that are attached to the cgroup itself."""
    ids = (c_uint32 * BPF_CGROUP_MAX_PROGS)()
    attr = query_attr(target_fd=cgroup, attach_type=type_, prog_ids=addressof(ids), prog_cnt=len(ids))
    _bpf(BPF_PROG_QUERY, byref(attr), sizeof(attr))
    return list(ids[: attr.prog_cnt])


def _by_id(id_: int) -> int:
    """Return a descriptor of an attached program; needs CAP_SYS_ADMIN. ENOENT: it has been removed meanwhile."""
    attr = get_id_attr(id_)
    return _bpf(BPF_PROG_GET_FD_BY_ID, byref(attr), sizeof(attr))
