"""One value for one file of a controller: the parts of linux.resources become such settings before any is written."""

from errno import EINVAL

from pyrun.cgroup.controller import Controller


class Setting:
    """On a kernel without `file`, `otherwise` is written instead; an `optional` setting is skipped."""

    def __init__(
        self, file: str, value: "int | str", otherwise: "Setting | None" = None, optional: bool = False
    ) -> None:
        self.file = file
        self.value = value
        self.otherwise = otherwise
        self.optional = optional

    def write(self, controller: Controller) -> None:
        """Write the value. Raises OSError that names the file and the value."""
        if self.otherwise and not controller.has(self.file):
            self.otherwise.write(controller)
        elif not self.optional or controller.has(self.file):
            controller.write(self.file, self.value)

    def __repr__(self) -> str:
        return f"{self.file}={self.value}"


def write_all(controller: Controller, settings: "list[Setting]") -> None:
    """Write `settings` in an order that the kernel accepts. Raises the first OSError if none does.

    Some limit each other: memory with and without swap; quota, period and burst; weight and idle. Which one must come
    first depends on whether it rises or falls, so settings refused with EINVAL are tried again after the others.
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
