# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever bytes come: a verdict, one outcome by name, and nothing written but what the outcome may write."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q
from scapy.layers.sctp import SCTPChunkInit
from scapy.packet import Raw

from tests.mutants import ETHERNET, mutants
from tests.packets.cast import BACK_1, CLIENT, ICMP, NAT_VIP, NAT_VIP6, SCTP, TUN_VIP, TUN_VIP6, VIP, VIP6, sent_by
from tests.packets.plane import HOOKS, Plane, Result
from tests.packets.rows import ip, payload, tcp, udp

TABLE = [
    *(f"-A {o} {v} -s wlc" for o in ("-t", "-u", "--sctp-service") for v in ("VIP:80", "NAT_VIP:80", "TUN_VIP:80")),
    *(f"-a {o} VIP:80 -r REAL_1 -g" for o in ("-t", "-u", "--sctp-service")),
    *(f"-a {o} NAT_VIP:80 -r BACK_1:8080 -m" for o in ("-t", "-u", "--sctp-service")),
    *(f"-a {o} TUN_VIP:80 -r BACK_1 -i" for o in ("-t", "-u", "--sctp-service")),
    *(f"-A {o} {v} -s rr" for o in ("-t", "-u") for v in ("VIP_6:80", "NAT_VIP_6:80", "TUN_VIP_6:80")),
    *(f"-a {o} VIP_6:80 -r REAL_1_6:80 -g" for o in ("-t", "-u")),
    *(f"-a {o} NAT_VIP_6:80 -r BACK_1_6:8080 -m" for o in ("-t", "-u")),
    *(f"-a {o} TUN_VIP_6:80 -r BACK_1:80 -i --tun-type gue --tun-port 6080 --tun-csum" for o in ("-t", "-u")),
    "-A -t VIP:81 -s rr",
    "-A -t VIP:82 -s rr -p 60",
    "-a -t VIP:82 -r REAL_1 -g",
    "-A -t VIP:83 -s rr",
    "-a -t VIP:83 -r BACK_1:8080 --fullnat --local-address BACK",
    "-A -t VIP:84 -s rr",
    "-a -t VIP:84 -r BACK_1 -i --tun-type gre --tun-csum",
]  # fmt: skip
TRANSPORTS = [
    tcp(20000, 80, "S"),
    tcp(20000, 80, "A", 50),
    udp(20000, 80),
    SCTP(sport=20000, dport=80) / SCTPChunkInit(),
]
OTHER_PORTS = [tcp(20000, port, "S", 20) for port in (81, 82, 83, 84)]
QUOTED = [
    *(ip(vip, CLIENT.ip) / tcp(80, 20000, "A", 30) for vip in (VIP, NAT_VIP, TUN_VIP)),
    *(ip(VIP, CLIENT.ip) / tcp(port, 20000, "A", 30) for port in (83, 84)),
]
REPLIES = [tcp(8080, 20000, "SA"), udp(8080, 20000)]
HEADERS = (IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(m=1))
SERVER_ERROR = ICMP(type=3, code=3) / Raw(bytes(ip(CLIENT.ip, BACK_1.ip) / tcp(20000, 8080)))
CLIENT_ERROR = ICMP(type=3, code=4, nexthopmtu=1400)
FROM_CLIENT = [
    *(ip(CLIENT.ip, vip) / transport for vip in (VIP, NAT_VIP, TUN_VIP) for transport in TRANSPORTS),
    *(ip(CLIENT.ip, VIP) / transport for transport in OTHER_PORTS),
    *(ip(CLIENT.ip6, vip) / transport for vip in (VIP6, NAT_VIP6, TUN_VIP6) for transport in TRANSPORTS[:3]),
    *(ip(CLIENT.ip6, NAT_VIP6) / header / TRANSPORTS[0] for header in HEADERS),
    *(ip(CLIENT.ip, quoted.src) / CLIENT_ERROR / Raw(bytes(quoted)) for quoted in QUOTED),
    ip(CLIENT.ip, NAT_VIP, flags="MF", proto=17) / Raw(bytes(udp(20000, 80, 800))),
    ip(CLIENT.ip, NAT_VIP, flags=0, frag=101, proto=17) / payload(64),
    Dot1Q(vlan=5) / ip(CLIENT.ip, VIP) / TRANSPORTS[0],
]
FROM_SERVER = [ip(BACK_1.ip, CLIENT.ip) / transport for transport in (*REPLIES, SERVER_ERROR)]
SEEDS = [
    *(bytes(sent_by(CLIENT, packet)) for packet in FROM_CLIENT),
    *(bytes(sent_by(BACK_1, packet)) for packet in FROM_SERVER),
]
# A test run at TC takes nothing without a whole IP header.
LEAST_AT_TC = {b"\x08\x00": ETHERNET + 20, b"\x86\xdd": ETHERNET + 40}
BY_ANY_METHOD = ("FORWARD_ICMP", "FORWARD_STATELESS")  # in a tunnel too
TUNNELS_MOST = 40 + 8 + 4  # bytes of the largest outer headers: IPv6, UDP, GUE


def opened(plane: Plane) -> None:
    """The table, and a connection for each method to meet mutants of."""
    for line in TABLE:
        plane.adm(line)
    for frame in SEEDS:
        plane.run("tc", frame)


def least_at_tc(frame: bytes) -> int:
    return LEAST_AT_TC.get(frame[12:14], ETHERNET)


def is_clean(before: bytes, result: Result, hook: str) -> None:
    """The outcome says what may have been written."""
    after, outcome = result.frame, result.outcome
    kind = outcome.partition("_")[0]
    assert result.verdict == {"PASS": "PASS", "DROP": "DROP"}.get(kind, "SENT")
    if kind == "PASS" and outcome != "PASS_LOCAL":
        assert after == before, "passed on, but changed"
    elif outcome == "FORWARD_TUN" or (outcome in BY_ANY_METHOD and len(after) != len(before)):
        outer = len(after) - len(before)
        assert 20 <= outer <= TUNNELS_MOST
        assert same_but(
            before[ETHERNET:], after[ETHERNET + outer :], lambda b: {at - ETHERNET for at in only_ttl(b"\0" * 14 + b)}
        )
    elif outcome in ("FORWARD_DR", "FORWARD_STATELESS"):
        assert same_but(before, after, only_ttl)
    elif kind == "FORWARD" or outcome == "PASS_LOCAL":
        assert len(after) == len(before)
        assert changed(before, after) <= headers(before)
    elif kind == "REFUSE":
        assert hook == "tc"
        quoted = after[ETHERNET + (28 if after[12:14] == b"\x08\x00" else 48) :]
        whole = before[ETHERNET : ETHERNET + len(quoted)]
        assert 28 <= len(quoted) <= 548
        assert changed(whole, quoted) <= {8, 10, 11, 7}  # "too big" quotes it one hop older


def changed(before: bytes, after: bytes) -> set[int]:
    return {at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}


def same_but(before: bytes, after: bytes, places: Callable[[bytes], set[int]]) -> bool:
    return len(before) == len(after) and changed(before, after) <= places(before)


def only_ttl(frame: bytes) -> set[int]:
    """MAC addresses, and TTL with its checksum, or the hop limit."""
    return {*range(12), *((22, 24, 25) if frame[14] >> 4 == 4 else (21,))}


def headers(frame: bytes) -> set[int]:
    """Where NAT may write: addresses, ports and checksums lie in the headers, those that an error quotes among them."""
    return set(range(min(len(frame), 14 + 60 + 8 + 60 + 60)))


frames = st.one_of(mutants(SEEDS, 40), mutants(SEEDS, 40), st.binary(min_size=ETHERNET, max_size=300))


@pytest.mark.parametrize("hook", HOOKS)
def test_any_frame(plane: Plane, hook: str) -> None:
    """Mutated, truncated and random frames, while connections of every method live."""
    opened(plane)
    plane.settings["icmp_rate"] = 0

    @settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(frames)
    def play(frame: bytes) -> None:
        assume(hook == "xdp" or len(frame) >= least_at_tc(frame))
        if hook == "xdp":
            plane.know_hops()
        is_clean(frame, plane.run(hook, frame), hook)

    play()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_truncation(plane: Plane, seed: int, hook: str) -> None:
    """A good frame cut after every one of its bytes."""
    opened(plane)
    for size in range(ETHERNET if hook == "xdp" else least_at_tc(SEEDS[seed]), len(SEEDS[seed]) + 1):
        if hook == "xdp" and size % 16 == 0:
            plane.know_hops()
        frame = SEEDS[seed][:size]
        is_clean(frame, plane.run(hook, frame), hook)


@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        ("PASS_NOT_OURS", SEEDS[0][:-1] + b"\xff"),
        ("FORWARD_DR", SEEDS[0][:-1] + b"\xff"),
        ("FORWARD_NAT", SEEDS[0] + b"\0"),
        ("FORWARD_TUN", SEEDS[0] + bytes(19)),
        ("FORWARD_ICMP", SEEDS[0] + bytes(20)),
        ("FORWARD_STATELESS", SEEDS[0] + bytes(20)),
    ],
)
def test_what_is_not_clean_is_seen(outcome: str, after: bytes) -> None:
    """The property can fail."""
    with pytest.raises(AssertionError):
        is_clean(SEEDS[0], Result("PASS" if outcome.startswith("PASS") else "SENT", outcome, after), "tc")
