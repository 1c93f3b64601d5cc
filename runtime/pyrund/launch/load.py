"""A worker that takes images from a client's archive into the store, and answers the request."""

import json

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.whole_file import write_all
from pyfetch.bundle.runtime_config import IdMappings
from pyfetch.commands.pull import Pull
from pyfetch.errors import VerificationError, WrongPlatform
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import nameless_file
from pyfetch.options import parse
from pyfetch.progress import Progress
from pyfetch.sources.archives import image_names, is_layout, open_archive
from pyrund.errors import ApiError, missing
from pyrund.http.body import Body
from pyrund.http.response import JSON
from pyrund.launch import layer_sizes
from pyrund.launch.answer import Answer
from pyrund.model.store import Store, nameless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Image
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Read the archive from the connection `descriptors[0]`; return the names, or ids, of the images that it brought.

    Images for other platforms than the one that the client names are passed over. Raises ApiError if no response has
    begun.
    """
    os.set_blocking(descriptors[0], True)
    store = Store(places.images)
    store.open()
    archive = nameless_file(os.path.join(store.path, "partial"))
    path = f"/proc/self/fd/{archive.fileno()}"  # pyfetch opens it for each image
    answer, loaded, others, has_begun = Answer(descriptors[0]), [], [], False
    try:
        for chunk in Body(descriptors[0], message["body"]):
            write_all(archive.fileno(), chunk)
        for place, name in _places(path, store):
            shown = parse_reference(name).familiar() if name else ""
            try:
                image = _load(places, store, place, name, message["platform"])
            except WrongPlatform:
                others.append(shown or "without a name")
                continue
            loaded.append(str(parse_reference(name)) if name else image.manifest.config.digest)
            if not has_begun:
                answer.begin({"Content-Type": JSON}, closes=True)
                has_begun = True
            _tell(answer, {"stream": f"Loaded image: {shown}\n" if name else f"Loaded image ID: {loaded[-1]}\n"})
        if others and not loaded:
            raise ApiError(404, _lacking(others, message["platform"]))
    except (Error, OSError) as error:
        text = reason(error).replace(path, "the archive")
        if not has_begun:
            raise ApiError(400 if isinstance(error, VerificationError) else 500, text) from error
        _tell(answer, {"errorDetail": {"message": text}, "error": text})
    answer.end()
    return {"loaded": loaded}


def _load(places: "Places", store: Store, place: str, name: str, platform: str) -> "Image":
    """Take one image into the store. Raises WrongPlatform if it is for others than `platform`, unless that is ""."""
    options = ["--platform", platform] if platform else []
    pull = Pull(parse(["pull", *options, place]), store, IdMappings([], []), Progress(lambda text: None))
    image = pull.into_store(None if name else lambda image: nameless(image.top))
    layer_sizes.note(places, store, image)
    return image


def _lacking(names: "list[str]", platform: str) -> str:
    several = f"images [{', '.join(names)}] don't" if len(names) > 1 else f"image {names[0]} doesn't"
    return f"{several} provide the requested platform ({platform})"


def _places(path: str, store: Store) -> "list[tuple[str, str]]":
    """Return (place for pyfetch, name or "") of each image in the archive, by each of its names."""
    with open(path, "rb", buffering=0) as file:
        files = open_archive(file, os.path.join(store.path, "partial"))
        is_docker = files.has("manifest.json")  # docker's own list is better than that of the layout
        if not is_docker and not is_layout(files, "the archive"):
            raise VerificationError("the archive holds no image")
        images = image_names(files, "the archive")
    kind = "docker-archive" if is_docker else "oci-archive"
    if not is_docker and [] in images and len(images) > 1:
        raise missing("an image without a name in a layout of several")
    return [
        (f"{kind}:{path}:{name}" if name else f"{kind}:{path}{f':@{number}' if is_docker else ''}", name)
        for number, names in enumerate(images)
        for name in names or [""]
    ]


def _tell(answer: Answer, event: "Message") -> None:
    answer.write(json.dumps(event).encode() + b"\n")
    answer.flush()
