"""pyrun doctor: which features of kernel, cgroups, capabilities and security modules are missing, and what helps."""

from foundation.encode import encode
from pyrun.host import LIMITED, MISSING, OK, Finding, cgroups, kernel, privileges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", format: str = "table") -> int:
    """Print the findings, and return 1 if something is missing without which no container runs."""
    found = [*kernel.findings(), *cgroups.findings(), *privileges.findings()]
    missing = [one for one in found if one.state == MISSING]
    if format == "json":
        print(encode({"ok": not missing, "findings": [vars(one) for one in found]}, indent="  "))
    else:
        _print(found)
    return 1 if missing else 0


def _print(found: "list[Finding]") -> None:
    for area in dict.fromkeys(one.area for one in found):
        print(area)
        for one in found:
            if one.area == area:
                print(f"  {one.state.ljust(8)} {one.name.ljust(24)} {one.found}")
                if one.meaning:
                    print(f"           {one.meaning}")
                if one.remedy:
                    print(f"           try: {one.remedy}")
    counts = {state: sum(1 for one in found if one.state == state) for state in (OK, LIMITED, MISSING)}
    verdict = "no container can run here" if counts[MISSING] else "containers run here"
    print(f"\n{verdict}: {counts[OK]} ok, {counts[LIMITED]} limited, {counts[MISSING]} missing")
