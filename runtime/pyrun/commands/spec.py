"""pyrun spec"""

from foundation.encode import encode
from foundation.errors import Error
from foundation.linux import os, whole_file
from pyrun.config.default import default_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", bundle: str = ".", rootless: bool = False) -> None:
    path = os.path.join(bundle, "config.json")
    try:
        whole_file.create(path, encode(default_config(rootless), indent="\t").encode(), 0o666)
    except FileExistsError:
        raise Error("File config.json exists. Remove it first") from None
