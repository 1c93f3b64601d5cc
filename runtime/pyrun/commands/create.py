"""pyrun create"""

from pyrun.launch.create import Request, create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, **options: "Any") -> None:
    create(Request(settings.root, id_, **options))
