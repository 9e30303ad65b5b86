# SPDX-License-Identifier: GPL-2.0-or-later
"""One packet as it was seen, for a person and for a program. Pure but for the names of interfaces and services."""

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


@dataclass(frozen=True, slots=True)
class Sight:
    """What came, what the data plane made of it, and why. Endpoints are as `10.0.0.1:80`; '' is unknown or none."""

    time: int  # ns since 1970
    interface: str
    hook: str
    protocol: str
    client: str
    virtual: str
    source: str  # as the packet has it
    target: str
    flags: tuple[str, ...]
    length: int
    outcome: str
    connection: str = ""  # new, known
    reply: bool = False
    persistent: bool = False
    service: str = ""
    scheduler: str = ""
    destination: str = ""
    method: str = ""
    state: str = ""
    rewritten: str = ""
    out: str = ""
    next_hop: str = ""
    mac: str = ""
    before: bytes = field(default=b"", repr=False)
    after: bytes = field(default=b"", repr=False)
    left: int = 0

    @property
    def leaves(self) -> bool:
        """Whether something goes out."""
        return self.outcome.startswith(("FORWARD_", "REFUSE_"))


def endpoint(address: Address, port: int) -> str:
    """As pylvsadm writes it; without a port (0, as of ICMP), the address alone."""
    return str(Endpoint(address, port or None))


def ends(seen: Seen | None) -> tuple[str, str]:
    """Source and target of a packet."""
    if seen is None:
        return "", ""
    sport, dport = seen.ports if seen.protocol in PORTED else (0, 0)
    return endpoint(seen.source, sport), endpoint(seen.target, dport)


def tcp_flags(seen: Seen | None) -> tuple[str, ...]:
    """Their names, the telling ones first."""
    return tuple(name for bit, name in FLAGS if seen is not None and seen.tcp_flags & bit)


def state_name(protocol: int, number: int) -> str:
    """The connection's state by the kernel's name."""
    names = STATES.get(protocol, ())
    return names[number] if number < len(names) else ""


def mac(frame: bytes) -> str:
    """Whom the frame is for; '' if that is not known yet."""
    return frame[:6].hex(":") if any(frame[:6]) else ""


def rewritten(before: bytes, after: bytes, method: str) -> str:
    """What the packet has become, if not only its Ethernet addresses are new."""
    old, new = parse(before), parse(after)
    if old is None or new is None:
        return ""
    if method == "TUN" and new.protocol in (IPIP, IPV6, GRE, UDP) and (old.source, old.target) != (
        new.source, new.target,
    ):  # fmt: skip
        kind = {GRE: "GRE", UDP: "GUE"}.get(new.protocol, "IPIP")
        return f"in {kind} {new.source} > {new.target}"
    if new.error and not old.error and new.protocol == ECHO[new.version][0]:
        return f"ICMP type {new.payload[0]} code {new.payload[1]} to {new.target}"
    source, target = ends(new)
    return "" if ends(old) == (source, target) else f"{source} > {target}"


def clock(time: int) -> str:
    """Time of day here, in microseconds."""
    return datetime.fromtimestamp(time // 1_000_000_000).strftime("%H:%M:%S.") + f"{time // 1000 % 1_000_000:06}"


def line(sight: Sight) -> str:
    """One line for a person."""
    what = " ".join(filter(None, (sight.protocol or "frame", ",".join(sight.flags))))
    head = f"{clock(sight.time)} {sight.interface} {sight.hook}  {what} "
    head += f"{sight.source} > {sight.target}" if sight.source else f"of {sight.length} bytes"
    said = "" if sight.outcome.startswith("FORWARD_") else f" ({MEANINGS.get(sight.outcome, '')})"
    return "; ".join(filter(None, (head, _why(sight), _way(sight), sight.outcome + said)))


def _why(sight: Sight) -> str:
    if sight.connection == "new":
        by = f"persistent, {sight.scheduler}" if sight.persistent else sight.scheduler
        chose = f"new: {sight.service} ({by}) chose {sight.destination}"
        return f"{chose}, {sight.state}" if sight.state else chose
    if sight.connection == "known":
        side = f"reply of {sight.destination} to {sight.client}" if sight.reply else f"known: to {sight.destination}"
        return f"{side}, {sight.state}" if sight.state else side
    return f"for {sight.service}" if sight.service else ""


def _way(sight: Sight) -> str:
    if not sight.leaves:
        return ""
    way = " ".join(filter(None, (sight.method, sight.rewritten)))
    hop = " ".join(filter(None, (sight.next_hop, f"({sight.mac})" if sight.mac else "")))
    return " ".join(filter(None, (way, f"by {sight.out}" if sight.out else "", f"to {hop}" if hop else "")))


def document(sight: Sight) -> dict[str, Any]:
    """The same as data."""
    fields = asdict(sight)
    seconds, rest = divmod(fields["time"], 1_000_000_000)
    when = datetime.fromtimestamp(seconds).astimezone().isoformat()
    fields["time"] = f"{when[:19]}.{rest:09}{when[19:]}"
    fields["before"], fields["after"] = sight.before.hex(), sight.after.hex() if sight.leaves else ""
    return fields | {"meaning": MEANINGS.get(sight.outcome, "")}
