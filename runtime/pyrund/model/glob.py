"""Patterns of names, as Go's path.Match has them: `*` and `?` do not pass a slash."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Characters = tuple[tuple[tuple[str, str], ...], bool]  # ranges, and whether it is all others that are meant

_NO_SLASH: "Characters" = ((("/", "/"),), True)


class Glob:
    """A pattern. Raises ValueError if it is none.

    It takes no more than the product of both lengths, whatever a client sends: a regular expression may take for ever.
    """

    def __init__(self, text: str) -> None:
        self._rest = text
        self._parts: list[Characters | None] = []  # None is a star
        while self._rest:
            self._parts.append(self._next())

    def _next(self) -> "Characters | None":
        if self._rest[0] == "*":
            self._rest = self._rest[1:]
            return None
        if self._rest[0] == "?":
            self._rest = self._rest[1:]
            return _NO_SLASH
        if self._rest[0] == "[":
            self._rest = self._rest[1:]
            return self._ranges()
        one = self._character("")
        return ((one, one),), False

    def _ranges(self) -> "Characters":
        is_negated = self._rest[:1] == "^"
        self._rest = self._rest[is_negated:]
        found: list[tuple[str, str]] = []
        while not (found and self._rest[:1] == "]"):
            first = last = self._character("-]")
            if self._rest[:1] == "-":
                self._rest = self._rest[1:]
                last = self._character("-]")
            found.append((first, last))
        self._rest = self._rest[1:]
        return tuple(found), is_negated

    def _character(self, refused: str) -> str:
        """Return the next character, which a backslash may quote."""
        is_quoted = self._rest[:1] == "\\"
        one = self._rest[is_quoted : is_quoted + 1]
        if not one or (one in refused and not is_quoted):
            raise ValueError("syntax error in pattern")
        self._rest = self._rest[is_quoted + 1 :]
        return one

    def matches(self, name: str) -> bool:
        """Return whether the whole name is such a one."""
        part = place = 0
        after_star, end_of_star = -1, 0  # where to try again: what follows the last *, and the first character after it
        while part < len(self._parts) or place < len(name):
            if part < len(self._parts):
                wanted = self._parts[part]
                if wanted is None:
                    part += 1
                    after_star, end_of_star = part, place
                    continue
                if place < len(name) and _holds(wanted, name[place]):
                    part, place = part + 1, place + 1
                    continue
            if after_star < 0 or name[end_of_star : end_of_star + 1] in ("", "/"):
                return False
            end_of_star += 1
            part, place = after_star, end_of_star
        return True


def _holds(wanted: "Characters", one: str) -> bool:
    ranges, is_negated = wanted
    return any(first <= one <= last for first, last in ranges) != is_negated
