"""linux.resources.hugepageLimits."""

from foundation.linux import os
from pyrun.cgroup.setting import Setting
from pyrun.config.linux import HugepageLimit

_UNITS = {"KB": 1, "MB": 1 << 10, "GB": 1 << 20}  # in kB, as sysfs counts


def settings(limits: "list[HugepageLimit]", v2: bool) -> "list[Setting]":
    """Return the files for `limits`, in bytes, for the pages that are used and for those that mmap(2) reserves.

    Without the limit of reservations (Linux 5.7) mmap(2) would succeed, and a later page fault would kill the process.
    """
    maximum = "max" if v2 else "limit_in_bytes"
    found = []
    for limit in limits:
        _check_kernel_has(limit)
        found.append(Setting(f"hugetlb.{limit.page_size}.rsvd.{maximum}", limit.limit, optional=True))
        found.append(Setting(f"hugetlb.{limit.page_size}.{maximum}", limit.limit))
    return found


def _check_kernel_has(limit: HugepageLimit) -> None:
    number, unit = limit.page_size[:-2], limit.page_size[-2:]
    if not os.path.isdir(f"/sys/kernel/mm/hugepages/hugepages-{int(number[:20]) * _UNITS[unit]}kB"):
        raise limit.json.error("pageSize", f"this kernel has no huge pages of {limit.page_size}")
