"""Words of an instruction: variables are replaced, and quotes and escapes removed, as docker's own shell lexer does."""

from pyrund.build.errors import BuildError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_BLANKS = " \t\r\n"
_DEEPEST = 100  # substitutions in substitutions
_LONGEST = 1 << 20  # letters of all values that an instruction takes: `ENV A=$A$A` doubles them at each line


def expand(text: str, variables: "Mapping[str, str]", escape: str = "\\") -> str:
    """Return `text` as one word."""
    return _Lexer(text, variables, escape).word("")


def expand_text(text: str, variables: "Mapping[str, str]", escape: str = "\\") -> str:
    """Return `text` with the values of its variables; quotes stay as they are."""
    return _Lexer(text, variables, escape, has_quotes=False).word("")


def expand_words(text: str, variables: "Mapping[str, str]", escape: str = "\\") -> "list[str]":
    """Return the words of `text`; a blank in the value of a variable separates words too, unless it is quoted."""
    return _Lexer(text, variables, escape).words()


def split(text: str, escape: str = "\\") -> "list[str]":
    """Return the words of `text` as they were written, with quotes and escapes."""
    words, word, quote, position = [], "", "", 0
    while position < len(text):
        letter = text[position]
        position += 1
        if letter in _BLANKS and not quote:
            words += [word] if word else []
            word = ""
            continue
        word += letter
        if letter == escape and quote != "'" and position < len(text):
            word += text[position]
            position += 1
        elif letter in "'\"":
            quote = "" if letter == quote else quote or letter
    return words + ([word] if word else [])


def number(text: str) -> "int | None":
    """Return the number that `text` is, None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class _Lexer:
    def __init__(self, text: str, variables: "Mapping[str, str]", escape: str, has_quotes: bool = True) -> None:
        self._text = text
        self._position = 0
        self._variables = variables
        self._escape = escape
        self._has_quotes = has_quotes
        self._depth = 0
        self._taken = 0

    def _value(self, name: str) -> str:
        """Return the value of a variable, "" if it has none. Raises BuildError if all are too long together."""
        value = self._variables.get(name, "")
        self._taken += len(value)
        if self._taken > _LONGEST:
            raise BuildError(f"values of more than {_LONGEST} letters in {self._text[:80]}")
        return value

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        letter = self._peek()
        self._position += 1
        return letter

    def word(self, end: str) -> str:
        """Return the expanded text up to the letter `end`, which is taken too, or up to the end of all."""
        found = ""
        while letter := self._peek():
            if letter == end:
                self._next()
                return found
            found += self._piece()[0]
        if end:
            raise BuildError(f"syntax error: missing '{end}' in {self._text!r}")
        return found

    def words(self) -> "list[str]":
        found: list[str] = []
        word: str | None = None
        while letter := self._peek():
            if letter in _BLANKS:
                self._next()
                found += [] if word is None else [word]
                word = None
                continue
            piece, is_splittable = self._piece()
            if is_splittable:
                first, *others = piece.split() or [""]
                if others:
                    found += [(word or "") + first, *others[:-1]]
                    word = others[-1]
                elif first:
                    word = (word or "") + first
            else:
                word = (word or "") + piece
        return found + ([] if word is None else [word])

    def _piece(self) -> "tuple[str, bool]":
        """Return the expansion of what comes next, and whether it is the value of a variable without quotes."""
        letter = self._peek()
        if letter == "'" and self._has_quotes:
            return self._single(), False
        if letter == '"' and self._has_quotes:
            return self._double(), False
        if letter == "$":
            return self._variable(), True
        self._next()
        if letter == self._escape and (self._has_quotes or self._peek() in ("$", self._escape)):
            return self._next(), False
        return letter, False

    def _single(self) -> str:
        self._next()
        end = self._text.find("'", self._position)
        if end < 0:
            raise BuildError(f"unexpected end of statement while looking for matching single-quote: {self._text}")
        found, self._position = self._text[self._position : end], end + 1
        return found

    def _double(self) -> str:
        self._next()
        found = ""
        while letter := self._peek():
            if letter == '"':
                self._next()
                return found
            if letter == "$":
                found += self._variable()
                continue
            self._next()
            if letter == self._escape and self._peek() in ('"', "$", self._escape):
                letter = self._next()
            found += letter
        raise BuildError(f"unexpected end of statement while looking for matching double-quote: {self._text}")

    def _variable(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            return self._value(name) if name else "$"
        self._next()
        name = self._name()
        if not name:
            raise BuildError(f"bad substitution: {self._text}")
        sign = self._next()
        if sign == "}":
            return self._value(name)
        is_empty_unset = sign == ":"
        if is_empty_unset:
            sign = self._next()
        if sign not in ("-", "+", "?"):
            raise BuildError(f"unsupported modifier ({sign or 'end'}) in substitution: {self._text}")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BuildError(f"more than {_DEEPEST} substitutions in each other: {self._text[:80]}")
        word = self.word("}")
        self._depth -= 1
        is_set = bool(self._variables.get(name)) if is_empty_unset else name in self._variables
        if sign == "+":
            return word if is_set else ""
        if sign == "?" and not is_set:
            raise BuildError(f"{name}: {word or 'not set'}")
        return self._value(name) if is_set else word

    def _name(self) -> str:
        start = self._position
        while self._peek().isascii() and (self._peek().isalnum() or self._peek() == "_"):
            self._position += 1
            if self._position - start == 1 and self._text[start].isdigit():
                break  # $1 is a name of one digit, as in a shell
        return self._text[start : self._position]
