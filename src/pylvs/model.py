# SPDX-License-Identifier: GPL-2.0-or-later
"""The nouns: what a table is made of. Values only; nothing here does I/O.

What is configured (`VirtualService`, `Destination`) is apart from what is observed (`ServiceState`, `DestinationState`,
`Connection`), which wraps it. Numbers are in host order, times in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum, IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol as Interface

from pylvs.errors import PylvsError, Unreadable
from pylvs.values import frozen

Address = IPv4Address | IPv6Address


class AddressType(Enum):
    """What an address is to the director, as its routing table `local` has it."""

    UNICAST = "unicast"
    LOCAL = "local"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"


AddressTypes = Callable[[Address], AddressType]


class Protocol(IntEnum):
    """IP protocol numbers of the transports that can be balanced (IANA)."""

    NONE = 0  # a firewall-mark service takes every transport
    TCP = 6
    UDP = 17
    SCTP = 132


# The option of ipvsadm(8) that names a service of each protocol.
SERVICE_OPTIONS = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}


@frozen
class Endpoint:
    """An address and a port in host order; None: no port, which is another thing than port 0 (any port, in IPVS)."""

    address: Address
    port: int | None = None

    def __str__(self) -> str:
        """`192.0.2.1:80`, `[2001:db8::1]:80`; without a port the address alone."""
        if self.port is None:
            return str(self.address)
        if self.address.version == 6:
            return f"[{self.address}]:{self.port}"
        return f"{self.address}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """What `str` writes, and an IPv6 address in brackets without a port. Numbers only; Unreadable."""
        host, port = _host_and_port(text)
        try:
            address = ip_address(host)
        except ValueError:
            raise Unreadable(f"no address in '{text}'; accepted: {_ENDPOINTS}") from None
        return cls(address, None if port is None else _port_number(port, text))


_ENDPOINTS = "192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80"


def _host_and_port(text: str) -> tuple[str, str | None]:
    """The two parts as text; None: there is no port."""
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], None
    if text.startswith("[") and "]:" in text:
        host, _, port = text[1:].partition("]:")
        return host, port
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None


def _port_number(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise Unreadable(f"no port in '{text}'; accepted: 0 to 65535, as in 192.0.2.1:80")
    return int(port)


class ForwardingMethod(Enum):
    """How a packet reaches its destination; the value is the name in `ipvsadm -L`."""

    NAT = "Masq"
    DR = "Route"
    TUN = "Tunnel"
    LOCAL = "Local"  # listed only: the kernel turns a local address into it
    FULLNAT = "FullNat"  # an addition: source rewritten too


class TunnelType(Enum):
    """Encapsulation of TUN; the value is the word of `--tun-type`."""

    IPIP = "ipip"
    GUE = "gue"
    GRE = "gre"


class TunnelChecksum(Enum):
    """The checksum in the outer header of TUN; the value is the suffix of `--tun-…`."""

    NONE = "nocsum"
    CSUM = "csum"
    REMCSUM = "remcsum"


class ServiceFlag(IntFlag):
    """The flags of a service, `IP_VS_SVC_F_*` of linux/ip_vs.h."""

    PERSISTENT = 0x01
    HASHED = 0x02
    ONE_PACKET = 0x04
    SCHED1 = 0x08  # sh-fallback, mh-fallback, flag-1
    SCHED2 = 0x10  # sh-port, mh-port, flag-2
    SCHED3 = 0x20  # flag-3


@frozen
class ServiceKey:
    """What names a virtual service: protocol + VIP + port, or a firewall mark with an address family.

    `fwmark` is 0 for an address service; then `address` is set, and `family` follows it. For a mark, `protocol` is
    `NONE`, `address` is None and `family` (4 or 6) tells the two services of one mark apart.
    """

    protocol: Protocol = Protocol.NONE
    address: Address | None = None
    port: int = 0
    fwmark: int = 0
    family: int = 4

    def __post_init__(self) -> None:
        if self.address is not None and self.family != self.address.version:
            object.__setattr__(self, "family", self.address.version)

    def __str__(self) -> str:
        """`TCP 192.0.2.1:80`, `fwmark 3`, `fwmark 3 IPv6`."""
        if self.address is None:
            return f"fwmark {self.fwmark}" + (" IPv6" if self.family == 6 else "")
        return f"{self.protocol.name} {Endpoint(self.address, self.port)}"

    @property
    def option(self) -> str:
        """The words that name it to pylvsadm: `-t 192.0.2.1:80`, `-f 3 -6`."""
        if self.address is None:
            return f"-f {self.fwmark}" + (" -6" if self.family == 6 else "")
        return f"{SERVICE_OPTIONS[self.protocol]} {Endpoint(self.address, self.port)}"

    @classmethod
    def parse(cls, text: str) -> ServiceKey:
        """What `str` and `option` write, and `tcp://192.0.2.1:80`; without a port it is 0. Unreadable."""
        match text.replace("://", " ", 1).split():
            case [("fwmark" | "-f"), mark]:
                return cls(fwmark=_mark_number(mark))
            case [("fwmark" | "-f"), mark, ("IPv6" | "-6")]:
                return cls(fwmark=_mark_number(mark), family=6)
            case [name, endpoint] if name.lower() in _PROTOCOL_WORDS:
                end = Endpoint.parse(endpoint)
                return cls(_PROTOCOL_WORDS[name.lower()], end.address, end.port or 0)
        raise Unreadable(f"no virtual service in '{text}'; accepted: {_SERVICES}")


_PROTOCOL_WORDS = {protocol.name.lower(): protocol for protocol in SERVICE_OPTIONS}
_PROTOCOL_WORDS |= {option: protocol for protocol, option in SERVICE_OPTIONS.items()}
_SERVICES = "TCP 192.0.2.1:80, tcp://192.0.2.1:80, -t 192.0.2.1:80 (also UDP, SCTP), fwmark 3, fwmark 3 IPv6"


def _mark_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 32:
        raise Unreadable(f"no firewall mark in '{text}'; accepted: 1 to 4294967295")
    return int(text)


@frozen
class VirtualService:
    """Configuration of one virtual service.

    `timeout` is the persistence timeout in seconds (with `ServiceFlag.PERSISTENT`); `netmask` is an IPv4
    mask as a 32-bit number in host order, or an IPv6 prefix length (1-128). Its default is the whole address in both.
    """

    key: ServiceKey
    scheduler: str = "wlc"
    flags: ServiceFlag = ServiceFlag(0)
    timeout: int = 0
    netmask: int = 0xFFFFFFFF
    persistence_engine: str = ""

    def __post_init__(self) -> None:
        if self.netmask == 0xFFFFFFFF and self.key.family == 6:
            object.__setattr__(self, "netmask", 128)


@frozen
class Tunnel:
    """How TUN encapsulates a packet; `port` is GUE's UDP port, 0 for the other types."""

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    checksum: TunnelChecksum = TunnelChecksum.NONE


PLAIN_TUNNEL = Tunnel()


@frozen
class Destination:
    """Configuration of one real server in a virtual service. A threshold of 0 is none.

    `local_addresses` (FULLNAT only) are the director's own addresses from which packets are sent to it.
    """

    address: Address
    port: int = 0
    method: ForwardingMethod = ForwardingMethod.DR
    weight: int = 1
    upper_threshold: int = 0
    lower_threshold: int = 0
    tunnel: Tunnel = PLAIN_TUNNEL
    local_addresses: tuple[Address, ...] = ()

    def __str__(self) -> str:
        """`192.0.2.11:80`."""
        return str(self.endpoint)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.address, self.port)

    @classmethod
    def parse(cls, text: str) -> Destination:
        """A destination by address and port, all else as by default; without a port it is 0. Unreadable."""
        end = Endpoint.parse(text)
        return cls(end.address, end.port or 0)


@frozen
class Counters:
    """Connections, packets and bytes: totals since they were last zeroed, or, as `rate`, per second."""

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0


NOTHING_COUNTED = Counters()


@frozen
class DestinationState:
    """A destination as observed; `persistent` is how many templates it has."""

    destination: Destination
    active: int = 0
    inactive: int = 0
    persistent: int = 0
    counters: Counters = NOTHING_COUNTED
    rate: Counters = NOTHING_COUNTED


@frozen
class ServiceState:
    """A virtual service as observed, its destinations in the kernel's order: the one added last comes first."""

    service: VirtualService
    destinations: tuple[DestinationState, ...] = ()
    counters: Counters = NOTHING_COUNTED
    rate: Counters = NOTHING_COUNTED


@frozen
class Connection:
    """One entry of the connection table. `expires` is in seconds from now; a template has cport 0."""

    protocol: Protocol
    client: Address
    cport: int
    virtual: Address
    vport: int
    real: Address
    rport: int
    state: str
    expires: float
    fwmark: int = 0
    template: bool = False
    method: ForwardingMethod = ForwardingMethod.DR


# A connection as plain values, for listing a million of them: protocol, state, expiry in whole seconds, then
# client, VIP and real server, each as address (16 bytes, IPv4-mapped) and port (host order). In a template
# cport is 0; in that of a firewall mark the protocol is 0 and the VIP is the mark.
ConnectionRow = tuple[int, str, int, bytes, int, bytes, int, bytes, int]

# What `Table.replace` puts in place: a service and its destinations in the order in which they are added.
ConfiguredService = tuple[VirtualService, Sequence[Destination]]


@frozen
class Timeouts:
    """The connection timeouts of `ipvsadm --set tcp tcpfin udp`, in seconds; to set 0 leaves a value as it is."""

    tcp: int = 900
    tcp_fin: int = 120
    udp: int = 300


@frozen
class SyncDaemon:
    """A connection sync daemon; `role` is 'master' or 'backup'. 0 and '' stand for the kernel's defaults."""

    role: str
    interface: str = ""
    sync_id: int = 0
    max_length: int = 0
    group: Address | None = None
    port: int = 0
    ttl: int = 0


class Table(Interface):
    """What `pylvsadm` drives: `pylvs.Director`, or in tests a table in memory.

    Every method raises a subclass of `pylvs.errors.TableError` and then leaves the table as it was.
    """

    def locked(self) -> AbstractContextManager[None]:
        """Keep every other command out while several changes are made."""
        ...

    def address_types(self) -> AddressTypes:
        """What tells the type of any address, as the routing table is now: only some may be destinations."""
        ...

    def add_service(self, service: VirtualService) -> None: ...
    def edit_service(self, service: VirtualService) -> None: ...
    def delete_service(self, key: ServiceKey) -> None: ...
    def flush(self) -> None: ...
    def add_destination(self, key: ServiceKey, destination: Destination) -> None: ...
    def add_destinations(self, key: ServiceKey, destinations: Sequence[Destination]) -> Sequence[PylvsError | None]:
        """Add many destinations to one service: for each of them None, or why it was not added."""
        ...

    def edit_destination(self, key: ServiceKey, destination: Destination) -> None: ...
    def delete_destination(self, key: ServiceKey, destination: Destination) -> None: ...
    def service(self, key: ServiceKey) -> ServiceState: ...
    def services(self, counted: bool = True) -> Iterable[ServiceState]:
        """Every service. Unless `counted`, counters and rates may be left zero."""
        ...

    def connections(self) -> Iterator[Connection]: ...
    def connection_rows(self) -> Iterator[Sequence[ConnectionRow]]:
        """Every connection as a plain tuple, in chunks."""
        ...

    def connection_text(self) -> Iterator[bytes]:
        """Every connection as a numeric row of `-Lnc`: ASCII, in blocks of whole rows."""
        ...

    def replace(self, services: Sequence[ConfiguredService]) -> None:
        """Make the table be this, all or nothing; packets do not notice."""
        ...

    def cpu_totals(self) -> Sequence[Counters]:
        """The counters of all services together, by CPU."""
        ...

    def zero(self, key: ServiceKey | None = None) -> None: ...
    def timeouts(self) -> Timeouts: ...
    def set_timeouts(self, timeouts: Timeouts) -> None: ...
    def totals(self) -> tuple[Counters, Counters]: ...
    def start_daemon(self, daemon: SyncDaemon) -> None: ...
    def stop_daemon(self, role: str) -> None: ...
    def daemons(self) -> Iterable[SyncDaemon]: ...
