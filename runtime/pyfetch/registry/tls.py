"""TLS contexts: authorities to trust and client certificates, from docker's and podman's folders."""

import ssl

from foundation.linux import os
from pyfetch.errors import UsageError

_SYSTEM_FOLDERS = ("/etc/containers/certs.d", "/etc/docker/certs.d")


class Certificates:
    """Files to use for one registry: authorities to trust beside the system's, and (certificate, key) pairs."""

    def __init__(self) -> None:
        self.authorities: list[str] = []
        self.pairs: list[tuple[str, str]] = []
        self.verify = True

    def context(self) -> ssl.SSLContext:
        """Return a client's context; raise UsageError if a file cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _load_system(context)
        try:
            for file in self.authorities:
                context.load_verify_locations(file)
            for certificate, key in self.pairs:
                context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"cannot use the certificates {[*self.authorities, *self.pairs]}: {error}") from error
        return context


def certificates_for(registry: str) -> Certificates:
    """Return what certs.d holds for `registry` (host or host:port): *.crt, and NAME.cert with NAME.key."""
    found = Certificates()
    home = os.environment.get("XDG_CONFIG_HOME") or os.path.join(os.home(), ".config")
    for folder in (os.path.join(home, "containers/certs.d"), *_SYSTEM_FOLDERS):
        place = os.path.join(folder, registry)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue  # most registries have no folder, and /etc/docker may be readable by root only
        for name in names:
            path = os.path.join(place, name)
            if name.endswith(".crt"):
                found.authorities.append(path)
            elif name.endswith(".cert"):
                found.pairs.append((path, path[: -len("cert")] + "key"))
    return found


def _load_system(context: ssl.SSLContext) -> None:
    """Trust the system's authorities.

    If their folder has hash links, OpenSSL reads only the certificate that it needs, instead of the whole bundle, which
    takes 16 to 45 ms. SSL_CERT_FILE and SSL_CERT_DIR replace both, as for every OpenSSL program.
    """
    paths = ssl.get_default_verify_paths()
    if "SSL_CERT_FILE" not in os.environment and paths.capath and _has_hash_links(paths.capath):
        context.load_verify_locations(capath=paths.capath)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _has_hash_links(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(".0") for entry in entries)
