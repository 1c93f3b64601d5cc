"""What FROM and COPY --from may name: a stage of the build, an image that is here, or one at a registry."""

from pyfetch.bundle.runtime_config import IdMappings
from pyfetch.commands.pull import Pull
from pyfetch.image.reference import parse_reference
from pyfetch.options import parse
from pyfetch.progress import JsonEvents
from pyfetch.registry.credentials import Credentials
from pyrund.build.errors import BuildError
from pyrund.build.image import Draft
from pyrund.build.words import number
from pyrund.errors import ApiError
from pyrund.launch import layer_sizes
from pyrund.model.images import Images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Image as Stored
    from pyfetch.image.platforms import Platform
    from pyfetch.image.store import Store
    from pyrund.launch.build_output import Output
    from pyrund.places import Places

_HUB = "https://index.docker.io/v1/"  # how clients call it in their credentials


class Bases:
    """`platform` is what images shall be for, None for that of this machine; `pulls` asks a registry in any case.

    `logins` are the client's credentials, {registry: {username, password, ...}}.
    """

    def __init__(
        self,
        places: "Places",
        store: "Store",
        output: "Output",
        platform: "Platform | None",
        pulls: bool,
        logins: "dict[str, dict[str, str]]",
    ) -> None:
        self.platform = platform
        self._places = places
        self._store = store
        self._output = output
        self._pulls = pulls
        self._logins = logins
        self._stages: list[tuple[str, Draft]] = []

    def add_stage(self, name: str, draft: Draft) -> None:
        """Let later instructions name a stage that is done; without a name it has a number."""
        self._stages.append((name, draft))

    def find(self, name: str, platform: "Platform | None") -> Draft:
        """Return the stage or image that FROM means. Raises BuildError, and Error or OSError of a pull."""
        return self._stage(name) or self._image(name, platform)

    def source(self, name: str) -> Draft:
        """Return the stage or image that COPY --from means. Raises what find() raises."""
        found, place = self._stage(name), number(name)
        if found is None and place is not None and place < len(self._stages):
            found = self._stages[place][1]
        return found or self._image(name, self.platform)

    def _stage(self, name: str) -> "Draft | None":
        found = [draft for known, draft in self._stages if known and known == name.lower()]
        return found[-1] if found else None

    def _image(self, name: str, platform: "Platform | None") -> Draft:
        if not self._pulls:
            try:
                stored = Images(self._places).stored(name)
                if platform is None or stored.platform in platform.fits():
                    return Draft.of(stored)
            except ApiError as error:
                if error.status != 404:
                    raise BuildError(str(error)) from None
        return Draft.of(self._pulled(name, platform))

    def _pulled(self, name: str, platform: "Platform | None") -> "Stored":
        reference = parse_reference(name)
        options = ["--platform", str(platform)] if platform else []
        progress = JsonEvents(self._output.json)
        pull = Pull(parse(["pull", *options, str(reference)]), self._store, IdMappings([], []), progress)
        login = self._logins.get(_HUB if str(reference).startswith("docker.io/") else str(reference).partition("/")[0])
        if login:
            user, password, token = (str(login.get(n) or "") for n in ("username", "password", "identitytoken"))
            pull.login = Credentials(user, password, token, str(login.get("registrytoken") or ""))
        stored = pull.into_store()
        layer_sizes.note(self._places, self._store, stored)
        return stored
