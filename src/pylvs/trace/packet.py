# SPDX-License-Identifier: GPL-2.0-or-later
"""One traced packet, for a person and for a program. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pylvs.host.packets import ECHO, GRE, IPIP, IPV6, UDP, Seen, parse
from pylvs.model import Address, Endpoint
from pylvs.table.connections import STATES
from pylvs.table.outcomes import MEANINGS

PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 0: ""}
FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"))
PORTED = (6, 17, 132)
TUNNELS = {IPIP: "IPIP", IPV6: "IPIP", GRE: "GRE", UDP: "GUE"}


@dataclass(frozen=True, slots=True)
class TracedPacket:
    """What came, what the data plane did with it, and why. Endpoints are as `10.0.0.1:80`; '' is unknown or none."""

    time: int  # ns since 1970
    interface: str
    hook: str
    protocol: str
    client: str
    virtual: str
    source: str  # of the packet as it came
    target: str
    flags: tuple[str, ...]
    length: int  # bytes on the wire
    outcome: str
    connection: str = ""  # new, known
    reply: bool = False
    persistent: bool = False
    service: str = ""
    scheduler: str = ""
    destination: str = ""
    method: str = ""
    state: str = ""
    rewritten: str = ""  # the source and target with which it leaves, if they are others
    out: str = ""  # interface
    next_hop: str = ""
    mac: str = ""
    before: bytes = field(default=b"", repr=False)  # the first bytes of the frame as it came, and as it left
    after: bytes = field(default=b"", repr=False)
    left: int = 0  # bytes on the wire when it left

    @property
    def leaves(self) -> bool:
        """Whether something goes out."""
        return self.outcome.startswith(("FORWARD_", "REFUSE_"))


def endpoint(address: Address, port: int) -> str:
    """As pylvsadm writes it; without a port (0, as of ICMP), the address alone."""
    return str(Endpoint(address, port or None))


def ends(seen: Seen | None) -> tuple[str, str]:
    """Source and target of a packet, with ports if it has any."""
    if seen is None:
        return "", ""
    sport, dport = seen.ports if seen.protocol in PORTED else (0, 0)
    return endpoint(seen.source, sport), endpoint(seen.target, dport)


def tcp_flags(seen: Seen | None) -> tuple[str, ...]:
    """The names of the flags that are set."""
    return tuple(name for bit, name in FLAGS if seen is not None and seen.tcp_flags & bit)


def state_name(protocol: int, number: int) -> str:
    """A connection's state, by the kernel's name for it."""
    names = STATES.get(protocol, ())
    return names[number] if number < len(names) else ""


def mac(frame: bytes) -> str:
    """The destination MAC address of a frame; '' if it is not resolved yet."""
    return frame[:6].hex(":") if any(frame[:6]) else ""


def rewritten(before: bytes, after: bytes, method: str) -> str:
    """The addresses that a packet has now, its tunnel, or the ICMP error that it became; '' if it has the old ones."""
    old, new = parse(before), parse(after)
    if old is None or new is None:
        return ""
    readdressed = (old.source, old.target) != (new.source, new.target)
    if method == "TUN" and new.protocol in TUNNELS and readdressed:
        return f"in {TUNNELS[new.protocol]} {new.source} > {new.target}"
    if new.error and not old.error and new.protocol == ECHO[new.version][0]:
        return f"ICMP type {new.payload[0]} code {new.payload[1]} to {new.target}"
    source, target = ends(new)
    return "" if ends(old) == (source, target) else f"{source} > {target}"


def clock(time: int) -> str:
    """The local time of day of ns since 1970, to the microsecond."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds):%H:%M:%S}.{nanoseconds // 1000:06}"


def line(packet: TracedPacket) -> str:
    """A packet as one line for a person: when and where, what, why, how it leaves, and its outcome."""
    parts = (_head(packet), _why(packet), _departure(packet), _outcome(packet))
    return "; ".join(filter(None, parts))


def _head(packet: TracedPacket) -> str:
    what = " ".join(filter(None, (packet.protocol or "frame", ",".join(packet.flags))))
    ends = f"{packet.source} > {packet.target}" if packet.source else f"of {packet.length} bytes"
    return f"{clock(packet.time)} {packet.interface} {packet.hook}  {what} {ends}"


def _why(packet: TracedPacket) -> str:
    if not packet.connection:
        return f"for {packet.service}" if packet.service else ""
    if packet.connection == "new":
        by = f"persistent, {packet.scheduler}" if packet.persistent else packet.scheduler
        text = f"new: {packet.service} ({by}) chose {packet.destination}"
    elif packet.reply:
        text = f"reply of {packet.destination} to {packet.client}"
    else:
        text = f"known: to {packet.destination}"
    return f"{text}, {packet.state}" if packet.state else text


def _departure(packet: TracedPacket) -> str:
    """`NAT CIP:PORT > RIP:PORT by eth1 to 10.0.0.2 (MAC)`; what is not known is left out."""
    if not packet.leaves:
        return ""
    parts = [packet.method, packet.rewritten]
    if packet.out:
        parts.append(f"by {packet.out}")
    if packet.next_hop or packet.mac:
        parts.append("to")
    parts.append(packet.next_hop)
    if packet.mac:
        parts.append(f"({packet.mac})")
    return " ".join(filter(None, parts))


def _outcome(packet: TracedPacket) -> str:
    if packet.outcome.startswith("FORWARD_"):
        return packet.outcome
    return f"{packet.outcome} ({MEANINGS.get(packet.outcome, '')})"


def as_json(packet: TracedPacket) -> dict[str, Any]:
    """A packet as a JSON-serialisable dict: time as in RFC 3339 to the nanosecond, frames in hexadecimal."""
    seconds, nanoseconds = divmod(packet.time, 1_000_000_000)
    local = datetime.fromtimestamp(seconds).astimezone().isoformat()
    return asdict(packet) | {
        "time": f"{local[:19]}.{nanoseconds:09}{local[19:]}",
        "before": packet.before.hex(),
        "after": packet.after.hex() if packet.leaves else "",
        "meaning": MEANINGS.get(packet.outcome, ""),
    }
