"""containers-policy.json(5): the administrator's rules on where images come from and who must have signed them.

Signatures are not checked here. So an image that needs one is refused, like a rejected one: a security setting is never
ignored silently. Without the file every image is accepted, as by docker.
"""

from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.document import Configuration, read_configuration
from pyfetch.sources.sources import Place

_SYSTEM_FILE = "/etc/containers/policy.json"
_ARCHIVES = ("docker-archive", "oci-archive")  # standard input can be either


def check_policy(place: Place) -> None:
    """Raise UsageError unless the policy accepts images of `place`."""
    own = os.path.join(os.home(), ".config/containers/policy.json")
    for path in (own, _SYSTEM_FILE):
        data = read_configuration(path)
        if data is not None:
            for transport in _ARCHIVES if place.kind == "stdin" else (place.kind,):
                _check(Configuration.decode(data, path), transport, place, path)
            return


def _check(policy: Configuration, transport: str, place: Place, path: str) -> None:
    requirements = _requirements(policy, transport, _scopes(place))
    if not requirements:
        raise policy.error("default", "no requirements; see --insecure-policy")
    for requirement in requirements:
        kind = requirement.string("type")
        if kind == "reject":
            raise UsageError(f"{place.text}: rejected by policy: {path}; see --insecure-policy")
        if kind != "insecureAcceptAnything":
            raise UsageError(
                f"{place.text}: {path} wants a signature ({kind}), which pyfetch cannot check; see --insecure-policy"
            )


def _requirements(policy: Configuration, transport: str, scopes: "list[str]") -> "list[Configuration]":
    """Return the requirements of the most specific scope that the policy has."""
    by_scope = policy.object("transports").object(transport)
    for scope in [*scopes, ""]:
        if by_scope.has(scope):
            return by_scope.objects(scope)
    return policy.objects("default")


def _scopes(place: Place) -> "list[str]":
    """Return the scopes that the image is in, the most specific first."""
    if place.reference is None:
        # docker-archive has no scopes.
        return [f"{place.path}:{place.wanted}", *_ancestors(place.path)] if place.kind in ("oci", "oci-archive") else []
    reference = place.reference
    scopes = _ancestors(f"{reference.host}/{reference.repository}")
    labels = reference.host.partition(":")[0].split(".")
    domains = ["*." + ".".join(labels[start:]) for start in range(1, len(labels))]
    return [str(reference), f"{scopes[0]}@{reference.digest}", f"{scopes[0]}:{reference.tag}", *scopes, *domains]


def _ancestors(path: str) -> "list[str]":
    found = []
    while path:
        found.append(path)
        path = path.rpartition("/")[0]
    return found
