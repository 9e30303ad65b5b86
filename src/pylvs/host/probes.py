# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes of real servers, directly and by the path that the director's packets take: a few packets each.

No connection is left open and nobody's neighbour table changes. Frames are made by hand where the kernel would refuse:
the director has the VIP itself, so that its own sockets cannot reach the VIP of a real server.
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

from pylvs.host import neighbours, packets
from pylvs.host.machine import Machine
from pylvs.host.packets import Seen
from pylvs.host.routes import NOBODY, Route, link_local_address, own_address, route_to
from pylvs.model import Address, Tunnel

PATIENCE = 0.7  # seconds for a reply to one packet
TRIES = 2  # a lost packet is sent again
SNAP = 2048  # bytes kept of a frame
OUT_OF_WINDOW = 1 << 30  # added to a sequence number
ALL_NODES = ip_address("ff02::1")  # RFC 4291, 2.7.1


class Reply(Enum):
    """What a probe met; the value is how a person says it."""

    OPEN = "answers"
    REFUSED = "refuses the connection (RST)"
    SILENT = "gives no reply"
    PROHIBITED = "a firewall says that it is prohibited (ICMP)"
    UNREACHABLE = "is unreachable (ICMP)"
    UNKNOWN_TUNNEL = "does not know the tunnel (ICMP)"
    TOO_BIG = "is behind a smaller MTU (ICMP)"
    NO_ROUTE = "no route"
    KEPT_HERE = "is not even sent: this machine drops it"


@dataclass(frozen=True, slots=True)
class Result:
    """A reply, who gave it ('' if nobody), and for TOO_BIG the MTU in it."""

    reply: Reply
    by: str = ""
    mtu: int = 0


SILENCE = Result(Reply.SILENT)
BY_ERRNO = {
    errno.EHOSTUNREACH: Reply.UNREACHABLE,
    errno.ENETUNREACH: Reply.NO_ROUTE,
    errno.EACCES: Reply.PROHIBITED,
    errno.EPERM: Reply.PROHIBITED,
}
BY_ICMP = (
    (packets.UNKNOWN_PROTOCOL, Reply.UNKNOWN_TUNNEL),
    (packets.TOO_BIG, Reply.TOO_BIG),
    (packets.PROHIBITED, Reply.PROHIBITED),
    (packets.HOST_UNREACHABLE, Reply.UNREACHABLE),
)
Judge = Callable[[Seen], Result | None]


@dataclass(frozen=True, slots=True)
class ForwardingPath:
    """How the VIP's packets reach a real server: by DR, or by TUN in `tunnel`; `avoid` are not to be sent from."""

    vip: Address
    real: Address
    tunnel: Tunnel | None = None
    avoid: frozenset[Address] = NOBODY

    def wrap(self, route: Route, packet: bytes) -> bytes:
        """The packet as it leaves the director."""
        return packets.wrap(self.tunnel, route.source, self.real, packet) if self.tunnel else packet

    def source(self, route: Route) -> Address | None:
        """An address of ours, of the VIP's family, for the VIP to reply to."""
        if route.source.version == self.vip.version:
            return route.source
        return own_address(route.interface, self.vip.version, self.avoid)


class PacketSocket:
    """Sends IP packets by a route in frames to the next hop's MAC address, and waits for what comes back."""

    def __init__(self, route: Route, mac: bytes, raw: socket.socket) -> None:
        self.route, self.mac = route, mac
        self._raw = raw
        self._own = neighbours.mac_of(route.interface)

    def send(self, packet: bytes) -> bool:
        """Send, and return whether it left: a drop by a firewall at the interface's egress is ENOBUFS here."""
        try:
            self._raw.send(packets.frame(self._own, self.mac, packet))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    def frames(self, patience: float = PATIENCE) -> Iterator[bytes]:
        """The frames that come in within `patience` seconds."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0 and select.select([self._raw], [], [], left)[0]:
            data, (_, _, kind, _, _) = self._raw.recvfrom(SNAP)
            if kind != socket.PACKET_OUTGOING:
                yield data

    def wait(self, judge: Judge) -> Result:
        """The first result of `judge` for a packet that came in; SILENCE when there is none in time."""
        for data in self.frames():
            seen = packets.parse(data)
            if seen and (result := judge(seen)):
                return result
        return SILENCE

    def ask(self, packet: bytes, judge: Judge) -> Result:
        """Send and wait, and once more without a reply."""
        result = SILENCE
        for _ in range(TRIES):
            if not self.send(packet):
                return Result(Reply.KEPT_HERE, "this machine")
            result = self.wait(judge)
            if result.reply is not Reply.SILENT:
                break
        return result


@contextmanager
def packet_socket(target: Address, avoid: frozenset[Address] = NOBODY) -> Iterator[PacketSocket | None]:
    """A socket towards a real server; None where there is no route, or the next hop does not answer."""
    route = route_to(target, avoid)
    macs = neighbours.ask(route.interface, route.next_hop(target), route.source, PATIENCE, 1) if route else []
    if not route or not macs:
        yield None
        return
    with neighbours.listen(route.interface) as raw:
        yield PacketSocket(route, bytes.fromhex(macs[0].replace(":", "")), raw)


@dataclass(frozen=True, slots=True)
class _Flow:
    """TCP segments of one client to the VIP, by the forwarding path, without a connection in the kernel."""

    socket: PacketSocket
    path: ForwardingPath
    client: Address
    port: int
    cport: int
    seq: int

    @classmethod
    def to(cls, socket: PacketSocket, path: ForwardingPath, client: Address, port: int) -> _Flow:
        """A flow with a port and a sequence number of its own."""
        return cls(socket, path, client, port, 20000 + secrets.randbelow(12000), secrets.randbits(32))

    def segment(self, flags: int, offset: int = 0) -> bytes:
        """The packet to send; `offset` is added to the flow's sequence number."""
        seq = (self.seq + offset) & 0xFFFFFFFF
        packet = packets.tcp(self.client, self.cport, self.path.vip, self.port, flags, seq)
        return self.path.wrap(self.socket.route, packet)

    def reset(self) -> None:
        """Let the real server forget the flow."""
        self.socket.send(self.segment(packets.RST, 1))

    def owns(self, seen: Seen) -> bool:
        """Whether this is a segment of the VIP's to this client."""
        return seen.protocol == packets.TCP and seen.source == self.path.vip and seen.ports == (self.port, self.cport)


def connect(target: Address, port: int, source: Address | None = None) -> Result:
    """A TCP handshake by the kernel, ended at once by RST, so that nothing lingers."""
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(PATIENCE * TRIES)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if source:
            one.bind((str(source), 0))
        try:
            one.connect((str(target), port))
        except ConnectionRefusedError:
            return Result(Reply.REFUSED, str(target))
        except TimeoutError:
            return SILENCE
        except OSError as error:
            return Result(BY_ERRNO.get(error.errno or 0, Reply.UNREACHABLE), "a router or a firewall")
        return Result(Reply.OPEN, str(target))


def icmp_result(route: Route, seen: Seen) -> Result | None:
    """The result of an ICMP error that is for us; None for any other packet."""
    error = seen.error
    if error is None or seen.target != route.source:
        return None
    for codes, reply in BY_ICMP:
        if error in codes:
            return Result(reply, str(seen.source), seen.mtu if reply is Reply.TOO_BIG else 0)
    if error in packets.PORT_UNREACHABLE:
        quoted = packets.parse_ip(seen.quoted)
        tunnelled = quoted is not None and quoted.protocol == packets.UDP and quoted.target == seen.source
        return Result(Reply.UNKNOWN_TUNNEL if tunnelled else Reply.PROHIBITED, str(seen.source))
    return None


def handshake(path: ForwardingPath, port: int, source: Address | None = None) -> Result:
    """Send a SYN to the VIP by the forwarding path; a SYN+ACK that comes back is answered by RST."""
    with packet_socket(path.real, path.avoid) as sock:
        own = source or (path.source(sock.route) if sock else None)
        if sock is None or own is None:
            return Result(Reply.UNREACHABLE)
        flow = _Flow.to(sock, path, own, port)

        def judge(seen: Seen) -> Result | None:
            if flow.owns(seen):
                opened = seen.tcp_flags & packets.SYN
                return Result(Reply.OPEN if opened else Reply.REFUSED, str(path.real))
            return icmp_result(sock.route, seen)

        result = sock.ask(flow.segment(packets.SYN), judge)
        flow.reset()
        return result


def bare_ack(path: ForwardingPath, port: int) -> Result:
    """Whether an ACK comes back where a SYN+ACK does not: after a SYN, one out of its window is answered by ACK.

    Conntrack takes an ACK of a connection that it does not know for the middle of one, and a SYN+ACK for INVALID.
    """
    with packet_socket(path.real, path.avoid) as sock:
        own = path.source(sock.route) if sock else None
        if sock is None or own is None:
            return Result(Reply.UNREACHABLE)
        flow = _Flow.to(sock, path, own, port)

        def judge(seen: Seen) -> Result | None:
            acknowledged = flow.owns(seen) and seen.tcp_flags == packets.ACK
            return Result(Reply.OPEN, str(path.real)) if acknowledged else None

        sock.send(flow.segment(packets.SYN))
        result = sock.ask(flow.segment(packets.SYN, OUT_OF_WINDOW), judge)
        flow.reset()
        return result


def ping(path: ForwardingPath, size: int = 64) -> Result:
    """Send an ICMP echo request of `size` bytes, IP header included, to the VIP by the forwarding path."""
    with packet_socket(path.real, path.avoid) as sock:
        own = path.source(sock.route) if sock else None
        if sock is None or own is None:
            return Result(Reply.UNREACHABLE)
        identity = 1 + secrets.randbelow(65535)

        def judge(seen: Seen) -> Result | None:
            if seen.source == path.vip and seen.echo_reply == identity:
                return Result(Reply.OPEN, str(path.real))
            return icmp_result(sock.route, seen)

        return sock.ask(path.wrap(sock.route, packets.echo(own, path.vip, identity, size)), judge)


def ping_directly(target: Address, avoid: frozenset[Address] = NOBODY) -> Result:
    """Send a small ICMP echo request to a real server's own address."""
    return ping(ForwardingPath(target, target, None, avoid))


def speaks_ipv6(target: Address) -> bool:
    """Whether the machine with this IPv4 address replies to a ping of all IPv6 nodes that is sent to it alone."""
    with packet_socket(target) as sock:
        own = link_local_address(sock.route.interface) if sock else None
        if sock is None or own is None:
            return False
        identity = 1 + secrets.randbelow(65535)

        def judge(seen: Seen) -> Result | None:
            return Result(Reply.OPEN, str(seen.source)) if seen.echo_reply == identity else None

        return sock.ask(packets.echo(own, ALL_NODES, identity, 64), judge).reply is Reply.OPEN


def announced(path: ForwardingPath, port: int, stranger: Address) -> Address | None:
    """The sender address in the real server's ARP request for whom it sends the VIP's reply to; None without one.

    A SYN seems to come from `stranger`, an address of the segment that nobody has, so that the real server has to ask.
    """
    with packet_socket(path.real, path.avoid) as sock:
        if sock is None or path.vip.version != 4:
            return None
        flow = _Flow.to(sock, path, stranger, port)
        sock.send(flow.segment(packets.SYN))
        askers = (neighbours.asker_in(data, stranger) for data in sock.frames())
        found = next((address for mac, address in filter(None, askers) if mac == sock.mac), None)
        flow.reset()
        return found


def free_address(route: Route, near: Address, avoid: frozenset[Address] = NOBODY) -> Address | None:
    """An IPv4 address on the segment of the real server `near` that nobody has, for `announced` to use."""
    held = Machine().addresses
    ours = {h.address.ip for h in held}
    networks = (h.address.network for h in held if h.interface == route.interface and h.address.version == 4)
    network = next((one for one in networks if near in one), None)
    if network is None or network.prefixlen > 29:
        return None
    for _ in range(4):
        host = int(network.network_address) + 1 + secrets.randbelow(network.num_addresses - 2)
        candidate = ip_address(host)
        taken = candidate in avoid or candidate in ours
        if not taken and not neighbours.ask(route.interface, candidate, None, 0.3, 1):
            return candidate
    return None
