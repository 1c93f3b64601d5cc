"""Chooses the proxy of a request by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

The rules are those of Go's net/http, for which users of docker write their unit files: lower-case names too, networks
(CIDR) in NO_PROXY, never a proxy for loopback. urllib does not support networks.
"""

import ipaddress
from urllib.parse import unquote, urlsplit

from foundation.errors import one_line
from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.registry.addresses import ip_address, is_host, is_loopback


class Proxy:
    """host:port of a proxy; `authorization` is the value of Proxy-Authorization, or ""."""

    def __init__(self, url: str, variable: str) -> None:
        import base64

        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            raise _no_proxy(variable) from None
        if parts.scheme != "http":
            where = one_line(f"{parts.scheme}://{parts.hostname}", 100)
            raise UsageError(f"{variable}: {where}: only proxies by http:// are supported; NO_PROXY names exceptions")
        # An unquoted `/`, `?` or `#` in a password ends the host's part, and the "@" is found behind it.
        if not parts.hostname or not is_host(parts.hostname) or "@" in parts.path + parts.query + parts.fragment:
            raise _no_proxy(variable)
        self.host = parts.hostname
        self.port = port or 80
        self.authorization = ""
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = f"Basic {base64.b64encode(user.encode('utf-8', 'surrogateescape')).decode()}"


def _no_proxy(variable: str) -> UsageError:
    """Return the error for a value that is not a URL, without the value, which may hold a password."""
    return UsageError(f"{variable}: not http://[user:password@]host:port (in a password, write %2F for /, %23 for #)")


def proxy_for(scheme: str, host: str, port: int) -> "Proxy | None":
    """Return the proxy for a request to `host`, or None for a direct connection."""
    url, variable = _chosen(scheme)
    return Proxy(url, variable) if url and not _is_direct(host, port) else None


def _chosen(scheme: str) -> "tuple[str, str]":
    """Return the proxy's URL, or "", and the variable that gives it."""
    if scheme == "http" and "REQUEST_METHOD" in os.environment:
        return "", ""  # CVE-2016-5388: in a CGI program HTTP_PROXY is the client's header `Proxy`
    url = _variable(f"{scheme}_proxy")
    if url:
        return url, f"{scheme}_proxy".upper()
    url = _variable("all_proxy")
    # Go does not read ALL_PROXY, so one that we cannot use is ignored and not refused.
    return (url if url.lower().startswith("http://") or "://" not in url else ""), "ALL_PROXY"


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
            return False  # not a network: Go ignores it too
    name, colon, number = rule.rpartition(":")
    if colon and number.isdigit() and ip_address(rule) is None:
        if number != str(port):
            return False
        rule = name
    if address is not None:
        return ip_address(rule) == address
    if rule.startswith("*."):
        rule = rule[1:]
    return host.endswith(rule) if rule.startswith(".") else host == rule or host.endswith(f".{rule}")


def _variable(name: str) -> str:
    return os.environment.get(name) or os.environment.get(name.upper()) or ""
