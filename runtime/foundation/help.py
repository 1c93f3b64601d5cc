"""What the help of pyrun and of pyrund has in common: a verb, the overview, a table of options, paragraphs."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    # short name or "", value ("" for none, "X..." if the option can be repeated, "[=X]" if it is optional), summary
    Option = tuple[str, str, str]


def explained(usage: str, summary: str, more: str, options: "dict[str, Option]") -> "list[str]":
    """Return the lines of a verb's help before its example."""
    lines = [usage.rstrip(), f"    {summary}", ""]
    if more:
        lines += [*wrapped(more), ""]
    if options:
        lines += [*described(with_repetition(options)), ""]
    return lines


def with_repetition(options: "dict[str, Option]") -> "dict[str, Option]":
    """Return the options of a verb with summaries that say which of them can be repeated."""
    return {
        name: (short, takes, f"{summary}; can be repeated" if takes.endswith("...") else summary)
        for name, (short, takes, summary) in options.items()
    }


def overview(usage: str, program: str, summaries: "dict[str, str]", options: "dict[str, Option]") -> "list[str]":
    """Return the lines of a program's help before its last one; `summaries` are those of its verbs."""
    width = max(map(len, summaries)) + 2
    lines = [usage, f"    {program}", "", *(f"  {verb.ljust(width)}{text}" for verb, text in summaries.items())]
    return [*lines, "", *described(options), ""]


def described(options: "dict[str, Option]") -> "list[str]":
    """Return a line for each option."""
    lines = []
    for name, (short, takes, summary) in options.items():
        names = f"-{short}, --{name}" if short else f"    --{name}"
        value = takes if takes.startswith("[=") else f" {takes.rstrip('.')}"
        lines.append(f"  {names}{value}".ljust(36) + f" {summary}")
    return lines


def wrapped(paragraph: str, width: int = 80) -> "list[str]":
    """Return the paragraph as lines."""
    lines = [""]
    for word in paragraph.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
