"""The registry's API: manifests and blobs of one repository, from the first endpoint that has them.

Source: distribution-spec 1.1, "Pull". Credentials stay with the registry's own scheme, host and port.
"""

from pyfetch.errors import AuthError, NetworkError, NotFound, VerificationError
from pyfetch.image.manifest import Descriptor
from pyfetch.image.reference import Reference
from pyfetch.registry.access import Options
from pyfetch.registry.connection import Unavailable
from pyfetch.registry.endpoints import endpoints_for
from pyfetch.registry.patience import PROGRESS, Patience
from pyfetch.registry.repository import Repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")


class Registry:
    """One image at its endpoints: a Source (image/image.py) that is safe for several threads."""

    def __init__(self, reference: Reference, options: Options, note: "Callable[[str], None]") -> None:
        self.name = str(reference)
        self.reference = reference
        self._options = options
        self._note = note
        self._repositories = [
            Repository(endpoint, reference, options, note) for endpoint in endpoints_for(reference, options.insecure)
        ]

    def top(self) -> "tuple[Descriptor, bytes | None]":
        """Return the descriptor that the reference stands for now, and the document if that came with it.

        A tag is resolved by HEAD: Docker Hub counts each GET of a manifest, but no HEAD.
        """
        if self.reference.digest:
            return Descriptor("", self.reference.digest, -1), None
        return self._retrying(lambda: self._anywhere(lambda repository: repository.head(self.reference.tag)))

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the manifest or index, verified."""
        if descriptor.data is not None:
            return descriptor.data
        return self._retrying(lambda: self._anywhere(lambda repository: repository.manifest(descriptor)))

    def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]":
        """Yield the blob from `offset` on, resuming after failures; the caller verifies the whole."""
        patience = Patience(self._options.retries, self._note)
        since = offset
        while offset < descriptor.size:
            try:
                for piece in self._anywhere(lambda r, at=offset: r.blob(descriptor, at)):  # type: ignore[misc]
                    offset += len(piece)
                    yield piece
            except Unavailable as error:
                if offset - since >= PROGRESS:
                    patience = Patience(self._options.retries, self._note)
                since = offset
                patience.wait(error)

    def tags(self, of_mirrors: bool = False) -> "list[str]":
        """Return the names of the repository's tags, as the registry itself has them, or one of its mirrors."""
        if of_mirrors:
            return self._retrying(lambda: self._anywhere(lambda repository: list(repository.tags())))
        return self._retrying(lambda: list(self._repositories[-1].tags()))

    def distrust(self) -> bool:
        """Stop using the mirrors, since one of them gave wrong content; return whether there were any."""
        found = len(self._repositories) > 1
        del self._repositories[:-1]
        return found

    def _retrying(self, attempt: "Callable[[], T]") -> "T":
        return Patience(self._options.retries, self._note).retry(attempt)

    def _anywhere(self, attempt: "Callable[[Repository], T]") -> "T":
        """Return the first endpoint's result. Any error of a mirror leads to the next one; the registry's is raised."""
        for repository in self._repositories[:-1]:
            try:
                return attempt(repository)
            except (NetworkError, NotFound, AuthError, VerificationError) as error:
                self._note(f"mirror {repository}: {error}: trying the next")
        return attempt(self._repositories[-1])
