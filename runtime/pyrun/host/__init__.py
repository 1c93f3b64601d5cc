"""Whether this machine has what containers need (`pyrun doctor`). Each module checks one area, and changes nothing."""

OK, LIMITED, MISSING = "ok", "limited", "missing"


class Finding:
    """The result of one check.

    state     OK; LIMITED if containers run, but lack a feature; MISSING if no container can run
    found     what was found
    meaning   the consequence of the lack, "" if nothing is lacking
    remedy    a command that helps, "" if there is none
    """

    def __init__(self, area: str, name: str, state: str, found: str, meaning: str = "", remedy: str = "") -> None:
        self.area = area
        self.name = name
        self.state = state
        self.found = found
        self.meaning = meaning
        self.remedy = remedy


def present(area: str, name: str, there: bool, found: str, meaning: str, remedy: str, needed: bool = False) -> Finding:
    """Return the finding for a thing that exists or not; `needed` if no container runs without it."""
    if there:
        return Finding(area, name, OK, found)
    return Finding(area, name, MISSING if needed else LIMITED, "not there", meaning, remedy)


def read(path: str) -> str:
    """Return the text of a small file, "" if it does not exist or we may not read it."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""  # the kernel does not have the feature
