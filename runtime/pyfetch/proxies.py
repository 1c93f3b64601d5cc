"""Which proxy a request goes through, by the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

The rules are those of Go's net/http, which users of docker have in their unit files: lower case too, networks (CIDR)
in NO_PROXY, loopback never. urllib's rules know no networks.
"""

import ipaddress
import os
from urllib.parse import unquote, urlsplit

from pyfetch.errors import UsageError


class Proxy:
    """host:port of a proxy; `authorization` is the value of Proxy-Authorization, or ""."""

    def __init__(self, url: str) -> None:
        import base64

        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"proxy {parts.scheme}://{parts.hostname}: only proxies by http:// are supported")
        self.host = parts.hostname
        self.port = parts.port or 80
        self.authorization = ""
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = f"Basic {base64.b64encode(user.encode()).decode()}"


def proxy_for(scheme: str, host: str, port: int) -> "Proxy | None":
    """Return the proxy for a request to `host`, or None for a direct connection."""
    url = _variable(f"{scheme}_proxy") or _variable("all_proxy")
    if scheme == "http" and "REQUEST_METHOD" in os.environ:
        url = ""  # CVE-2016-5388: in a CGI program HTTP_PROXY is the client's header `Proxy`
    return Proxy(url) if url and not _is_direct(host, port) else None


def is_loopback(host: str) -> bool:
    address = ip_address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def ip_address(host: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None  # a name


def _is_direct(host: str, port: int) -> bool:
    if is_loopback(host):
        return True
    rules = [rule.strip().lower() for rule in _variable("no_proxy").split(",")]
    return any(rule and _matches(rule, host.lower(), port) for rule in rules)


def _matches(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    address = ip_address(host)
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False  # no network: Go ignores it too
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and ip_address(rule) is None:
        if int(number) != port:
            return False
        rule = name
    if address is not None:
        return ip_address(rule) == address
    if rule.startswith("*."):
        rule = rule[1:]
    return host.endswith(rule) if rule.startswith(".") else host == rule or host.endswith(f".{rule}")


def _variable(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""
