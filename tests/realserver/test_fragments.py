# SPDX-License-Identifier: GPL-2.0-or-later
"""A tunnelled packet that was fragmented becomes fragments of the packet in it, which the stack reassembles."""

from __future__ import annotations

import random
from itertools import chain, repeat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import GRE, IP, UDP
from scapy.packet import Packet, Raw

from pylvs.host.packets import checksum
from tests.realserver.test_decapsulator import CLIENT, DIRECTOR, GUE4, PASS, REAL, VIP, Host, frame, host, one

__all__ = ["host"]

ETHERNET, HEADER, UNIT = 14, 20, 8
LARGEST = 185  # units in a fragment: an MTU of 1500
TUNNELS: dict[str, tuple[Packet, str]] = {
    "IPIP": (None, "FAR_IPIP"),
    "GRE": (GRE(), "FAR_GRE"),
    "GRE with a checksum": (GRE(chksum_present=1), "FAR_GRE"),
    "GUE": (UDP(sport=50000, dport=6080) / GUE4, "FAR_GUE"),
    "GUE variant 1": (UDP(sport=50000, dport=6080), "FAR_GUE"),
}
NUMBERS = iter(range(1, 1 << 16))


def inner(size: int, offset: int = 0, more: bool = False) -> IP:
    """An IPv4 packet for the VIP with `size` bytes behind its header; or a fragment of one."""
    data = random.Random(size).randbytes(size)
    return IP(src=CLIENT, dst=VIP, proto=17, id=77, ttl=62, tos=8, frag=offset, flags="MF" * more) / Raw(data)


def tunnelled(tunnel: str, packet: Packet, units: list[int], ecn: int = 0) -> list[bytes]:
    """The frames on the wire: the outer packet in fragments of so many units each, then in the largest there are."""
    header, _ = TUNNELS[tunnel]
    outer = IP(src=DIRECTOR, dst=REAL, id=next(NUMBERS), tos=ecn)
    whole = IP(bytes(outer / header / packet if header else outer / packet))
    data, fragments, at = bytes(whole.payload), [], 0
    sizes = chain((number * UNIT for number in units), repeat(LARGEST * UNIT))
    while at < len(data):
        part = data[at : at + next(sizes)]
        more = at + len(part) < len(data)
        fragment = IP(src=DIRECTOR, dst=REAL, id=whole.id, tos=ecn, proto=whole.proto, frag=at // UNIT,
                      flags="MF" * more)  # fmt: skip
        fragments.append(bytes(frame(fragment, Raw(part))))
        at += len(part)
    return fragments


def reassembled(frames: list[bytes], offset: int) -> tuple[bytes, bytes, bool]:
    """Addresses and fields of all fragments' headers, the bytes behind them, and whether more would follow."""
    data, more, same = b"", True, set()
    for whole in frames:
        packet = IP(whole[ETHERNET:])
        good = packet.chksum
        del packet.chksum
        assert IP(bytes(packet)).chksum == good
        length = packet.len - HEADER
        assert more
        assert ETHERNET + packet.len <= len(whole)
        assert packet.frag * UNIT == offset * UNIT + len(data)
        data += whole[ETHERNET + HEADER :][:length]
        more = bool(packet.flags.MF)
        assert not more or length % UNIT == 0
        same.add(bytes(packet)[:2] + bytes(packet)[4:6] + bytes(packet)[8:10] + bytes(packet)[12:20])
    assert len(same) == 1
    return same.pop(), data, more


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_however_it_is_fragmented_the_stack_gets_the_packet(host: Host, tunnel: str) -> None:
    """Any length, any boundaries behind the headers, and a packet that is a fragment itself."""
    least = 7  # units: the longest headers, and some data behind them

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.integers(100, 5000),
        st.lists(st.integers(1, LARGEST), max_size=6),
        st.integers(least, LARGEST),
        st.sampled_from([(0, False), (0, True), (100, True), (100, False)]),
    )
    def check(size: int, units: list[int], first: int, place: tuple[int, bool]) -> None:
        offset, more = place
        packet = inner(size - size % UNIT if more else size, offset, more)
        given_frames = tunnelled(tunnel, packet, [first, *units])
        left = [one(host, "tc", each) for each in given_frames]
        name = "FAR_PIECE" if len(given_frames) > 1 else TUNNELS[tunnel][1]
        assert [(verdict, outcome) for verdict, _, outcome in left] == [(PASS["tc"], {name: 1})] * len(left)
        header, data, open_end = reassembled([each for _, each, _ in left], offset)
        raw = bytes(packet)
        assert header == raw[:2] + raw[4:6] + raw[8:10] + raw[12:20]
        assert (data, open_end) == (raw[HEADER:], more)

    check()


def test_a_fragment_without_the_one_before_it_is_left_alone(host: Host) -> None:
    """The first lost; one in between lost; each twice."""
    first, second, third = tunnelled("IPIP", inner(3000), [100, 100])
    lone = {"FAR_PASS_FRAGMENT": 1}
    assert one(host, "tc", second) == (PASS["tc"], second, lone)
    assert one(host, "tc", first)[2] == {"FAR_PIECE": 1}
    assert one(host, "tc", third) == (PASS["tc"], third, lone)
    assert one(host, "tc", second)[2] == {"FAR_PIECE": 1}
    assert one(host, "tc", second) == (PASS["tc"], second, lone)
    assert one(host, "tc", third)[2] == {"FAR_PIECE": 1}
    assert one(host, "tc", third) == (PASS["tc"], third, lone)


def test_congestion_is_told_to_each_fragment(host: Host) -> None:
    """Each fragment is marked as a whole packet is (RFC 6040)."""
    packet = inner(3000)
    packet.tos = 2
    frames = [one(host, "tc", each)[1] for each in tunnelled("IPIP", packet, [100, 100], ecn=3)]
    assert [IP(each[ETHERNET:]).tos for each in frames] == [3, 3, 3]


def test_xdp_leaves_fragments_to_tc(host: Host) -> None:
    """It changes nothing of them."""
    for each in tunnelled("IPIP", inner(3000), [100, 100]):
        assert one(host, "xdp", each) == (PASS["xdp"], each, {"FAR_PASS_FRAGMENT": 1})


def test_memory_for_fragments_is_bounded(host: Host) -> None:
    """First fragments whose others never come push out one another."""
    fragments = host.decapsulator.instance.map("fragments")
    first = tunnelled("IPIP", inner(100), [10])[0]
    for number in range(fragments.info.max_entries + 1000):
        host.run("tc", with_id(first, number))
    assert 0 < len(list(fragments.keys())) <= fragments.info.max_entries


def with_id(whole: bytes, number: int) -> bytes:
    """The frame of an IPv4 packet with another identification, and the checksum that belongs to it."""
    header = whole[ETHERNET : ETHERNET + HEADER]
    header = header[:4] + number.to_bytes(2) + header[6:10] + bytes(2) + header[12:]
    header = header[:10] + checksum(header).to_bytes(2) + header[12:]
    return whole[:ETHERNET] + header + whole[ETHERNET + HEADER :]
