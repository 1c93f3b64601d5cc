"""A worker that gives a client all files of a container's layers as a tar archive."""

from foundation.linux import os
from foundation.linux.opened import opened
from pyrund.archive.writer import END, Archive
from pyrund.launch.answer import Answer
from pyrund.launch.view import with_layers
from pyrund.model.container import existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer the request on the connection `descriptors[0]`."""
    container = existing(places, message["id"])

    def look(root: int) -> None:
        answer, archive = Answer(descriptors[0]), Archive(in_seconds=True)
        answer.begin({"Content-Type": "application/octet-stream"})
        with opened(os.open(b"/proc/self/fd/%d" % root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            for name in sorted(map(os.fsencode, os.listdir(directory))):
                for part in archive.members(directory, name, name):
                    answer.write(part)
        answer.write(END)
        answer.end()

    with_layers(container, look)
