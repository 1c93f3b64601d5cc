"""The program that the stub executes last."""

from errno import EACCES, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

from pyrun.stub.table import Table

# execve(2) of one path fails with these, and execvp(3) tries the next.
SEARCH_GOES_ON = (ENOENT, EACCES, ENOTDIR, ELOOP, ENAMETOOLONG)


class Program:
    """The program to execute: `paths`, `arguments` and `environment` as bytes, as execve(2) takes them.

    Of several paths, the first is executed that can be. `reaper` is the descriptor of the reaper that is executed
    first, with the program as its child, or -1.
    """

    def __init__(self, paths: "list[bytes]", arguments: "list[bytes]", environment: "list[bytes]") -> None:
        self.paths = paths
        self.arguments = arguments
        self.environment = environment
        self.reaper = -1

    def execute(self, table: Table) -> None:
        """Append the rows that execute the program."""
        arguments, environment = table.strings(self.arguments), table.strings(self.environment)
        for path in self.paths[:-1]:
            table.call("execve", table.string(path), arguments, environment, excused=SEARCH_GOES_ON)
        table.call("execve", table.string(self.paths[-1]), arguments, environment)
