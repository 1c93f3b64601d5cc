"""What this machine has of what containers need (`pyrun doctor`). Each module looks at a part, and changes nothing."""

OK, LIMITED, MISSING = "ok", "limited", "missing"


class Finding:
    """One thing that was looked at.

    state     OK; LIMITED where containers run without it, some not as they could; MISSING where none can
    found     what there is
    meaning   what follows from the lack, "" where there is none
    remedy    the command that mends it, "" where none does
    """

    def __init__(self, area: str, name: str, state: str, found: str, meaning: str = "", remedy: str = "") -> None:
        self.area = area
        self.name = name
        self.state = state
        self.found = found
        self.meaning = meaning
        self.remedy = remedy


def present(area: str, name: str, there: bool, found: str, meaning: str, remedy: str, needed: bool = False) -> Finding:
    """Return the finding about something that is there or is not."""
    if there:
        return Finding(area, name, OK, found)
    return Finding(area, name, MISSING if needed else LIMITED, "not there", meaning, remedy)


def read(path: str) -> str:
    """Return the text of a small file, "" where it is not there or not ours to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""  # what it would tell of is not there
