"""A worker that measures what is in folders, such as what containers have written."""

from foundation.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Return the bytes in each of `folders`, 0 for one that is not there."""
    return {"bytes": [size_of(folder) if os.path.isdir(folder) else 0 for folder in message["folders"]]}


def size_of(folder: str) -> int:
    """Return the bytes of all files below `folder`, each counted once. What is removed meanwhile does not count."""
    seen, total, pending = set(), 0, [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        total += found.st_size
        except FileNotFoundError:
            continue
    return total
