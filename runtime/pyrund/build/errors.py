"""What is wrong with a build."""

from foundation.errors import Error


def needs_buildkit(flag: str) -> "BuildError":
    """Return the error for a flag that docker's classic builder does not have either, in its words."""
    return BuildError(
        f"the --{flag[:40]} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to "
        "build images with BuildKit enabled"
    )


class BuildError(Error):
    """A build cannot go on. `code` is the exit status of a RUN that failed, 0 for anything else."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
