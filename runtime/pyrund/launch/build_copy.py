"""COPY and ADD: from the context, a stage, another image, a text in the Dockerfile, or an address."""

from errno import EINVAL, ENOENT, ENOTDIR

from foundation.linux import os, whole_file
from foundation.linux.openat2 import openat2
from foundation.linux.opened import opened
from pyfetch.bundle import overlay
from pyrund.archive.fingerprint import Fingerprint
from pyrund.archive.reader import Extraction
from pyrund.archive.writer import END, Archive
from pyrund.build import settings
from pyrund.build.dockerfile import TWO_PLACES, Instruction
from pyrund.build.errors import BuildError, needs_buildkit
from pyrund.build.words import expand, expand_text
from pyrund.errors import ApiError
from pyrund.launch import users
from pyrund.launch.build_sources import DIRECTORY, INSIDE, PATH, Source, matching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyfetch.image.store import Store
    from pyrund.build.dockerfile import Heredoc
    from pyrund.build.image import Draft

_MOST_LINKS = 40  # path_resolution(7)


class Copy:
    """A COPY or ADD after `draft`; `folder` gets what comes from elsewhere than a tree of files."""

    def __init__(
        self, store: "Store", draft: "Draft", instruction: Instruction, variables: "dict[str, str]", folder: str
    ) -> None:
        self._store = store
        self._draft = draft
        self._instruction = instruction
        self._variables = variables
        self._folder = os.open(folder, DIRECTORY)
        self._sources: list[Source] = []
        words = instruction.expanded(variables)
        if len(words) < 2:
            raise instruction.error(f"{instruction.name} requires {TWO_PLACES}")
        *self._words, self._target = words
        self.shown = ""
        self._given: dict[str, str] = {}  # --chown and --chmod, with the values of their variables
        self._owner, self._mode = self._flags()

    def _flags(self) -> "tuple[tuple[int, int] | None, int | None]":
        flags = dict(self._instruction.flags)
        for name in ("chown", "chmod"):
            if value := expand(flags.pop(name, ""), self._variables, self._instruction.escape):
                self._given[name] = value
        owner, mode = (self._given.get(name, "") for name in ("chown", "chmod"))
        comes_from = flags.pop("from", "")
        if comes_from and self._instruction.name == "ADD":
            raise self._instruction.error("Unknown flag: from")
        if flags:
            raise needs_buildkit(next(iter(flags)))
        if mode and (set(mode) - set("01234567") or len(mode) > 5):
            raise BuildError(f"invalid chmod parameter: '{mode[:20]}'. it should be octal and between 0 and 07777")
        return self._user(owner) if owner else (None if comes_from else (0, 0)), int(mode, 8) if mode else None

    def _user(self, text: str) -> "tuple[int, int]":
        folders = self._draft.folders(self._store)
        if ":" not in text:
            text = f"{text}:{text}"  # the group has the name, or the number, of the user
        try:
            user = users.find(text, lambda find: overlay.with_view(self._store, folders, find))
        except ApiError as error:
            raise BuildError(f"unable to convert uid/gid chown string to host mapping: {error}") from None
        return user.uid, user.gid

    # What is copied.

    def find(self, root: int) -> None:
        """Find all sources below the directory open as `root`. Raises BuildError."""
        texts = {expand(one.word, {}, self._instruction.escape): one for one in self._instruction.heredocs}
        for word in self._words:
            if word in texts:
                self._take_text(texts[word])
            elif self._instruction.name == "ADD" and word.startswith(("http://", "https://")):
                self._fetch(word)
            else:
                self._sources += matching(root, word, self._instruction)
        if len(self._sources) > 1 and not self._target.endswith("/"):
            raise BuildError(
                f"When using {self._instruction.name} with more than one source file, the destination must be a "
                "directory and end with a /"
            )
        self.shown = f"{self._instruction.name} {self._options()}{self._described()} in {self._target}"

    def _options(self) -> str:
        return "".join(f"--{name}={value} " for name, value in self._given.items())

    def _described(self) -> str:
        fingerprint = Fingerprint(self._owner is None or self._instruction.name == "ADD")
        for source in self._sources:
            if source.is_url:
                fingerprint.add(iter([b"url"]))  # ADD unpacks the same archive if it comes from the context
            fingerprint.add(source.members(fingerprint, source.name))
        kind = "multi" if len(self._sources) > 1 else "dir" if self._sources[0].is_directory else "file"
        return f"{kind}:{fingerprint.digest()}"

    def _take_text(self, one: "Heredoc") -> None:
        text = one.text if one.is_literal else expand_text(one.text, self._variables, self._instruction.escape)
        self._put(os.fsencode(one.name), text.encode("utf-8", "surrogateescape"))

    def _put(self, name: bytes, data: bytes) -> None:
        with opened(self._new_file(name, 0o644)) as file:
            whole_file.write_all(file, data)
        self._sources.append(Source(self._folder, name))

    def _new_file(self, name: bytes, mode: int) -> int:
        """Return a new file of our own folder; what the Dockerfile names must not lead out of it."""
        check_name(name)
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=self._folder)

    def _fetch(self, url: str) -> None:
        from pyrund.launch.download import Download, last_name  # urllib is large, and few builds have an address

        try:
            name = os.fsencode(last_name(url))
            if not name and self._target.endswith("/"):
                raise BuildError(f"ADD failed: cannot determine filename from url: {url[:200]}")
            name = name or b"file"
            with opened(self._new_file(name, 0o600)) as file:
                download = Download(url)
                for piece in download:
                    whole_file.write_all(file, piece)
                if download.modified is not None:
                    os.utime(file, (download.modified, download.modified))
        except ApiError as error:
            raise BuildError(f"ADD failed: {error}") from error
        self._sources.append(Source(self._folder, name, is_url=True))

    # Where it goes.

    def write(self, root: int) -> None:
        """Make the files in the directory open as `root`, that of the new layer."""
        path = os.fsencode(settings.absolute(self._draft.config, self._target)).strip(b"/")
        is_directory = self._target.endswith(("/", "/.")) or self._target in (".", "..") or _is_directory(root, path)
        path = _followed(root, path)
        if self._instruction.name == "ADD":
            packed = [source.unpacked() for source in self._sources]
        else:
            packed = [None for source in self._sources]
        plain = [source for source, pieces in zip(self._sources, packed) if pieces is None]
        if is_directory or len(self._sources) > 1 or any(packed) or any(one.is_directory for one in plain):
            Extraction(root, b"", self._owner).make_directory(path)
            self._extract(root, path, _archive(plain, b""))
        else:
            above, _, name = path.rpartition(b"/")
            Extraction(root, b"", self._owner).make_directory(above)
            self._extract(root, above, _archive(plain, name))
        for pieces in packed:
            if pieces is not None:
                chown = self._owner if "chown" in self._given else None
                Extraction(root, path, chown, mode=self._mode).extract(pieces)

    def _extract(self, root: int, top: bytes, pieces: "Iterator[bytes]") -> None:
        Extraction(root, top, self._owner, mode=self._mode).extract(pieces)


def _archive(sources: "list[Source]", name: bytes) -> "Iterator[bytes]":
    """Yield an archive of the sources; a file gets `name`, or keeps its own."""
    archive = Archive()
    for source in sources:
        yield from source.members(archive, name or source.name)
    yield END


def check_name(name: bytes) -> None:
    """Raise BuildError unless a file of a directory can have the name."""
    if b"/" in name or b"\0" in name or name in (b"", b".", b".."):
        raise BuildError(f"{os.fsdecode(name)[:80]!r} cannot be the name of a file")


def has_directory(store: "Store", draft: "Draft", path: bytes) -> bool:
    """Return whether the image has the directory `path`."""
    folders = draft.folders(store)
    return bool(folders) and overlay.with_view(store, folders, lambda root: _is_directory(root, path))


def _followed(root: int, path: bytes) -> bytes:
    """Return where the links at the end of `path` lead, even if there is nothing: docker writes there, and keeps them.

    Nobody changes the tree meanwhile, and each part of a link is resolved below the root.
    """
    for _ in range(_MOST_LINKS):
        above, _, name = path.rpartition(b"/")
        try:
            with opened(openat2(root, above or b".", PATH | os.O_DIRECTORY, INSIDE)) as directory:
                target = os.readlink(name or b".", dir_fd=directory).rstrip(b"/")
        except OSError as error:
            if error.errno not in (EINVAL, ENOENT, ENOTDIR):  # it is not a link, or there is nothing
                raise
            return path
        path = target.lstrip(b"/") if target[:1] in (b"", b"/") or not above else above + b"/" + target
    raise BuildError(f"too many levels of symbolic links: {os.fsdecode(path)[:200]}")


def _is_directory(root: int, path: bytes) -> bool:
    try:
        os.close(openat2(root, path or b".", PATH | os.O_DIRECTORY, INSIDE))
        return True
    except OSError:
        return False  # ENOENT, ENOTDIR, or a link that leads in a circle (ELOOP)
