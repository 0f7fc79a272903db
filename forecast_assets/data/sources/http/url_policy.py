"""Where a request may go: what an answer names is followed with care, for a stranger wrote it.

Which answers are followed, and how, does not belong here.
"""

import socket
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from forecast_assets.config.redaction import redact_url
from forecast_assets.errors import SourceError

Ip = IPv4Address | IPv6Address
SURROUNDINGS = "where a cloud tells a machine its own passwords"
METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"))
)
METADATA_NAMES = frozenset({"metadata.google.internal"})
NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class AddressRules:
    """Which addresses a request may reach; what no request may is not said here."""

    link_local: bool = True
    private: bool = True

    def fault(self, address: Ip) -> str | None:
        """What is wrong with an address; None where a request may reach it."""
        address = unwrap_ipv6(address)
        if address in METADATA:
            return SURROUNDINGS
        if address.is_link_local and not self.link_local:
            return "a link-local address"
        if not self.private and not is_public(address):
            return "not on the public internet, as what named it is"
        return None


def unwrap_ipv6(address: Ip) -> Ip:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def is_public(address: Ip) -> bool:
    """Whether an address is of the public internet, and of one machine there."""
    address = unwrap_ipv6(address)
    return address.is_global and not address.is_multicast


@dataclass(frozen=True)
class UrlPolicy:
    """The rules for one fetch; a name is looked up once."""

    known: dict[str, frozenset[Ip]] = field(default_factory=dict)

    def first(self, url: str) -> AddressRules:
        """Check the address that the settings name. Raises SourceError where it may not be."""
        bounds = AddressRules()
        if fault := self._fault(url, bounds):
            raise SourceError(
                f"`source.url` leads to {redact_url(url)}, which is {fault}. Nothing was asked"
                f" there, and nothing was published. Name the address of your data."
            )
        return bounds

    def after(self, url: str, *, came_from: str, what: str) -> AddressRules:
        """Check an address that an answer names; `what` is a redirect or a next page.

        Raises SourceError where it is not http, less safe than where it came from, or leads from
        the public internet to a network of one's own, or to a machine's own surroundings.
        """
        scheme = urlsplit(url).scheme
        bounds = AddressRules(
            link_local=False, private=not all(map(is_public, self._addresses(came_from)))
        )
        if scheme not in ("http", "https"):
            fault: str | None = "neither http nor https"
        elif scheme == "http" and urlsplit(came_from).scheme == "https":
            fault = "http and no longer https"
        else:
            fault = self._fault(url, bounds)
        if fault:
            raise SourceError(
                f"{redact_url(came_from)} names as its {what} {redact_url(url)}, which is {fault}."
                f" It was not followed, and nothing was published. If it is right, put that"
                f" address into `source.url`; if not, ask who runs the server."
            )
        return bounds

    def _fault(self, url: str, bounds: AddressRules) -> str | None:
        if (urlsplit(url).hostname or "").rstrip(".").lower() in METADATA_NAMES:
            return SURROUNDINGS
        faults = map(bounds.fault, sorted(self._addresses(url), key=str))
        return next(filter(None, faults), None)

    def _addresses(self, url: str) -> frozenset[Ip]:
        """What a URL's host is resolved to: nothing, where only a proxy knows it."""
        host = urlsplit(url).hostname or ""
        if host not in self.known:
            self.known[host] = resolve_host(host)
        return self.known[host]


def resolve_host(host: str) -> frozenset[Ip]:
    """Every address of a host, as the system finds them; none where it finds none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(ip_of(str(where[0])) for *_, where in found)


@cache
def ip_of(text: str) -> Ip:
    """An address that a socket names; its zone does not matter."""
    return ip_address(text.partition("%")[0])
