"""--format: the templates of Go's text/template, as far as formats of docker use them.

Fields, pipes, functions, variables, `if`, `with`, `range`, `else`, `end`, and the minus signs that trim spaces. A
template becomes a list of nodes; a node is called with the data (the dot) and the variables, and returns text.
"""

import json

from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Variables = dict[str, Any]
    Node = Callable[[Any, Variables], str]
    Value = Callable[[Any, Variables], Any]

_PAIRS = {"(": ")", '"': '"', "`": "`"}


class Template:
    """The template `text`. Raises Refused if it is not well-formed."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))[::-1]
        try:
            self._nodes, end = self._block()
        except RecursionError:
            raise _wrong("too many parentheses") from None
        if end:
            raise _wrong(f"unexpected {{{{{end}}}}}")

    def fill(self, data: "Any") -> str:
        """Return the text for `data`, which is of JSON; what can be called is a method. Raises Refused."""
        return _text_of(self._nodes, data, {"$": data})

    def _block(self) -> "tuple[list[Node], str]":
        """Return the nodes up to `end` or `else`, and which it was; "" at the end of all."""
        nodes: list[Node] = []
        while self._tokens:
            is_action, text = self._tokens.pop()
            word = text.split(None, 1)[0] if text.split() else ""
            if not is_action:
                nodes.append(_literal(text))
            elif word in ("end", "else"):
                return nodes, text
            elif word in ("if", "with", "range"):
                nodes.append(self._control(word, text[len(word) :].strip()))
            elif not text.startswith("/*"):
                nodes.append(_action(text))
        return nodes, ""

    def _control(self, word: str, text: str) -> "Node":
        names, equals, source = text.partition(":=")
        value = _pipeline(source if equals else text)
        variables = [name.strip() for name in names.split(",")] if equals else []
        nodes, end = self._block()
        others: list[Node] = []
        if end.startswith("else "):
            others = [self._control(*end.split(None, 2)[1:])]
            end = "end"
        elif end == "else":
            others, end = self._block()
        if end != "end":
            raise _wrong("unexpected EOF")
        return (_range if word == "range" else _condition)(word == "with", variables, value, nodes, others)


def _wrong(why: str) -> Refused:
    return Refused(f"template parsing error: {why}")


def _tokens(text: str) -> "Iterator[tuple[bool, str]]":
    """Yield (whether it is between braces, text)."""
    trims = False
    while text:
        literal, braces, text = text.partition("{{")
        literal = literal.lstrip() if trims else literal
        if text.startswith("- "):
            literal, text = literal.rstrip(), text[2:]
        if literal:
            yield False, literal
        if braces:
            action, closing, text = text.partition("}}")
            if not closing:
                raise _wrong("unclosed action")
            trims = action.endswith(" -")
            yield True, (action[:-2] if trims else action).strip()


# Nodes.


def _text_of(nodes: "list[Node]", dot: "Any", variables: "Variables") -> str:
    return "".join(node(dot, variables) for node in nodes)


def _literal(text: str) -> "Node":
    return lambda dot, variables: text


def _action(text: str) -> "Node":
    name, equals, source = text.partition(":=")
    value = _pipeline(source if equals else text)
    if not equals:
        return lambda dot, variables: shown(value(dot, variables))

    def assign(dot: "Any", variables: "Variables") -> str:
        variables[name.strip()] = value(dot, variables)
        return ""

    return assign


def _condition(is_with: bool, names: "list[str]", value: "Value", nodes: "list[Node]", others: "list[Node]") -> "Node":
    def choose(dot: "Any", variables: "Variables") -> str:
        found = value(dot, variables)
        inner = {**variables, **{name: found for name in names}}
        if not _is_true(found):
            return _text_of(others, dot, inner)
        return _text_of(nodes, found if is_with else dot, inner)

    return choose


def _range(is_with: bool, names: "list[str]", value: "Value", nodes: "list[Node]", others: "list[Node]") -> "Node":
    def repeat(dot: "Any", variables: "Variables") -> str:
        found = value(dot, variables) or []
        if not isinstance(found, (dict, list)):
            raise _wrong(f"range can't iterate over {shown(found)}")
        pairs = sorted(found.items()) if isinstance(found, dict) else list(enumerate(found))
        if not pairs:
            return _text_of(others, dot, variables)
        texts = []
        for key, one in pairs:
            given = (key, one)[-len(names) :] if names else ()
            texts.append(_text_of(nodes, one, {**variables, **dict(zip(names, given))}))
        return "".join(texts)

    return repeat


# Values.


def _pipeline(text: str) -> "Value":
    first, *others = _split(text, "|")
    value = _command(first, None)
    for command in others:
        value = _command(command, value)
    return value


def _command(text: str, piped: "Value | None") -> "Value":
    """Return the value of "name argument...", with what comes out of the pipe as its last argument."""
    words = _split(text, " ")
    if not words:
        raise _wrong("missing value for command")
    arguments = [_operand(word) for word in words[1:]] + ([piped] if piped else [])
    if words[0] in FUNCTIONS:
        function = FUNCTIONS[words[0]]

        def call(dot: "Any", variables: "Variables") -> "Any":
            try:
                return function(*(argument(dot, variables) for argument in arguments))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise _wrong(f"error calling {words[0]}: {error}") from None

        return call
    value = _operand(words[0])
    if not arguments:
        return lambda dot, variables: _called(value(dot, variables), [])
    return lambda dot, variables: _called(value(dot, variables), [one(dot, variables) for one in arguments])


def _called(value: "Any", arguments: "list[Any]") -> "Any":
    if callable(value):
        return value(*arguments)
    if arguments:
        raise _wrong("can't give argument to non-function")
    return value


def _operand(word: str) -> "Value":
    if word[0] in '"`':
        text = _string(word)
        return lambda dot, variables: text
    if word[0] == "(":
        inner, fields = word.rpartition(")")[::2]
        value = _pipeline(inner[1:])
        return lambda dot, variables: _field(value(dot, variables), fields)
    if word[0] == ".":
        return lambda dot, variables: _field(dot, word)
    if word[0] == "$":
        name, dot_, fields = word.partition(".")
        return lambda dot, variables: _field(variables.get(name), f".{fields}" if dot_ else "")
    constants = {"true": True, "false": False, "nil": None}
    if word in constants:
        return lambda dot, variables: constants[word]
    try:
        number = int(word)
    except ValueError:
        raise _wrong(f'function "{word[:80]}" not defined') from None
    return lambda dot, variables: number


def _string(word: str) -> str:
    if word[0] == "`" and word.endswith("`"):
        return word[1:-1]
    try:
        return str(json.loads(word))  # escapes of Go are those of JSON, and some that nobody uses
    except ValueError:
        raise _wrong(f"malformed string {word[:80]}") from None


def _field(value: "Any", path: str) -> "Any":
    for name in path.split(".") if path.strip(".") else []:
        if not name:
            continue
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _wrong(f"can't evaluate field {name} in {shown(value)[:80]}")
        if name not in value:
            raise _wrong(f'map has no entry for key "{name}"')
        value = value[name]
    return value


def _split(text: str, separator: str) -> "list[str]":
    """Return the parts between separators that are not in quotes or parentheses."""
    parts, part, closing = [], "", []  # type: list[str], str, list[str]
    escaped = False
    for one in text:
        if one == separator and not closing:
            parts.append(part)
            part = ""
            continue
        part += one
        if escaped:
            escaped = False
        elif closing and one == closing[-1]:
            closing.pop()
        elif closing and closing[-1] == '"' and one == "\\":
            escaped = True
        elif one in _PAIRS and not (closing and closing[-1] in '"`'):
            closing.append(_PAIRS[one])
    if closing:
        raise _wrong(f"unclosed {closing[-1]}")
    return [one for one in map(str.strip, [*parts, part]) if one or separator == "|"]


def _is_true(value: "Any") -> bool:
    return bool(_called(value, []))


def shown(value: "Any") -> str:
    """Return a value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{shown(one)}' for key, one in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(shown, value))}]"
    return str(value)


def as_json(value: "Any") -> str:
    """Return a value as Go writes JSON; methods are left out."""
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if not callable(one)}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: "Any", *keys: "Any") -> "Any":
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return value


def _formatted(form: str, *values: "Any") -> str:
    return form.replace("%v", "%s").replace("%q", '"%s"') % tuple(
        one if isinstance(one, (int, float)) and not isinstance(one, bool) else shown(one) for one in values
    )


FUNCTIONS: "dict[str, Callable[..., Any]]" = {
    "json": as_json,
    "join": lambda values, separator: separator.join(map(shown, values or [])),
    "split": lambda text, separator: text.split(separator),
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "pad": lambda text, before, after: f"{' ' * before}{text}{' ' * after}" if text else "",
    "truncate": lambda text, most: text[:most],
    "print": lambda *values: "".join(map(shown, values)),
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "printf": _formatted,
    "len": lambda value: len(value or ""),
    "index": _index,
    "eq": lambda first, *others: first in others,
    "ne": lambda first, second: first != second,
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
    "and": lambda *values: next((one for one in values if not one), values[-1]),
    "or": lambda *values: next((one for one in values if one), values[-1]),
    "not": lambda value: not value,
}
