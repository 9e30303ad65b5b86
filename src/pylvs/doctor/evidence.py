# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor has seen on a director: each thing is looked at once, when a diagnosis first asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from pylvs.addresses import unpack
from pylvs.dataplane.attach import XDP_CATCHES, Attachment
from pylvs.dataplane.instance import Instance, NotThere
from pylvs.doctor import offloads as cards
from pylvs.doctor.firewall import Rule, rules
from pylvs.errors import PylvsError
from pylvs.host import neighbours, probes
from pylvs.host.capture import Heard, overhear
from pylvs.host.machine import Machine
from pylvs.host.probes import Outcome, Path, Reply, Way
from pylvs.model import Address, DestinationState, ForwardingMethod, Protocol, ServiceState, Tunnel, TunnelType
from pylvs.realserver.injection import claims
from pylvs.table.connections import TCP_STATES

USUAL_PORTS = (80, 443, 8080, 8000, 8008, 8081, 8443, 8888, 3000, 5000)
ROWS = 200_000  # of the connection table, at most
YOUNG = 12  # seconds: half-open connections older than that speak of the past
SETTLED = 2  # seconds: a younger one may be in the middle of its handshake
FEW = 3  # half-open connections at one destination say nothing yet
LISTENING = 2.5  # seconds: a SYN or SYN+ACK is sent again after 1, 3 and 7
PROBERS = 16  # at the same time
LIFE = (Reply.OPEN, Reply.REFUSED, Reply.PROHIBITED, Reply.UNKNOWN_TUNNEL)
MOST = 64  # destinations probed in one examination


def spelled(address: Address, port: int) -> str:
    """As pylvsadm writes it."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def service_words(service: ServiceState) -> str:
    """The service's part of a pylvsadm command line."""
    key = service.service.key
    if key.fwmark or key.address is None:
        return f"-f {key.fwmark}" + (" -6" if key.family == 6 else "")
    letter = {Protocol.TCP: "-t", Protocol.UDP: "-u"}.get(key.protocol, "--sctp-service")
    return f"{letter} {spelled(key.address, key.port)}"


@dataclass
class Patient:
    """One destination, and what probing it has shown; None: not asked, or it makes no sense here."""

    service: ServiceState
    state: DestinationState
    vips: frozenset[Address] = frozenset()  # of all services: no probe may come from one
    half_open: int = 0  # young connections in SYN_RECV
    others: int = 0  # young connections in other states

    @property
    def address(self) -> Address:
        return self.state.destination.address

    @property
    def vip(self) -> Address | None:
        return self.service.service.key.address

    @property
    def method(self) -> ForwardingMethod:
        return self.state.destination.method

    @property
    def tcp_service(self) -> bool:
        return self.service.service.key.protocol is Protocol.TCP and self.port != 0

    @property
    def port(self) -> int:
        """Where the real server listens: with DR and TUN that is the service's port."""
        mapped = self.method in (ForwardingMethod.NAT, ForwardingMethod.FULLNAT)
        return (self.state.destination.port if mapped else 0) or self.service.service.key.port

    @property
    def name(self) -> str:
        return spelled(self.address, self.port)

    @property
    def words(self) -> str:
        """The destination's part of a pylvsadm command line."""
        return f"{service_words(self.service)} -r {self.name}"

    @property
    def hidden_vip(self) -> bool:
        """Whether packets reach the real server addressed to the VIP."""
        return self.method in (ForwardingMethod.DR, ForwardingMethod.TUN)

    @cached_property
    def here(self) -> bool:
        """Whether the destination is the director itself."""
        return bool(Machine().holders(self.address))

    @cached_property
    def way(self) -> Way | None:
        return probes.way_to(self.address, self.vips)

    @property
    def on_link(self) -> bool:
        return self.way is not None and self.way.gateway is None

    @cached_property
    def macs(self) -> list[str]:
        """Who says, to us, that the RIP is his."""
        if not self.way or not self.on_link:
            return []
        return neighbours.ask(self.way.interface, self.address, self.way.source, probes.PATIENCE, 1)

    @cached_property
    def macs_by_probe(self) -> list[str]:
        """Who says so to nobody in particular (sender 0.0.0.0), whatever he thinks of our own address."""
        if not self.way or not self.on_link:
            return []
        return neighbours.ask(self.way.interface, self.address, None, probes.PATIENCE, 1)

    @cached_property
    def neighbour(self) -> probes.Neighbour | None:
        """What the director's own neighbour table says of it."""
        return probes.neighbour(self.way.interface, self.address) if self.way and self.on_link else None

    @property
    def misdirected(self) -> bool:
        """Whether the neighbour table has another hardware address than the one that answers."""
        return self.neighbour is not None and bool(self.macs) and self.neighbour.mac not in self.macs

    @cached_property
    def direct(self) -> Outcome | None:
        """A handshake with RIP:port."""
        if self.here or not self.tcp_service:
            return None
        return probes.connect(self.address, self.port, self.way.source if self.way else None)

    @cached_property
    def ping(self) -> Outcome | None:
        """A ping of the RIP; asked only when TCP is silent."""
        return None if self.here or self.way is None else probes.ping_directly(self.address, self.vips)

    @property
    def alive(self) -> bool:
        """Whether the machine gives any sign of life."""
        said = (one.reply for one in (self.direct, self.through, self.echo, self.ping) if one)
        return bool(self.macs) or any(reply in LIFE for reply in said)

    @property
    def path(self) -> Path | None:
        """The forwarding path to it."""
        if self.here or self.vip is None or not self.hidden_vip:
            return None
        if self.method is ForwardingMethod.DR and not self.on_link:
            return None
        tunnel = self.state.destination.tunnel if self.method is ForwardingMethod.TUN else None
        return Path(self.vip, self.address, tunnel, self.vips)

    @cached_property
    def through(self) -> Outcome | None:
        """A handshake with the VIP by the real forwarding path."""
        return probes.handshake(self.path, self.port) if self.path and self.tcp_service else None

    @cached_property
    def echo(self) -> Outcome | None:
        """A small ping of the VIP by the forwarding path."""
        return probes.ping(self.path) if self.path else None

    @cached_property
    def dead_cycle(self) -> bool:
        """Whether it seems to take our address for its own, as with the VIP on lo as wide as its network.

        With a strict rp_filter it then answers no ARP that names us; else its answers go to itself: all that is IPv4 is
        silent, and IPv6 on the same card, by the same machine, is not.
        """
        if self.way is None or not self.on_link or self.address.version != 4 or not self.hidden_vip:
            return False
        if not self.macs:
            return bool(self.macs_by_probe)
        silent = self.direct is not None and self.direct.reply is Reply.SILENT
        silent = silent and self.ping is not None and self.ping.reply is Reply.SILENT
        return silent and probes.speaks_ipv6(self.address)

    @cached_property
    def bare_ack(self) -> Outcome | None:
        """An ACK by the forwarding path; asked only where the SYN+ACK does not come, nor a ping's reply."""
        lost = self.through is not None and self.through.reply is Reply.SILENT
        lost = lost and self.echo is not None and self.echo.reply is Reply.SILENT
        listens = self.direct is not None and self.direct.reply is Reply.OPEN
        return probes.bare_ack(self.path, self.port) if self.path and lost and listens else None

    @property
    def stuck(self) -> bool:
        """The document's sign: most of its young connections are half-open, although it answers the director."""
        answers = self.through or self.direct
        return (
            answers is not None
            and answers.reply is Reply.OPEN
            and self.half_open >= FEW
            and self.half_open > self.others
        )

    @property
    def room(self) -> int:
        """The largest packet that the tunnel takes as the director sees it: the card's MTU less the outer headers."""
        tunnel = self.state.destination.tunnel
        return (self.way.mtu if self.way else 1500) - overhead(tunnel, self.address)

    @cached_property
    def big_echo(self) -> Outcome | None:
        """A ping of the VIP that fills the tunnel."""
        if not self.path or not self.path.tunnel:
            return None
        return probes.ping(self.path, self.room)

    @cached_property
    def announces(self) -> Address | None:
        """DR: the sender that the real server puts into its ARP requests for the VIP's replies."""
        if not self.path or self.path.tunnel or self.vip is None or self.vip.version == 6 or not self.tcp_service:
            return None
        for _ in range(probes.TRIES):
            stranger = probes.free_address(self.way, self.address, self.vips) if self.way else None
            found = probes.announced(self.path, self.port, stranger) if stranger else None
            if found or not stranger:
                return found
        return None

    @cached_property
    def back(self) -> Outcome | None:
        """NAT: a handshake with RIP:port from an address of ours that is not on its segment, as clients are not."""
        stranger = self._stranger()
        if self.method is not ForwardingMethod.NAT or not self.tcp_service or stranger is None:
            return None
        return probes.connect(self.address, self.port, stranger)

    def _stranger(self) -> Address | None:
        if self.way is None:
            return None
        near = [h for h in Machine().addresses if h.interface == self.way.interface]
        for held in Machine().addresses:
            ip = held.address.ip
            elsewhere = held.interface not in (self.way.interface, "lo") and ip.version == self.address.version
            elsewhere = elsewhere and ip not in self.vips
            if elsewhere and not ip.is_link_local and not any(ip in h.address.network for h in near):
                return ip
        return None

    @cached_property
    def other_ports(self) -> list[int]:
        """Usual ports at which it does answer; asked only of one that refuses the right one."""
        asked = [port for port in USUAL_PORTS if port != self.port]
        with ThreadPoolExecutor(len(asked)) as pool:
            replies = pool.map(lambda port: probes.connect(self.address, port).reply, asked)
        return [port for port, reply in zip(asked, replies, strict=True) if reply is Reply.OPEN]

    def look(self) -> None:
        """Probe, in the order in which one thing makes the next worth asking."""
        if self.here or self.way is None:
            return
        if self.on_link and not self.macs:
            _ = self.macs_by_probe
            return
        _ = self.direct, self.through, self.back, self.dead_cycle
        if self.direct and self.direct.reply is Reply.SILENT:
            _ = self.ping
        if self.through and self.through.reply is Reply.SILENT:
            _ = self.echo, self.bare_ack
        if self.path and self.path.tunnel and self.through and self.through.reply is Reply.OPEN:
            _ = self.big_echo
        if self.direct and self.direct.reply is Reply.REFUSED:
            _ = self.other_ports
        if self.through and self.through.reply is Reply.OPEN:
            _ = self.announces


def overhead(tunnel: Tunnel, real: Address) -> int:
    """Bytes that the tunnel adds to a packet."""
    header = {TunnelType.IPIP: 0, TunnelType.GUE: 12, TunnelType.GRE: 4 if tunnel.checksum.value == "nocsum" else 8}
    return (20 if real.version == 4 else 40) + header[tunnel.type]


@dataclass
class Examination:
    """A director, examined."""

    machine: Machine = field(default_factory=Machine)
    heard_meanwhile: list[Heard] | None = None  # while the destinations were probed
    losses: dict[str, int] = field(default_factory=dict)  # frames lost behind XDP while listening, by card

    @cached_property
    def instance(self) -> Instance | None:
        """The data plane, if there is one."""
        try:
            return Instance.open()
        except NotThere:
            return None

    @cached_property
    def services(self) -> list[ServiceState]:
        from pylvs.table.director import Director

        if self.instance is None:
            return []
        with Director() as director:
            return list(director.services())

    @cached_property
    def patients(self) -> list[Patient]:
        """Every destination, probed; those of weight 0 take no new connections and are left in peace."""
        states = self._states()
        _ = self.outcomes_before
        found = []
        for service in self.services:
            for one in service.destinations:
                patient = Patient(service, one, frozenset(self.vips))
                patient.half_open = states[patient.address, patient.vip, "SYN_RECV"]
                patient.others = states[patient.address, patient.vip, ""]
                found += [patient] if one.destination.weight else []
        with ThreadPoolExecutor(PROBERS + 1) as pool:
            ear = pool.submit(self._listen) if self.virtual_xdp else None
            list(pool.map(Patient.look, found[:MOST]))
            self.heard_meanwhile = ear.result() if ear else None
        return found[:MOST]

    def _states(self) -> Counter[tuple[Address, Address | None, str]]:
        """Young connections by destination, VIP and state (SYN_RECV, or '' for all others)."""
        from pylvs.table.director import Director

        counts: Counter[tuple[Address, Address | None, str]] = Counter()
        if self.instance is None:
            return counts
        with Director() as director:
            rows = (row for chunk in director.connection_rows() for row in chunk)
            limits = [limit // director.settings["second"] for limit in director.settings["tcp_timeout"]]
            longest = dict(zip(TCP_STATES, limits, strict=False))
            for _, state, expires, _, cport, vip, _, real, _ in islice(rows, ROWS):
                age = longest.get(state, 0) - expires  # since its last packet
                waiting = state == "SYN_RECV"
                if cport and (SETTLED if waiting else 0) <= age < YOUNG:
                    counts[unpack(real), unpack(vip), "SYN_RECV" if waiting else ""] += 1
        return counts

    @cached_property
    def vips(self) -> list[Address]:
        """Every VIP once."""
        keys = (service.service.key for service in self.services)
        return list(dict.fromkeys(key.address for key in keys if key.address))

    def card_of(self, address: Address) -> str:
        """The card on whose segment an address is, '' if on none."""
        held = [h.interface for h in self.machine.holders(address) if h.interface != "lo"]
        return held[0] if held else self.machine.on_link(address) or ""

    @cached_property
    def claimed(self) -> dict[Address, list[str]]:
        """Who else says that a VIP is his: hardware addresses by VIP."""
        asked = [(vip, self.card_of(vip)) for vip in self.vips if self.card_of(vip)]
        with ThreadPoolExecutor(max(1, min(PROBERS, len(asked)))) as pool:
            answers = list(pool.map(self._claims, asked))
        return dict(zip((vip for vip, _ in asked), answers, strict=True))

    def _claims(self, asked: tuple[Address, str]) -> list[str]:
        vip, card = asked
        own = {neighbours.mac_text(neighbours.mac_of(name)) for name in self.machine.cards}
        return [mac for mac in neighbours.ask(card, vip, None, probes.PATIENCE) if mac not in own]

    @cached_property
    def unanswered(self) -> list[Address]:
        """The VIPs that the director has, and does not answer for when a neighbour asks."""
        return [vip for vip in self.vips if self.machine.holders(vip) and self._silent(vip)]

    def _silent(self, vip: Address) -> bool:
        card = self.card_of(vip)
        if card not in self.machine.cards:
            return False
        try:
            return not claims(card, [vip])[vip]
        except PylvsError:  # a kernel without TCX: nobody to ask
            return False

    def owner(self, mac: str) -> Patient | None:
        """The destination with this hardware address."""
        return next((p for p in self.patients if mac in (*p.macs, *p.macs_by_probe)), None)

    @cached_property
    def routeless(self) -> list[str]:
        """The sysctls without which the data plane finds no route, where they are off."""
        versions = sorted({patient.address.version for patient in self.patients})
        keys = (f"net.ipv{version}.conf.lo.forwarding" for version in versions)
        return [key for key in keys if not self.machine.knob(key)]

    @property
    def stuck(self) -> bool:
        """The document's sign, of all destinations together."""
        half_open = sum(patient.half_open for patient in self.patients)
        return half_open >= FEW and half_open > sum(patient.others for patient in self.patients)

    @cached_property
    def heard(self) -> list[Heard]:
        """TCP that came in by itself; listened to where cards are virtual, or connections get stuck."""
        wanted = self.stuck or any(patient.stuck for patient in self.patients)
        if self.heard_meanwhile is None and wanted:
            return self._listen()
        return self.heard_meanwhile or []

    def _listen(self) -> list[Heard]:
        before = {card: cards.lost(card) for card in self.virtual_xdp}
        found = overhear(self.ours(), LISTENING, self.virtual_xdp)  # where XDP leaves little to the rest
        self.losses = {card: cards.lost(card) - count for card, count in before.items()}
        return found

    def replies_here(self, patient: Patient) -> Heard | None:
        """A reply of this real server's to a client that came to the director; with DR and TUN none should."""
        if not patient.hidden_vip or not patient.stuck:
            return None
        for one in self.heard:
            its_own = one.mac in patient.macs or not patient.on_link
            from_vip = (one.source, one.sport) == (patient.vip, patient.port)
            if one.answer and its_own and from_vip and not self.machine.holders(one.target):
                return one
        return None

    @cached_property
    def outcomes_before(self) -> dict[str, int]:
        """Packets by what became of them, when the examination began."""
        return self._outcomes()

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """The same when all destinations had been probed."""
        _ = self.outcomes_before, self.patients
        return self._outcomes()

    @property
    def growth(self) -> dict[str, int]:
        """Packets in between."""
        return {name: count - self.outcomes_before[name] for name, count in self.outcomes.items()}

    def _outcomes(self) -> dict[str, int]:
        from pylvs.table.outcomes import counts

        return counts(self.instance) if self.instance else {}

    @cached_property
    def firewall(self) -> list[Rule]:
        """Rules of this machine that drop packets."""
        return list(rules())

    @cached_property
    def attachments(self) -> list[Attachment]:
        """Every card, and where the data plane is on it."""
        from pylvs.dataplane.attach import Attacher

        return Attacher(self.instance).status() if self.instance else []

    def ours(self) -> Iterator[str]:
        """Cards on which the data plane is."""
        yield from (row.interface for row in self.attachments if row.hooks)

    @property
    def virtual_xdp(self) -> list[str]:
        """Cards on which it is at XDP although their drivers have a catch: those of virtual machines and containers."""
        return [row.interface for row in self.attachments if "xdp" in row.hooks and row.driver in XDP_CATCHES]
