"""pyrun spec"""

import os

from pyrun.errors import Error
from pyrun.spec.default import default_config
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", bundle: str = ".", rootless: bool = False) -> None:
    path = os.path.join(bundle, "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Error("File config.json exists. Remove it first") from None
    with open(fd, "wb") as file:
        file.write(encode(default_config(rootless), indent="\t").encode())
