# SPDX-License-Identifier: GPL-2.0-or-later
"""NAT and FULLNAT, packet by packet: addresses, ports and checksums, both ways."""

from __future__ import annotations

import random
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.layers.sctp import SCTPChunkData, SCTPChunkInit, SCTPChunkInitAck
from scapy.packet import Raw

from pylvs import addresses
from pylvs.table.load import kernel_has
from tests.packets.cast import (
    BACK,
    BACK_1,
    BACK_2,
    CLIENT,
    FRONT,
    NAT_VIP,
    NAT_VIP6,
    SCTP,
    SECOND,
    TCP,
    UDP,
    VIP,
    Host,
    Packet,
    sent_by,
    sent_to,
)
from tests.packets.plane import HOOKS, Network, Plane
from tests.packets.rows import TO_TC, Row, Step, aged, each, ip, payload, play, play_step, tcp, udp
from tests.unit.hashes import hash_of

CHECKED = 16  # offset in `struct route`
ONE = ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1:8080 -m")
DNS = ("-A -u NAT_VIP:53 -s rr", "-a -u NAT_VIP:53 -r BACK_1:5353 -m")
SAME_PORT = ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1 -m")
SIGNALS = ("-A --sctp-service NAT_VIP:80 -s rr", "-a --sctp-service NAT_VIP:80 -r BACK_1:8080 -m")
ONE_6 = ("-A -t NAT_VIP_6:80 -s rr", "-a -t NAT_VIP_6:80 -r BACK_1_6:8080 -m")
DNS_6 = ("-A -u NAT_VIP_6:53 -s rr", "-a -u NAT_VIP_6:53 -r BACK_1_6:5353 -m")
FULL = ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r BACK_1:8080 --fullnat --local-address BACK")


def moved(transport: Packet, sport: int | None = None, dport: int | None = None) -> Packet:
    """The same transport with other ports; its checksum follows, but for UDP's "none"."""
    other = transport.copy()
    layer = next(other[kind] for kind in (TCP, UDP, SCTP) if kind in other)
    layer.sport, layer.dport = sport or layer.sport, dport or layer.dport
    if not (UDP in other and layer.chksum == 0):
        layer.chksum = None
    return other


def inward(
    transport: Packet, real: Host = BACK_1, rport: int = 8080, vip: str = NAT_VIP, xdp: str = "", **fields: Any
) -> Step:
    """A request: from the client to VIP, so on to the real server's address and port."""
    client, address = (CLIENT.ip6, real.ip6) if ":" in vip else (CLIENT.ip, real.ip)
    return Step(
        sent_by(CLIENT, ip(client, vip, **fields) / transport),
        "FORWARD_NAT",
        sent_to(real, aged(ip(client, address, **fields)) / moved(transport, dport=rport)),
        xdp,
    )


def back(
    transport: Packet, real: Host = BACK_1, vport: int = 80, vip: str = NAT_VIP, xdp: str = "", **fields: Any
) -> Step:
    """A reply: from the real server to the client, so from VIP."""
    client, address = (CLIENT.ip6, real.ip6) if ":" in vip else (CLIENT.ip, real.ip)
    return Step(
        sent_by(real, ip(address, client, **fields) / transport),
        "FORWARD_NAT_REPLY",
        sent_to(CLIENT, aged(ip(vip, client, **fields)) / moved(transport, sport=vport)),
        xdp,
    )


def untouched(real: Host, packet: Packet, outcome: str = "PASS_NOT_OURS") -> Step:
    return Step(sent_by(real, packet), outcome)


def summing_to_zero(src: str, dst: str, sport: int, dport: int) -> Packet:
    """A UDP datagram whose checksum comes out as 0 between these addresses and ports, so that it is sent as 0xffff."""
    plain = ip(src, dst) / UDP(sport=sport, dport=dport) / Raw(bytes(2))
    (rest,) = struct.unpack_from("!H", bytes(plain), 26)
    return UDP(sport=sport, dport=dport) / Raw(struct.pack("!H", rest))


SYN = tcp(20000, 80, "S")
HANDSHAKE = [inward(SYN), back(tcp(8080, 20000, "SA")), inward(tcp(20000, 80))]
ZERO = moved(summing_to_zero(CLIENT.ip, BACK_1.ip, 20000, 5353), dport=53)

ROWS = [
    Row(
        "a request goes to the real server's address and port, its reply comes from the VIP",
        ONE,
        [*HANDSHAKE, inward(tcp(20000, 80, "PA", 100)), back(tcp(8080, 20000, "PA", 1000))],
        listing=["TCP NAT_VIP:80 rr", "-> BACK_1:8080 Masq 1 1 0"],
        connections=["TCP ESTABLISHED CLIENT:20000 NAT_VIP:80 BACK_1:8080"],
        totals=(1, 3, 2, 40 * 3 + 100, 40 * 2 + 1000),
    ),
    Row(
        "the client closes first",
        ONE,
        [*HANDSHAKE, inward(tcp(20000, 80, "FA")), back(tcp(8080, 20000, "FA")), inward(tcp(20000, 80))],
        listing=["TCP NAT_VIP:80 rr", "-> BACK_1:8080 Masq 1 0 1"],
        connections=["TCP TIME_WAIT CLIENT:20000 NAT_VIP:80 BACK_1:8080"],
    ),
    Row("without a port of its own the real server has the VIP's", SAME_PORT, [inward(SYN, rport=80)]),
    Row("an odd number of bytes", ONE, [inward(tcp(20000, 80, "S", 33))]),
    Row("TTL, TOS, DF and ID as the client chose them", ONE, [inward(SYN, ttl=9, tos=0x48, flags=0, id=99)]),
    Row("a TTL of 2", ONE, [inward(SYN, ttl=2), back(tcp(8080, 20000, "SA"), ttl=2)]),
    Row(
        "1,500 bytes both ways", ONE, [*HANDSHAKE, inward(tcp(20000, 80, "A", 1460)), back(tcp(8080, 20000, "A", 1460))]
    ),
    Row(
        "what the server sends of its own accord passes as it is",
        ONE,
        [untouched(BACK_1, ip(BACK_1.ip, CLIENT.ip) / tcp(8080, 20000, "S"))],
        connections=[],
    ),
    Row(
        "so does what comes from another port than the connection's",
        ONE,
        [inward(SYN), untouched(BACK_1, ip(BACK_1.ip, CLIENT.ip) / tcp(8081, 20000, "SA"))],
    ),
    Row(
        "so does another server's answer",
        (*ONE, "-a -t NAT_VIP:80 -r BACK_2:8080 -m"),
        [inward(SYN, BACK_2), untouched(BACK_1, ip(BACK_1.ip, CLIENT.ip) / tcp(8080, 20000, "SA"))],
    ),
    Row(
        "a reply at its last hop is the host's, which answers it",
        ONE,
        [inward(SYN), untouched(BACK_1, ip(BACK_1.ip, CLIENT.ip, ttl=1) / tcp(8080, 20000, "SA"), "PASS_TTL")],
        totals=(1, 1, 0, 40, 0),
    ),
    Row(
        "one port of a client has as many connections as there are VIPs",
        (*ONE, "-A -t VIP:80 -s rr", "-a -t VIP:80 -r BACK_2:8080 -m"),
        [
            inward(SYN),
            inward(SYN, BACK_2, vip=VIP),
            back(tcp(8080, 20000, "SA")),
            back(tcp(8080, 20000, "SA"), BACK_2, vip=VIP),
        ],
    ),
    Row(
        "UDP both ways",
        DNS,
        [inward(udp(20000, 53), rport=5353), back(udp(5353, 20000, 40), vport=53)],
        connections=["UDP UDP CLIENT:20000 NAT_VIP:53 BACK_1:5353"],
    ),
    Row(
        "UDP without a checksum has none afterwards",
        DNS,
        [inward(udp(20000, 53, chksum=0), rport=5353), back(udp(5353, 20000, chksum=0), vport=53)],
    ),
    Row("a UDP checksum that becomes 0 is written as 0xffff", DNS, [inward(ZERO, rport=5353)]),
    Row("a UDP checksum of 0xffff", DNS, [inward(summing_to_zero(CLIENT.ip, NAT_VIP, 20000, 53), rport=5353)]),
    Row("an empty UDP datagram", DNS, [inward(udp(20000, 53, 0), rport=5353)]),
    Row(
        "SCTP's CRC32c follows the port, both ways",
        SIGNALS,
        [
            inward(SCTP(sport=20000, dport=80, tag=0) / SCTPChunkInit(init_tag=5)),
            back(SCTP(sport=8080, dport=20000, tag=5) / SCTPChunkInitAck(init_tag=6)),
        ],
    ),
    Row(
        "SCTP: 1,400 bytes",
        SIGNALS,
        [
            inward(SCTP(sport=20000, dport=80, tag=0) / SCTPChunkInit(init_tag=5)),
            inward(SCTP(sport=20000, dport=80, tag=6) / SCTPChunkData(data=bytes(payload(1352)))),
        ],
    ),
    Row(
        "IPv6 both ways",
        ONE_6,
        [
            inward(SYN, vip=NAT_VIP6),
            back(tcp(8080, 20000, "SA"), vip=NAT_VIP6),
            inward(tcp(20000, 80, "PA", 77), vip=NAT_VIP6),
        ],
        connections=["TCP ESTABLISHED CLIENT_6:20000 NAT_VIP_6:80 BACK_1_6:8080"],
        totals=(1, 2, 1, 60 + 60 + 77, 60),
    ),
    Row(
        "IPv6: UDP both ways",
        DNS_6,
        [inward(udp(20000, 53), vip=NAT_VIP6, rport=5353), back(udp(5353, 20000), vip=NAT_VIP6, vport=53)],
    ),
    Row("IPv6: traffic class, flow label and hop limit", ONE_6, [inward(SYN, vip=NAT_VIP6, tc=0x48, fl=5, hlim=3)]),
    Row(
        "what the card will cut to segments",
        ONE,
        [
            *HANDSHAKE,
            Step(
                inward(tcp(20000, 80, "A", 3500)).sends,
                "FORWARD_NAT",
                inward(tcp(20000, 80, "A", 3500)).arrives,
                gso_size=1448,
            ),
        ],
        hooks=["tc"],
    ),
    Row(
        "the director as a NAT destination: rewritten, and the host's",
        ("-A -t NAT_VIP:80 -s rr", "-a -t NAT_VIP:80 -r FRONT:8080 -m"),
        [
            Step(
                sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / SYN),
                "PASS_LOCAL",
                sent_by(CLIENT, ip(CLIENT.ip, FRONT.ip) / moved(SYN, dport=8080)),
                xdp=TO_TC,
            )
        ],
    ),
]


@each(ROWS)
def test_nat(plane: Plane, row: Row, hook: str) -> None:
    """Both ends of a connection see the addresses they expect, and right checksums."""
    play(plane, row, hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_extension_headers_stay(plane: Plane, hook: str) -> None:
    """NAT changes what follows the extension headers."""
    header = IPv6ExtHdrDestOpt()
    sends = ip(CLIENT.ip6, NAT_VIP6) / header / SYN
    arrives = ip(CLIENT.ip6, BACK_1.ip6, hlim=63) / header / moved(SYN, dport=8080)
    step = Step(sent_by(CLIENT, sends), "FORWARD_NAT", sent_to(BACK_1, arrives))
    play(plane, Row("", ONE_6, [step]), hook)


# --- FULLNAT

FIRST_PORT = 1024


def full_inward(transport: Packet, lport: int, sport: int = 20000) -> Step:
    """FULLNAT: from the director's own address and a port of it."""
    return Step(
        sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / moved(transport, sport=sport)),
        "FORWARD_FULLNAT",
        sent_to(BACK_1, ip(BACK.ip, BACK_1.ip, ttl=63) / moved(transport, lport, 8080)),
    )


def full_back(transport: Packet, lport: int, sport: int = 20000) -> Step:
    return Step(
        sent_by(BACK_1, ip(BACK_1.ip, BACK.ip) / moved(transport, 8080, lport)),
        "FORWARD_FULLNAT_REPLY",
        sent_to(CLIENT, ip(NAT_VIP, CLIENT.ip, ttl=63) / moved(transport, 80, sport)),
    )


def local_port(plane: Plane) -> int:
    """The port that the newest FULLNAT connection was given."""
    entries = plane.entries()
    assert len(entries) == 1
    return int.from_bytes(entries[0].lport.to_bytes(2, "little"), "big")


@pytest.mark.parametrize("hook", HOOKS)
def test_fullnat(plane: Plane, hook: str) -> None:
    """The real server answers the director, who knows from the port whose answer it is."""
    for line in FULL:
        plane.adm(line)
    if hook == "xdp":
        plane.know_hops()
    opened = plane.run(hook, bytes(sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / SYN)))
    lport = local_port(plane)
    assert lport >= FIRST_PORT
    assert (opened.verdict, opened.outcome) == ("SENT", "FORWARD_FULLNAT")
    wanted: Packet = full_inward(SYN, lport).arrives
    assert opened.frame == bytes(wanted)
    for step in (
        full_back(tcp(8080, lport, "SA"), lport),
        full_inward(tcp(20000, 80), lport),
        full_inward(tcp(20000, 80, "PA", 55), lport),
        full_back(tcp(8080, lport, "FA"), lport),
    ):
        play_step(plane, step, hook)
    assert plane.connections() == ["TCP FIN_WAIT 10.0.0.10:20000 10.0.0.101:80 10.1.0.21:8080"]
    assert plane.listing()[1] == "-> 10.1.0.21:8080 FullNat 1 0 1"
    stray = ip(BACK_1.ip, BACK.ip) / tcp(8080, lport + 1, "SA")
    play_step(plane, Step(sent_by(BACK_1, stray), "PASS_NOT_OURS"), hook)


def taken(plane: Plane, ports: list[int]) -> None:
    """Replies to these local ports belong to connections that nobody will look for."""
    ends = [addresses.pack(ip_address(end)) for end in (BACK_1.ip, BACK.ip)]
    tuples = [struct.pack("!16s16sHH", *ends, 8080, port) + struct.pack("=I", 6) for port in ports]
    secrets = plane.hash_keys()
    keys = [struct.pack("=Q", hash_of("tuple", each, secrets)) + each for each in tuples]
    plane.instance.map("replies").update_many(b"".join(keys), struct.pack("=I", 1) * len(keys))


@pytest.mark.parametrize(("percent", "outcome"), [(95, "FORWARD_FULLNAT"), (100, "DROP_NO_PORT")])
def test_fullnat_when_ports_run_out(plane: Plane, percent: int, outcome: str) -> None:
    """With one in twenty left every connection still finds one; with none left it is dropped, and counted as that."""
    for line in FULL:
        plane.adm(line)
    every = list(range(FIRST_PORT, 65536))
    random.Random(7).shuffle(every)
    taken(plane, every[: len(every) * percent // 100])
    for number in range(200):
        frame = sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / tcp(20000 + number, 80, "S"))
        assert plane.run("tc", bytes(frame)).outcome == outcome


def test_an_edit_takes_no_more_local_addresses(plane: Plane) -> None:
    """There is room for 4,096 of them, and a health checker edits weights all day long."""
    for line in FULL:
        plane.adm(line)
    before = plane.settings["next_local"]
    for weight in (0, 1, 2):
        plane.adm(f"-e -t NAT_VIP:80 -r BACK_1:8080 --fullnat --local-address BACK -w {weight}")
    plane.adm("-a -t NAT_VIP:80 -r BACK_2:8080 --fullnat --local-address BACK")
    assert plane.settings["next_local"] == before
    plane.adm("-e -t NAT_VIP:80 -r BACK_2:8080 --fullnat --local-address FRONT,BACK")
    assert plane.settings["next_local"] == before + 2


def test_fullnat_needs_an_address_of_its_own(plane: Plane) -> None:
    """Without a route there is none to take: the error says what to type."""
    plane.adm("-A -t NAT_VIP:80 -s rr")
    status, _, errors = plane.try_adm("-a -t NAT_VIP:80 -r NOWHERE:8080 --fullnat")
    assert status
    assert "add: --local-address" in errors
    assert plane.listing() == [f"TCP {NAT_VIP}:80 rr"]


def test_fullnat_gives_every_connection_a_port_of_its_own(plane: Plane) -> None:
    """Two hundred clients, one real server: no two share a port."""
    for line in FULL:
        plane.adm(line)
    for i in range(200):
        frame = sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / tcp(20000 + i, 80, "S"))
        assert plane.run("tc", bytes(frame)).outcome == "FORWARD_FULLNAT"
    ports = [entry.lport for entry in plane.entries()]
    assert len(ports) == len(set(ports)) == 200


def age_hops(plane: Plane) -> None:
    """What is known of gateways towards clients is two seconds old."""
    hops, then = plane.instance.map("hops"), plane.tick() - 2 * plane.settings["second"]
    for key, value in list(hops.items()):
        if any(value):
            hops.update(key, value[:CHECKED] + struct.pack("=I", then & 0xFFFFFFFF) + value[CHECKED + 4 :])


def test_one_renews_the_next_hop_for_all(plane: Plane) -> None:
    """Clients behind one gateway share it: when it is old, XDP leaves one reply to TC, and goes on by itself then."""
    for line in ONE:
        plane.adm(line)
    replies = []
    for client in (20000, 20001):
        plane.run("tc", bytes(sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / tcp(client, 80, "S"))))
        replies.append(bytes(sent_by(BACK_1, ip(BACK_1.ip, CLIENT.ip) / tcp(8080, client, "SA"))))
    hooks: dict[str, list[str]] = {"xdp": [], "tc": []}
    for reply in replies:
        hooks["xdp"].append(plane.run("xdp", reply, interface="eth1").outcome)
    age_hops(plane)
    for hook, reply in (("xdp", replies[0]), ("tc", replies[0]), ("xdp", replies[1]), ("xdp", replies[0])):
        hooks[hook].append(plane.run(hook, reply, interface="eth1").outcome)
    sent, later = "FORWARD_NAT_REPLY", "PASS_TO_TC"
    assert hooks == {"xdp": [sent, sent, later, sent, sent], "tc": [sent]}


@contextmanager
def routed_by(gateway: Host) -> Iterator[None]:
    """The client is behind this gateway now."""
    subprocess.run(["ip", "route", "add", CLIENT.ip, "via", gateway.ip], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", CLIENT.ip], check=True)


def connect(plane: Plane) -> bytes:
    """One connection; answers a reply of its real server."""
    for line in ONE:
        plane.adm(line)
    plane.run("tc", bytes(sent_by(CLIENT, ip(CLIENT.ip, NAT_VIP) / tcp(20000, 80, "S"))))
    return bytes(sent_by(BACK_1, ip(BACK_1.ip, CLIENT.ip) / tcp(8080, 20000, "SA")))


def hop_of(plane: Plane, hook: str, reply: bytes) -> str:
    """The MAC address to which the reply goes."""
    result = plane.run(hook, reply, interface="eth1")
    assert result.outcome == "FORWARD_NAT_REPLY"
    return result.frame[:6].hex(":")


@pytest.mark.skipif(not kernel_has("bpf_cast_to_kern_ctx"), reason="needs Linux 6.2, whose routes can be counted")
@pytest.mark.parametrize("hook", HOOKS)
def test_another_route_is_taken_at_once(plane: Plane, hook: str) -> None:
    """And the first one again, once it is back."""
    reply = connect(plane)
    assert [hop_of(plane, hook, reply) for _ in range(2)] == [CLIENT.mac] * 2
    with routed_by(SECOND):
        assert [hop_of(plane, hook, reply) for _ in range(2)] == [SECOND.mac] * 2
    assert hop_of(plane, hook, reply) == CLIENT.mac


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A data plane as before Linux 6.2, which does not let its own structures be read."""
    monkeypatch.setattr("pylvs.table.load.kernel_has", lambda _: False)
    network = Network()
    with network.inside():
        plane = Plane()
        yield plane
        plane.close()
    network.close()


def test_another_route_is_taken_soon_where_changes_are_not_counted(older: Plane) -> None:
    """Within a second; the test waits longer."""
    reply = connect(older)
    assert hop_of(older, "tc", reply) == CLIENT.mac
    with routed_by(SECOND):
        deadline = time.monotonic() + 30
        while hop_of(older, "tc", reply) != SECOND.mac:
            assert time.monotonic() < deadline, "the routing table is not asked any more"


def test_an_older_kernel_keeps_its_sums_itself(older: Plane) -> None:
    """All of NAT at TC by the kernel's own calls."""
    for row in ROWS:
        older.wipe()
        play(older, row, "tc")
