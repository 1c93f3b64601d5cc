"""The image hello-world, with another text."""

from images import Image, busybox_layer, entry, tar


def hello(text):
    message = tar(entry("hello.txt", data=f"{text}\n".encode()))
    return Image(busybox_layer(), message, config={"Cmd": ["/bin/cat", "/hello.txt"]})
