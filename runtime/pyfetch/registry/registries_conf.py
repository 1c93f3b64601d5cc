"""The files of containers-registries.conf(5), and what they make of short names."""

from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.document import Configuration, read_configuration
from pyfetch.image.reference import has_host
from pyfetch.registry.toml import parse_toml


def registries_conf() -> "list[Configuration]":
    """Return the content of the files, in their order. The user's file replaces the system's."""
    home = os.environment.get("XDG_CONFIG_HOME") or os.path.join(os.home(), ".config")
    own = os.path.join(home, "containers/registries.conf")
    main = os.environment.get("CONTAINERS_REGISTRIES_CONF") or (
        own if os.path.exists(own) else "/etc/containers/registries.conf"
    )
    files = [main]
    for folder in ("/etc/containers/registries.conf.d", f"{own}.d"):
        if os.path.isdir(folder):
            files += [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".conf")]
    return [parse_toml(read_configuration(path) or b"", path) for path in files]


def full_names(text: str) -> "list[str]":
    """Return the names with a registry that `text` may stand for, in the order in which they are tried.

    Without an alias and without unqualified-search-registries that is Docker Hub's, as for docker.
    """
    if has_host(text):
        return [text]
    name = text.partition("@")[0]
    colon = name.rfind(":", name.rfind("/") + 1)
    name = name if colon < 0 else name[:colon]
    alias, mode = "", ""
    registries: list[str] = []
    for document in registries_conf():
        alias = document.text_map("aliases").get(name, alias)  # an empty one removes an earlier one
        mode = document.string("short-name-mode") or mode
        if document.has("unqualified-search-registries"):
            registries = document.strings("unqualified-search-registries")
    if alias:
        return [alias + text[len(name) :]]
    found = [f"{registry}/{text}" for registry in registries]
    if mode == "enforcing" and len(found) > 1:
        raise UsageError(f"{text}: short-name-mode is enforcing: choose one of {' '.join(found)}")
    return found or [text]
