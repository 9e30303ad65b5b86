# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking real servers, harmlessly: a few packets each, no connection is left open, nobody's neighbour table changes.

Frames are made by hand where the kernel would refuse: the director has the VIP itself, so it cannot send to it.
"""

from __future__ import annotations

import errno
import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from pylvs.host import iproute, neighbours, packets
from pylvs.host.command import CommandFailed
from pylvs.host.machine import Machine
from pylvs.host.packets import Seen
from pylvs.model import Address, Tunnel

PATIENCE = 0.7  # seconds for an answer, once; a lost packet is asked for again
TRIES = 2
SNAP = 2048


class Reply(Enum):
    """What a probe met; the value is how a person says it."""

    OPEN = "answers"
    REFUSED = "refuses the connection (RST)"
    SILENT = "says nothing"
    PROHIBITED = "a firewall says that it is prohibited (ICMP)"
    UNREACHABLE = "is said to be unreachable (ICMP)"
    UNKNOWN_TUNNEL = "does not know the tunnel (ICMP)"
    TOO_BIG = "is behind a smaller MTU (ICMP)"
    NO_ROUTE = "no route"
    KEPT_HERE = "is not even sent: this machine drops it"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A reply, who gave it ('' if nobody), and for TOO_BIG the MTU that was said."""

    reply: Reply
    by: str = ""
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """The way to an address: the card, our own address there, the gateway (None: on-link), the card's MTU."""

    interface: str
    source: Address
    gateway: Address | None
    mtu: int = 1500

    def next_hop(self, target: Address) -> Address:
        return self.gateway or target


NOBODY: frozenset[Address] = frozenset()


def way_to(target: Address, avoid: frozenset[Address] = NOBODY) -> Way | None:
    """What the routing table says; None where it knows no way, or the address is our own.

    `avoid` are the VIPs: the kernel may choose one as our source, and a real server would answer that to itself.
    """
    try:
        found = iproute.listed(f"-{target.version}", "route", "get", str(target))[0]
    except (CommandFailed, IndexError):
        return None
    source = found.get("prefsrc")
    if found.get("type") in ("local", "unreachable", "blackhole", "prohibit") or found.get("dev") in (None, "lo"):
        return None
    if source and ip_address(source) in avoid:
        source = own_address(found["dev"], target.version, avoid) or source
    if not source:
        return None
    via = found.get("gateway")
    mtu = int(iproute.listed("link", "show", found["dev"])[0].get("mtu", 1500))
    return Way(found["dev"], ip_address(str(source)), ip_address(via) if via else None, mtu)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the neighbour table: hardware address and state, such as REACHABLE or PERMANENT."""

    mac: str
    state: str


def neighbour(interface: str, address: Address) -> Neighbour | None:
    """What this machine's neighbour table says; None where it does not know."""
    for row in iproute.listed("neigh", "show", "to", str(address), "dev", interface):
        if "lladdr" in row:
            return Neighbour(row["lladdr"], " ".join(row.get("state", [])))
    return None


def connect(target: Address, port: int, source: Address | None = None) -> Outcome:
    """A TCP handshake by the kernel, ended at once by RST, so that nothing lingers."""
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(PATIENCE * TRIES)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if source:
            one.bind((str(source), 0))
        return _result(lambda: one.connect((str(target), port)), str(target))


def _result(call: Callable[[], None], target: str) -> Outcome:
    try:
        call()
        return Outcome(Reply.OPEN, target)
    except ConnectionRefusedError:
        return Outcome(Reply.REFUSED, target)
    except TimeoutError:
        return Outcome(Reply.SILENT)
    except OSError as error:
        known = {
            errno.EHOSTUNREACH: Reply.UNREACHABLE,
            errno.ENETUNREACH: Reply.NO_ROUTE,
            errno.EACCES: Reply.PROHIBITED,
            errno.EPERM: Reply.PROHIBITED,
        }
        return Outcome(known.get(error.errno or 0, Reply.UNREACHABLE), "a router or a firewall")


class Wire:
    """Hand-made frames on the way to a destination, and what comes back to our own address there."""

    def __init__(self, way: Way, mac: bytes, raw: socket.socket) -> None:
        self.way = way
        self._raw, self._target = raw, mac
        self._own = neighbours.mac_of(way.interface)

    @property
    def mac(self) -> bytes:
        """The next hop's."""
        return self._target

    def send(self, packet: bytes) -> bool:
        """Whether it left: a drop on the way out, as by a firewall at the card's egress, is told as a full buffer."""
        try:
            self._raw.send(packets.frame(self._own, self._target, packet))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    def wait(self, judge: Callable[[Seen], Outcome | None], patience: float = PATIENCE) -> Outcome:
        """The first verdict on a packet that came in; SILENT when there is none in time."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._raw], [], [], left)[0]:
                break
            data, (_, _, kind, _, _) = self._raw.recvfrom(SNAP)
            seen = packets.parse(data) if kind != socket.PACKET_OUTGOING else None
            if seen and (outcome := judge(seen)):
                return outcome
        return Outcome(Reply.SILENT)

    def ask(self, packet: bytes, judge: Callable[[Seen], Outcome | None]) -> Outcome:
        """Send, and once more if nobody answers."""
        outcome = Outcome(Reply.SILENT)
        for _ in range(TRIES):
            if not self.send(packet):
                return Outcome(Reply.KEPT_HERE, "this machine")
            outcome = self.wait(judge)
            if outcome.reply is not Reply.SILENT:
                break
        return outcome


@contextmanager
def wire_to(target: Address, avoid: frozenset[Address] = NOBODY) -> Iterator[Wire | None]:
    """A wire towards a real server; None where there is no way, or the next hop does not answer."""
    way = way_to(target, avoid)
    macs = neighbours.ask(way.interface, way.next_hop(target), way.source, PATIENCE, 1) if way else []
    if not way or not macs:
        yield None
        return
    with neighbours.listen(way.interface) as raw:
        yield Wire(way, bytes.fromhex(macs[0].replace(":", "")), raw)


@dataclass(frozen=True, slots=True)
class Path:
    """The real forwarding path to a destination: the VIP's packets to this real server, by DR or TUN."""

    vip: Address
    real: Address
    tunnel: Tunnel | None = None
    avoid: frozenset[Address] = NOBODY

    def dress(self, way: Way, packet: bytes) -> bytes:
        """The packet as it leaves the director."""
        return packets.wrap(self.tunnel, way.source, self.real, packet) if self.tunnel else packet

    def source(self, way: Way) -> Address | None:
        """An address of ours, of the VIP's family, for the VIP to answer to."""
        if way.source.version == self.vip.version:
            return way.source
        return own_address(way.interface, self.vip.version, self.avoid)


def own_address(interface: str, version: int, avoid: frozenset[Address]) -> Address | None:
    """An address of ours on a card, of this family, that is no VIP."""
    found = (h.address.ip for h in Machine().addresses if h.interface == interface and h.address.version == version)
    return next((one for one in found if one not in avoid and not one.is_link_local), None)


def icmp_judge(way: Way, seen: Seen) -> Outcome | None:
    """An ICMP error to us, as an outcome."""
    error = seen.error
    if error is None or seen.target != way.source:
        return None
    for codes, reply in (
        (packets.UNKNOWN_PROTOCOL, Reply.UNKNOWN_TUNNEL),
        (packets.TOO_BIG, Reply.TOO_BIG),
        (packets.PROHIBITED, Reply.PROHIBITED),
        (packets.HOST_UNREACHABLE, Reply.UNREACHABLE),
    ):
        if error in codes:
            return Outcome(reply, str(seen.source), seen.mtu if reply is Reply.TOO_BIG else 0)
    if error in packets.PORT_UNREACHABLE:
        quoted = packets.parse(bytes(14) + seen.quoted)
        tunnelled = quoted is not None and quoted.protocol == packets.UDP and quoted.target == seen.source
        return Outcome(Reply.UNKNOWN_TUNNEL if tunnelled else Reply.PROHIBITED, str(seen.source))
    return None


def handshake(path: Path, port: int, source: Address | None = None) -> Outcome:
    """SYN to the VIP by the forwarding path; what comes back to us. A SYN+ACK is answered by RST."""
    with wire_to(path.real, path.avoid) as wire:
        own = source or (path.source(wire.way) if wire else None)
        if wire is None or own is None:
            return Outcome(Reply.UNREACHABLE)
        sport, seq = 20000 + secrets.randbelow(12000), secrets.randbits(32)

        def judge(seen: Seen) -> Outcome | None:
            if seen.protocol == packets.TCP and seen.source == path.vip and seen.ports == (port, sport):
                opened = seen.tcp_flags & packets.SYN
                return Outcome(Reply.OPEN if opened else Reply.REFUSED, str(path.real))
            return icmp_judge(wire.way, seen)

        def segment(flags: int, number: int) -> bytes:
            return path.dress(wire.way, packets.tcp(own, sport, path.vip, port, flags, number))

        outcome = wire.ask(segment(packets.SYN, seq), judge)
        wire.send(segment(packets.RST, (seq + 1) & 0xFFFFFFFF))
        return outcome


OUT_OF_WINDOW = 1 << 30


def bare_ack(path: Path, port: int) -> Outcome:
    """Whether an ACK comes back where a SYN+ACK does not: a SYN, and one out of its window, which is answered by ACK.

    Conntrack takes an ACK of a connection that it does not know for the middle of one, and a SYN+ACK for INVALID.
    """
    with wire_to(path.real, path.avoid) as wire:
        own = path.source(wire.way) if wire else None
        if wire is None or own is None:
            return Outcome(Reply.UNREACHABLE)
        sport, seq = 20000 + secrets.randbelow(12000), secrets.randbits(32)

        def judge(seen: Seen) -> Outcome | None:
            ours = seen.protocol == packets.TCP and seen.source == path.vip and seen.ports == (port, sport)
            return Outcome(Reply.OPEN, str(path.real)) if ours and seen.tcp_flags == packets.ACK else None

        def segment(flags: int, number: int) -> bytes:
            return path.dress(wire.way, packets.tcp(own, sport, path.vip, port, flags, number & 0xFFFFFFFF))

        wire.send(segment(packets.SYN, seq))
        outcome = wire.ask(segment(packets.SYN, seq + OUT_OF_WINDOW), judge)
        wire.send(segment(packets.RST, seq + 1))
        return outcome


def ping(path: Path, size: int = 64) -> Outcome:
    """An echo request of `size` bytes (with IP header) to the VIP by the forwarding path."""
    with wire_to(path.real, path.avoid) as wire:
        own = path.source(wire.way) if wire else None
        if wire is None or own is None:
            return Outcome(Reply.UNREACHABLE)
        identity = 1 + secrets.randbelow(65535)

        def judge(seen: Seen) -> Outcome | None:
            if seen.source == path.vip and seen.echo_reply == identity:
                return Outcome(Reply.OPEN, str(path.real))
            return icmp_judge(wire.way, seen)

        return wire.ask(path.dress(wire.way, packets.echo(own, path.vip, identity, size)), judge)


def ping_directly(target: Address, avoid: frozenset[Address] = NOBODY) -> Outcome:
    """A small ping of a real server's own address."""
    return ping(Path(target, target, None, avoid))


def speaks_ipv6(target: Address) -> bool:
    """Whether the machine with an IPv4 address answers a ping to all IPv6 hosts of the segment, sent to it alone."""
    with wire_to(target) as wire:
        own = _link_local(wire.way.interface) if wire else None
        if wire is None or own is None:
            return False
        everybody, identity = ip_address("ff02::1"), 1 + secrets.randbelow(65535)

        def judge(seen: Seen) -> Outcome | None:
            return Outcome(Reply.OPEN, str(seen.source)) if seen.echo_reply == identity else None

        return wire.ask(packets.echo(own, everybody, identity, 64), judge).reply is Reply.OPEN


def _link_local(interface: str) -> Address | None:
    found = (h.address.ip for h in Machine().addresses if h.interface == interface and h.address.version == 6)
    return next((one for one in found if one.is_link_local), None)


def announced(path: Path, port: int, stranger: Address) -> Address | None:
    """Which address a real server gives as its own when it asks for a neighbour to send the VIP's reply to.

    A SYN seems to come from `stranger`, an address of the segment that nobody has, so that the real server has to ask.
    """
    with wire_to(path.real, path.avoid) as wire:
        if wire is None or path.vip.version != 4:
            return None
        sport, seq = 20000 + secrets.randbelow(12000), secrets.randbits(32)
        wire.send(packets.tcp(stranger, sport, path.vip, port, packets.SYN, seq))
        found = _asker(wire, path, stranger)
        wire.send(packets.tcp(stranger, sport, path.vip, port, packets.RST, (seq + 1) & 0xFFFFFFFF))
        return found


def _asker(wire: Wire, path: Path, stranger: Address) -> Address | None:
    """The sender's address in the first ARP request for `stranger` from the real server."""
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0 and select.select([wire._raw], [], [], left)[0]:
        data = wire._raw.recv(SNAP)
        request = data[12:14] == b"\x08\x06" and data[20:22] == b"\0\1" and data[38:42] == stranger.packed
        if request and data[6:12] == wire.mac:
            return ip_address(data[28:32])
    return None


def free_address(way: Way, near: Address, avoid: frozenset[Address] = NOBODY) -> Address | None:
    """An address of the real server's segment that nobody has, for `announced` to use."""
    held = Machine().addresses
    network = next((h.address.network for h in held if h.interface == way.interface
                    and h.address.version == 4 and near in h.address.network), None)  # fmt: skip
    if network is None or network.prefixlen > 29:
        return None
    for _ in range(4):
        host = int(network.network_address) + 1 + secrets.randbelow(network.num_addresses - 2)
        candidate = ip_address(host)
        ours = candidate in avoid or any(candidate == h.address.ip for h in held)
        if not ours and not neighbours.ask(way.interface, candidate, None, 0.3, 1):
            return candidate
    return None
