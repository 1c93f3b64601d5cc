"""Users by name or number, as the container's own files define them."""

from foundation.errors import Error
from pyfetch.bundle.users import MAXIMUM_ID, User, find_user, needs_files
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def find(text: str, look: "Callable[[Callable[[int], User]], User]") -> User:
    """Return the user that `text` means: "name", "uid", "name:group" and so on. Raises ApiError.

    `look` calls its argument with a descriptor of the container's root directory; that may be costly.
    """
    text = "" if text == ":" else text  # root for docker; pyfetch would refuse it
    try:
        if not needs_files(text):
            return find_user(text, -1)
        return look(lambda root: find_user(text, root))
    except Error as error:
        if str(error).startswith("unable to find user"):
            name = text.partition(":")[0]
            raise ApiError(400, f"unable to find user {name[:80]}: no matching entries in passwd file") from None
        if str(error).startswith("unable to find group"):
            name = text.partition(":")[2]
            raise ApiError(400, f"unable to find group {name[:80]}: no matching entries in group file") from None
        if str(error).endswith("is out of range"):
            raise ApiError(400, f"uids and gids must be in range 0-{MAXIMUM_ID}") from None
        raise ApiError(400, str(error)) from None
