# SPDX-License-Identifier: GPL-2.0-or-later
"""The pure parts of what is measured: frames, gaps, rules, and what a run of wrk says."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from pylvs.bench import peers
from pylvs.bench.control import DESTINATIONS, rules
from pylvs.bench.frames import LENGTHS, SYN, frame
from pylvs.bench.packet import CROWDS, KINDS, crowded, port_of
from pylvs.bench.parts import OTHERS, PART_OF, part_of, shares
from pylvs.bench.segment import RIPS, SCENARIOS, Segment
from pylvs.bench.stage import number
from pylvs.bench.stalls import Stalls, waiting
from pylvs.bench.table import Rows
from pylvs.bench.targets import PEERS, WIRE
from pylvs.bench.wire import LOADS, Result, figures
from pylvs.dataplane.kernel import Line
from pylvs.errors import PylvsError
from pylvs.model import ForwardingMethod


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("protocol", "layer"), [(6, TCP), (17, UDP)])
def test_frames_are_what_they_say(family: int, protocol: int, layer: type) -> None:
    raw = frame(family, protocol)
    packet = Ether(raw)
    assert len(raw) == LENGTHS[family]
    assert packet.haslayer(IP if family == 4 else IPv6)
    assert packet.haslayer(layer)


def test_a_syn_is_nothing_but_a_syn() -> None:
    assert Ether(frame(flags=SYN))[TCP].flags == "S"


def test_who_comes_in_a_gap_waits_for_its_end() -> None:
    """One gap of 100 in 1,000: of all who come, 5 % wait longer than 50, one in a hundred longer than 90."""
    assert waiting([100], 1000, 0.05) == pytest.approx(50, abs=0.1)
    assert waiting([100], 1000, 0.01) == pytest.approx(90, abs=0.1)
    assert waiting([50, 50], 1000, 0.05) == pytest.approx(25, abs=0.1)


def test_who_comes_in_none_does_not_wait() -> None:
    assert waiting([], 1000, 0.001) == 0
    assert Stalls([100, 300], 4000) == Stalls([100, 300], 4000)
    assert Stalls([100, 300], 4000).share == 0.1
    assert Stalls([], 4000).longest == 0


def test_rules_are_so_many_services_of_ten_destinations() -> None:
    lines = rules(300).splitlines()
    services = [line for line in lines if line.startswith("-A ")]
    assert len(set(services)) == 300
    assert len(set(lines)) == 300 * (1 + DESTINATIONS)


def test_every_file_of_the_director_is_in_a_part() -> None:
    """Every part names files that are there, and a file that is unknown is an error."""
    directory = Path(__file__).parents[2] / "src" / "pylvs" / "bpf"
    files = [path for path in directory.rglob("*.[ch]") if path.name not in ("realserver.bpf.c", "listing.bpf.c")]
    assert all(part_of(str(path)) for path in files)
    assert PART_OF.keys() <= {name for path in files for name in (path.name, path.parent.name)}
    with pytest.raises(PylvsError, match=r"moved\.h is in no part"):
        part_of("src/pylvs/bpf/moved.h")


def test_shares_are_of_all_samples() -> None:
    def at(file: str) -> Line:
        return Line(0, f"../{file}", 1, "")

    found = shares([at("packet.h"), at("nat.h"), at("checksum.h"), at("usr/include/bpf/bpf_endian.h")])
    assert found == {"parsing": 25, "rewriting": 50, OTHERS: 25}


def test_samples_are_kept_by_name_number_and_unit() -> None:
    rows = Rows()
    for value in (1.234567, 2.0):
        rows.add("hit", 1000, "ns", value)
    rows.add("hit", 10, "ns", 5)
    assert rows.data() == [
        {"name": "hit", "hook": "table", "count": 1000, "unit": "ns", "samples": [1.2346, 2.0]},
        {"name": "hit", "hook": "table", "count": 10, "unit": "ns", "samples": [5.0]},
    ]


def test_what_a_run_of_wrk_says() -> None:
    result = Result(requests=2000, seconds=2.0, octets=8_000_000, failed=0, p50=1.5, p99=9.0, cpu=1.0)
    new, download = (next(load for load in LOADS if load.name == name) for name in ("new connection each", "download"))
    said = figures(new, result)
    assert said["new connection each", "requests/s"] == 1000
    assert said["new connection each, p99", "ms"] == 9
    assert figures(download, result) == {("download", "MB/s"): 4}


def test_the_ways_of_the_targets_are_ways_of_the_segment() -> None:
    names = {scenario.name for scenario in SCENARIOS}
    assert {key[1] for target in WIRE for key in (target.row, target.beside) if key} <= names
    assert set(PEERS) <= names


def test_every_way_has_an_address_of_its_own_but_direct() -> None:
    segment = Segment()
    targets = [segment.targets(scenario) for scenario in SCENARIOS]
    assert targets[0] == RIPS
    assert len({target for (target,) in targets[1:]}) == len(SCENARIOS) - 1


def test_peers_are_told_of_every_real_server() -> None:
    for text in (peers.haproxy("10.0.0.1", RIPS), peers.nftables("10.0.0.1", RIPS)):
        assert "10.0.0.1" in text
        assert all(rip in text for rip in RIPS)


def test_services_of_new_connections_have_ports_of_their_own() -> None:
    services = crowded()
    assert len({service.key.port for service, _ in services}) == len(services) == sum(map(len, CROWDS.values()))
    for service, destinations in services:
        assert service.key.port == port_of(service.scheduler, len(destinations))


def test_every_kind_is_of_its_method() -> None:
    methods = {kind: destinations[0].method for kind, ((_, destinations), _, _) in KINDS.items()}
    assert methods["tun"] is ForwardingMethod.TUN
    assert methods["nat"] is methods["nat-shared"] is ForwardingMethod.NAT
    assert methods["dr"] is methods["v6"] is methods["udp"] is ForwardingMethod.DR


def test_addresses_are_counted_by_their_last_four_bytes() -> None:
    assert number("10.0.0.1") == int(ip_address("10.0.0.1"))
    assert number("2001:db8::1:2") == 0x10002
