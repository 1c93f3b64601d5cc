"""Builds an image: one instruction after the other, each of which makes a new draft of the last one."""

import json
import time

from foundation.linux import os, whole_file
from pyfetch.bundle import overlay
from pyfetch.image.platforms import host_platform, parse_platform
from pyrund.archive.reader import Extraction
from pyrund.build import settings
from pyrund.build.cache import Cache
from pyrund.build.dockerfile import Instruction, parse_one
from pyrund.build.errors import BuildError, needs_buildkit
from pyrund.build.image import Draft, source_date
from pyrund.build.layer import take_layer
from pyrund.build.stages import Arguments, Stage
from pyrund.build.words import expand
from pyrund.errors import ApiError
from pyrund.launch.build_bases import Bases
from pyrund.launch.build_copy import Copy, check_name, has_directory
from pyrund.launch.build_run import Run
from pyrund.launch.measure import size_of
from pyrund.launch.new_image import unpack
from pyrund.model.images import Images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrund.build.dockerfile import Heredoc
    from pyrund.launch.build_output import Output
    from pyrund.messages import Message, Port
    from pyrund.model.store import Store
    from pyrund.places import Places

_COPIES = ("ADD", "COPY")
_SCRIPTS = "/dev/pipes"  # the directory in which BuildKit has them, too


class Builder:
    """`context` is a descriptor of the directory with the client's files, `bases` is what it may build on."""

    def __init__(
        self,
        places: "Places",
        store: "Store",
        message: "Message",
        answers: "Port",
        output: "Output",
        context: int,
        bases: Bases,
    ) -> None:
        self.places = places
        self.store = store
        self.context = context
        self.output = output
        self._message = message
        self._run = Run(places, store, answers, output, message["removes"], message["removes_failed"])
        self._bases = bases
        self._arguments = Arguments(message["arguments"], bases.platform or host_platform())
        self._cache = Cache(store, message["uses_cache"], _sources(places, message["cache_from"]))
        self._latest = source_date({n: v for n, v in message["arguments"].items() if v is not None})
        self._steps = self._step = 0
        # Of the present stage.
        self._draft = Draft.empty()
        self._seen: set[str] = set()
        self._author = ""

    def build(self, before: "list[Instruction]", stages: "list[Stage]") -> Draft:
        """Return the draft of the last stage. Raises BuildError, and Error or OSError of what it does."""
        self._steps = len(before) + sum(1 + len(stage.instructions) for stage in stages)
        for one in before:
            self._announce(one)
            self._arguments.declare(one, self._arguments.of_from, is_global=True)
        for stage in stages:
            self._begin(stage)
            for one in stage.instructions:
                self._announce(one)
                self._do(one)
                self._show()
            self._bases.add_stage(stage.name, self._draft)
        if unused := self._arguments.unused():
            self.output.line(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n")
        if not (self._draft.known or self._draft.history):
            raise BuildError("No image was generated. Is your Dockerfile empty?")
        return self._draft

    def _announce(self, instruction: Instruction) -> None:
        self.output.check()
        self._step += 1
        self.output.line(f"Step {self._step}/{self._steps} : {instruction.original}")
        self.output.line("\n")

    def _show(self) -> None:
        self.output.line(f" ---> {self._draft.id[7:19]}\n")

    # FROM.

    def _begin(self, stage: Stage) -> None:
        self._announce(stage.head)
        self._seen, self._author = set(), ""
        self._arguments.begin_stage()
        variables = self._arguments.of_from
        name = expand(stage.base, variables, stage.head.escape)
        if not name:
            raise BuildError(f"base name ({stage.base}) should not be blank")
        text = expand(stage.head.flags.get("platform", ""), variables, stage.head.escape)
        platform = parse_platform(text) if text else self._bases.platform
        if name.lower() == "scratch":
            self._draft = Draft.empty(platform)
            self.output.line(" ---> \n")
            return
        self._draft = self._bases.find(name, platform)
        self._show()
        self._triggers()

    def _triggers(self) -> None:
        """Do what the base image has for whoever builds on it."""
        config = self._draft.config
        triggers = config.get("OnBuild") or []
        if not triggers:
            return
        self.output.line(f"# Executing {len(triggers)} build trigger{'s' * (len(triggers) > 1)}\n")
        document = {**self._draft.document, "config": {n: v for n, v in config.items() if n != "OnBuild"}}
        self._draft = Draft(document, self._draft.layers)
        for text in triggers:
            self._do(parse_one(text))
            self._show()

    # The other instructions.

    def variables(self) -> "dict[str, str]":
        """Return what $NAME means in the present stage: a variable of the image is stronger than an argument."""
        return {**self._arguments.declared, **settings.environment(self._draft.config)}

    def _do(self, instruction: Instruction) -> None:
        if instruction.name in _COPIES:
            self._copy(instruction)
        elif instruction.name == "RUN":
            self._execute(instruction)
        elif instruction.name == "WORKDIR":
            self._enter(instruction)
        else:
            self._change(instruction)

    def _change(self, instruction: Instruction) -> None:
        """Do what changes the config alone."""
        config, variables = self._draft.config, self.variables()
        if instruction.flags and instruction.name != "HEALTHCHECK":
            raise instruction.error(f"Unknown flag: {next(iter(instruction.flags))[:40]}")
        if instruction.name == "ARG":
            shown = self._arguments.declare(instruction, variables)
        elif instruction.name == "MAINTAINER":
            self._author = instruction.rest
            shown = f"MAINTAINER {self._author}"
        elif settings.is_setting(instruction):
            shown = settings.apply(config, instruction, variables, self._seen)
        else:
            raise instruction.error(f"unexpected {instruction.name}")
        shell = " ".join(settings.shell_of(self._draft.config))
        # What is shown does not tell all: ENV A="1 B=2" and ENV A=1 B=2 look alike.
        key = self._cache.key(self._draft, shown, self._author, json.dumps(config, sort_keys=True))
        self._step_to(key, config, f"{shell} #(nop)  {shown}")

    def _step_to(self, key: str, config: "dict[str, Any]", created_by: str) -> None:
        if not self._is_known(key, config, created_by):
            self._remember(key, config, created_by, None)

    def _is_known(self, key: str, config: "dict[str, Any]", created_by: str) -> bool:
        found = self._cache.find(key, self._draft, config, created_by)
        if found is None:
            return False
        self._draft = found
        self.output.line(" ---> Using cache\n")
        return True

    def _remember(self, key: str, config: "dict[str, Any]", created_by: str, layer: "dict[str, Any] | None") -> None:
        nanoseconds = time.time_ns() if self._latest is None else self._latest
        author = self._author or str(self._draft.document.get("author") or "")
        self._draft = self._draft.with_step(config, {"created_by": created_by}, nanoseconds, layer, author)
        made = f"{self.store.layers}/{self._draft.folders(self.store)[-1]}" if layer else ""
        if made and not os.path.isdir(made):
            unpack(self.store, self._draft)
        self._cache.remember(key, self._draft, size_of(made) if made else None)

    def _enter(self, instruction: Instruction) -> None:
        config = self._draft.config
        shown = settings.apply(config, instruction, self.variables(), self._seen)
        created_by = f"{' '.join(settings.shell_of(config))} #(nop)  {shown}"
        key = self._cache.key(self._draft, shown)
        if self._is_known(key, config, created_by):
            return
        path, layer = os.fsencode(config["WorkingDir"]).strip(b"/"), None
        if not has_directory(self.store, self._draft, path):
            layer = self._written(lambda root: Extraction(root, b"", (0, 0)).make_directory(path))
        self._remember(key, config, created_by, layer)

    def _copy(self, instruction: Instruction) -> None:
        config = self._draft.config
        shell = " ".join(settings.shell_of(config))
        folder = f"{self.places.build(self._message['id'])}/{os.urandom(4).hex()}"
        os.mkdir(folder, 0o700)
        copy = Copy(self.store, self._draft, instruction, self.variables(), folder)

        def copy_from(root: int) -> None:
            copy.find(root)
            key, created_by = self._cache.key(self._draft, copy.shown), f"{shell} #(nop) {copy.shown} "
            if not self._is_known(key, config, created_by):
                self._remember(key, config, created_by, self._written(copy.write))

        name = expand(instruction.flags.get("from", ""), self.variables(), instruction.escape)
        if not name:
            copy_from(self.context)
            return
        folders = self._bases.source(name).folders(self.store)
        if not folders:
            raise BuildError(f"{instruction.name} failed: there is no file in {name[:80]}")
        overlay.with_view(self.store, folders, copy_from)

    def _written(self, write: "Callable[[int], object]") -> "dict[str, Any] | None":
        """Return the layer of what `write` makes in the root directory of the draft, whose descriptor it gets."""
        folder = f"{self.places.build(self._message['id'])}/{os.urandom(4).hex()}"
        upper, work, root = (f"{folder}/{name}" for name in ("upper", "work", "root"))
        os.mkdir(folder, 0o700)
        for path in (upper, work, root):
            os.mkdir(path, 0o755)
        folders = self._draft.folders(self.store)

        def mount_and_write(names: "list[str]") -> None:
            overlay.copy_root(names[-1], upper)
            overlay.mount_over(names[::-1], upper, work, root)
            _in(root, write)

        if folders:
            overlay.in_private_mounts(lambda: overlay.with_short_names(self.store, folders, mount_and_write))
        else:
            _in(upper, write)
        return take_layer(self.store, self._draft, upper, self._latest)

    def _execute(self, instruction: Instruction) -> None:
        if instruction.flags:
            raise needs_buildkit(next(iter(instruction.flags)))
        config = self._draft.config
        command, script = _command(config, instruction), _script(instruction)
        arguments, hidden = self._arguments.of_run(settings.environment(config))
        shown = [f"{name}={value}" for name, value in sorted(arguments.items())]
        created_by = " ".join([*([f"|{len(shown)}", *shown] if shown else []), *command])
        key = self._cache.key(self._draft, "RUN", *shown, "", *command)
        if self._is_known(key, config, created_by):
            return
        environment = [*(config.get("Env") or []), *shown, *(f"{name}={value}" for name, value in hidden.items())]
        mounts = []
        if script:
            command = [f"{_SCRIPTS}/{script.name}"]
            mounts.append({"Type": "bind", "Source": self._stored(script), "Target": command[0], "ReadOnly": True})
        layer = self._run.layer(self._draft, config, command, environment, mounts, self._latest)
        self._remember(key, config, created_by, layer)

    def _stored(self, script: "Heredoc") -> str:
        """Return the path of a file with the script, which lasts as long as the build."""
        path = f"{self.places.build(self._message['id'])}/{os.urandom(4).hex()}"
        whole_file.create(path, script.text.encode("utf-8", "surrogateescape"), 0o755)
        return path


def _sources(places: "Places", names: "list[str]") -> "list[Draft] | None":
    """Return the images of --cache-from that are here; as with dockerd, others are passed over."""
    images, found = Images(places), []
    for name in names:
        try:
            found.append(Draft.of(images.stored(name)))
        except ApiError:
            continue
    return found if names else None


def _command(config: "dict[str, Any]", instruction: Instruction) -> "list[str]":
    """Return what a RUN executes. A text below it is given to the shell, or is the shell's script, or one for the
    interpreter that it names."""
    if not instruction.heredocs:
        return settings.command(config, instruction)
    first = instruction.heredocs[0]
    if instruction.rest == first.word:
        return [first.text] if _script(instruction) else [*settings.shell_of(config), first.text]
    texts = "".join(f"{one.text}{one.name}\n" for one in instruction.heredocs)
    return [*settings.shell_of(config), f"{instruction.rest}\n{texts}"]


def _script(instruction: Instruction) -> "Heredoc | None":
    """Return the text below a RUN if it is a script that names its interpreter. As with BuildKit, it is a file in the
    container then, and variables in it stay as they are."""
    first = next(iter(instruction.heredocs), None)
    if first is None or instruction.rest != first.word or not first.text.startswith("#!"):
        return None
    check_name(os.fsencode(first.name))
    return first


def _in(path: str, write: "Callable[[int], object]") -> None:
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write(root)
    finally:
        os.close(root)
