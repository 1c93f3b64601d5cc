"""The types that a client's JSON must have.

As in Go, null means that a value is absent. A number has no fraction, and a boolean is not a number. The names in an
object may be written in upper or lower case: check() gives them the spelling of the shape. A shape is

    a Kind        a value
    [shape]       a list
    {str: shape}  an object with any names
    {...}         an object with these names; the values of other names may be anything
    WORDS         a list of strings, or a string, which stands for a list of one
"""

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Shape = Any


class Kind:
    """Values of a Python type: in the words of an error, what `one` of them and what `several` are."""

    def __init__(self, type_: type, one: str, several: str) -> None:
        self.type = type_
        self.one = one
        self.several = several

    def holds(self, value: object) -> bool:
        return type(value) is self.type and not (self is TEXT and "\0" in value)  # type: ignore[operator]


TEXT = Kind(str, "a string", "strings")  # without a zero byte: neither files nor programs could have it as a name
ANY_TEXT = Kind(str, "a string", "strings")
NUMBER = Kind(int, "a number", "numbers")
FLAG = Kind(bool, "true or false", "true or false")
WORDS = object()


def check(value: object, shape: "Shape", path: str) -> None:
    """Raise ApiError, which calls the value `path`, if it has not that shape."""
    if value is None:
        return
    if shape is WORDS:
        shape = TEXT if isinstance(value, str) else [TEXT]
    if isinstance(shape, Kind):
        if not shape.holds(value):
            raise _wrong(path, shape.one)
    elif isinstance(shape, list):
        _check_list(value, shape[0], path)
    else:
        _check_object(value, shape, path)


def _check_list(value: object, shape: "Shape", path: str) -> None:
    several = shape.several if isinstance(shape, Kind) else "lists" if isinstance(shape, list) else "objects"
    if not isinstance(value, list) or None in value:
        raise _wrong(path, several)
    if isinstance(shape, Kind):
        if not all(map(shape.holds, value)):
            raise _wrong(path, several)
        return
    for number, one in enumerate(value):
        check(one, shape, f"{path}[{number}]")


def _check_object(value: object, shape: "dict[Any, Shape]", path: str) -> None:
    of_any_name = shape.get(str)
    if not isinstance(value, dict):
        raise _wrong(path, "an object")
    if of_any_name is None:
        _correct_names(value, shape)
    for name, one in value.items():
        if of_any_name is not None:
            if of_any_name is not ANY_TEXT and ("\0" in name or one is None and of_any_name is TEXT):
                raise _wrong(path, "an object of strings")
            check(one, of_any_name, f"{path}[{name[:80]!r}]")
        elif name in shape:
            check(one, shape[name], f"{path}.{name}" if path else name)


def _correct_names(value: "dict[str, Any]", shape: "dict[Any, Shape]") -> None:
    for given in value.keys() - shape.keys():
        for name in shape:
            if name.lower() == given.lower() and name not in value:
                value[name] = value.pop(given)
                break


def _wrong(path: str, expected: str) -> ApiError:
    return ApiError(400, f"invalid JSON: {path}: expected {expected}")
