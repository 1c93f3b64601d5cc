"""linux.resources.hugepageLimits."""

import os

from pyrun.cgroup.setting import Setting
from pyrun.spec.linux import HugepageLimit

_UNITS = {"KB": 1, "MB": 1 << 10, "GB": 1 << 20}  # in kB, as sysfs counts


def settings(limits: "list[HugepageLimit]", v2: bool) -> "list[Setting]":
    """Limit both what is reserved (at mmap, Linux 5.7), without which a page fault would kill, and what is used."""
    maximum = "max" if v2 else "limit_in_bytes"
    found = []
    for limit in limits:
        _check_page_size(limit)
        found.append(Setting(f"hugetlb.{limit.page_size}.rsvd.{maximum}", limit.limit, optional=True))
        found.append(Setting(f"hugetlb.{limit.page_size}.{maximum}", limit.limit))
    return found


def _check_page_size(limit: HugepageLimit) -> None:
    """The size becomes part of a file name, so it must be one that the kernel has."""
    number, unit = limit.page_size[:-2], limit.page_size[-2:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or number.startswith("0"):
        raise limit.json.error("pageSize", f'{limit.page_size!r} is not a size like "2MB"')
    if not os.path.isdir(f"/sys/kernel/mm/hugepages/hugepages-{int(number[:20]) * _UNITS[unit]}kB"):
        raise limit.json.error("pageSize", f"this kernel has no huge pages of {limit.page_size}")
