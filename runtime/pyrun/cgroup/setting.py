"""One value for one file of a controller: what config.json becomes before anything is written."""

from errno import EINVAL

from pyrun.cgroup.controller import Controller


class Setting:
    """`otherwise` is for a kernel that does not have `file`; an `optional` one may be left out there."""

    def __init__(
        self, file: str, value: "int | str", otherwise: "Setting | None" = None, optional: bool = False
    ) -> None:
        self.file = file
        self.value = value
        self.otherwise = otherwise
        self.optional = optional

    def write(self, controller: Controller) -> None:
        if self.otherwise and not controller.has(self.file):
            self.otherwise.write(controller)
        elif not self.optional or controller.has(self.file):
            controller.write(self.file, self.value)

    def __repr__(self) -> str:
        return f"{self.file}={self.value}"


def write_all(controller: Controller, settings: "list[Setting]") -> None:
    """Write `settings` in an order that the kernel takes.

    Some bound each other: memory with and without swap; quota, period and burst; weight and idle. Which must go first
    depends on whether it rises or falls, so what is refused is tried again after the others.
    """
    while settings:
        refused: list[tuple[OSError, Setting]] = []
        for setting in settings:
            try:
                setting.write(controller)
            except OSError as error:
                if error.errno != EINVAL:
                    raise
                refused.append((error, setting))
        if len(refused) == len(settings):
            raise refused[0][0]
        settings = [setting for _, setting in refused]
