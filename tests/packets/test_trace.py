# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs trace`: what it says of each packet is what became of it, at both hooks; and `--explain` foretells it."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pylvs.dataplane.attach import Attachment
from pylvs.dataplane.kernel import possible_cpus
from pylvs.errors import PylvsError
from pylvs.model import Endpoint
from pylvs.table.outcomes import MEANINGS
from pylvs.trace import pcapng
from pylvs.trace.explain import explain
from pylvs.trace.packet import TracedPacket, document, line
from pylvs.trace.tracing import Busy, Tracing
from pylvs.trace.wanted import parse
from tests.packets.cast import BACK_1, BACK_2, CLIENT, NAT_VIP, REAL_1, REAL_2, SECOND, TUN_VIP, VIP, Host, sent_by
from tests.packets.plane import HOOKS, Plane
from tests.packets.rows import ip, tcp
from tests.packets.test_random import SEEDS, least_at_tc, opened

DR = ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g")
NAT = ("-A -t NAT_VIP:80 -s wlc", "-a -t NAT_VIP:80 -r BACK_1:8080 -m")
FULL = ("-A -t NAT_VIP:80 -s wlc", "-a -t NAT_VIP:80 -r BACK_1:8080 --fullnat --local-address BACK")
TUN = ("-A -t TUN_VIP:80 -s wlc", "-a -t TUN_VIP:80 -r BACK_1 -i --tun-type gue --tun-port 6080")
FORETOLD = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf")
EMPTY = ("-A -t VIP:80 -s rr",)


def traced(plane: Plane, words: str = "", rate: int = 1000) -> Tracing:
    """Tracing of this data plane, not on yet."""
    names = [name for name in plane.outcome_names if name != "OUTCOMES"]
    return Tracing(plane.director, parse(words.split(), names), rate)


def send(plane: Plane, hook: str, host: Host, packet: object) -> bytes:
    """One frame; the next hops are known. What it has become."""
    plane.know_hops()
    return plane.run(hook, bytes(sent_by(host, packet)), interface="eth1" if host in (BACK_1, BACK_2) else "eth0").frame


def explained(client: str, virtual: str) -> dict[str, Any]:
    """What `pylvs trace --explain CLIENT VIRTUAL --json` has."""
    return explain(Endpoint.parse(client), Endpoint.parse(virtual)).document()


def syn(vip: str = VIP, port: int = 20000, host: Host = CLIENT) -> object:
    return ip(host.ip, vip) / tcp(port, 80, "S")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_new_and_a_known_connection(plane: Plane, hook: str) -> None:
    """Service, scheduler and destination with the first packet, the state with each, and the frame as it leaves."""
    for command in DR:
        plane.adm(command)
    tracing = traced(plane)
    with tracing.on():
        left = send(plane, hook, CLIENT, syn())
        send(plane, hook, CLIENT, ip(CLIENT.ip, VIP) / tcp(20000, 80))
    first, second = tracing.rest()
    assert (first.hook, first.interface, first.outcome, first.connection) == (hook, "eth0", "FORWARD_DR", "new")
    assert (first.service, first.scheduler, first.destination) == (f"-t {VIP}:80", "rr", f"{REAL_1.ip}:80")
    assert (first.source, first.target, first.flags) == (f"{CLIENT.ip}:20000", f"{VIP}:80", ("SYN",))
    assert (first.method, first.out, first.next_hop, first.mac) == ("DR", "eth0", REAL_1.ip, REAL_1.mac)
    assert (first.before, first.after) == (bytes(sent_by(CLIENT, syn())), left)
    assert (first.state, second.connection, second.state) == ("SYN_RECV", "known", "ESTABLISHED")
    assert abs(first.time - time.time_ns()) < 60e9
    assert line(first).endswith(f"DR by eth0 to {REAL_1.ip} ({REAL_1.mac}); FORWARD_DR")
    assert document(second)["meaning"] == "forwarded by DR"


def test_scheduled_at_xdp_and_sent_by_tc(plane: Plane) -> None:
    """The next hop not being known, XDP opens the connection and TC forwards: the reasons are there all the same."""
    for command in DR:
        plane.adm(command)
    tracing = traced(plane)
    with tracing.on():
        for hook in ("xdp", "tc"):
            plane.run(hook, bytes(sent_by(CLIENT, syn())))
    first, second = tracing.rest()
    assert (first.hook, first.outcome, first.connection, first.scheduler) == ("xdp", "PASS_TO_TC", "new", "rr")
    assert (second.hook, second.outcome, second.connection) == ("tc", "FORWARD_DR", "known")


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(("table", "method"), [(NAT, "NAT"), (FULL, "FULLNAT")])
def test_translation_both_ways(plane: Plane, hook: str, table: tuple[str, ...], method: str) -> None:
    """The rewritten addresses, and the reply as the connection's."""
    for command in table:
        plane.adm(command)
    tracing = traced(plane)
    with tracing.on():
        send(plane, "tc", CLIENT, syn(NAT_VIP))  # whichever hook: XDP knows the way back when TC has looked
        local = plane.entries()[0].lport
        local = (local & 255) << 8 | local >> 8
        to = ip(BACK_1.ip, CLIENT.ip) / tcp(8080, 20000, "SA")
        if method == "FULLNAT":
            to = ip(BACK_1.ip, "10.1.0.1") / tcp(8080, local, "SA")
        send(plane, "tc", BACK_1, to)
        send(plane, hook, BACK_1, to)
    there, _, back = tracing.rest()
    source = f"10.1.0.1:{local}" if method == "FULLNAT" else f"{CLIENT.ip}:20000"
    assert there.rewritten == f"{source} > {BACK_1.ip}:8080"
    assert (there.method, there.out, there.mac, there.state) == (method, "eth1", BACK_1.mac, "SYN_RECV")
    assert (back.reply, back.connection, back.outcome, back.hook) == (True, "known", f"FORWARD_{method}_REPLY", hook)
    assert (back.client, back.virtual, back.destination) == (
        f"{CLIENT.ip}:20000", f"{NAT_VIP}:80", f"{BACK_1.ip}:8080",
    )  # fmt: skip
    assert (back.rewritten, back.out, back.next_hop) == (f"{NAT_VIP}:80 > {CLIENT.ip}:20000", "eth0", CLIENT.ip)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_tunnel(plane: Plane, hook: str) -> None:
    """The outer addresses and the kind."""
    for command in TUN:
        plane.adm(command)
    tracing = traced(plane)
    with tracing.on():
        send(plane, hook, CLIENT, syn(TUN_VIP))
    (one,) = tracing.rest()
    assert (one.method, one.rewritten, one.out) == ("TUN", f"in GUE 10.1.0.1 > {BACK_1.ip}", "eth1")


def test_a_refusal(plane: Plane) -> None:
    """The answer is what goes out; XDP's leaving it to TC is shown only if asked for."""
    for command in EMPTY:
        plane.adm(command)
    for words, outcomes in (("", ["REFUSE_NO_DESTINATION"]), ("outcome all", ["PASS_TO_TC", "REFUSE_NO_DESTINATION"])):
        tracing = traced(plane, words)
        with tracing.on():
            for hook in ("xdp", "tc"):
                send(plane, hook, CLIENT, syn())
        traced_packets = list(tracing.rest())
        assert [one.outcome for one in traced_packets] == outcomes
        assert traced_packets[-1].service == f"-t {VIP}:80"
        assert traced_packets[-1].rewritten == f"ICMP type 3 code 3 to {CLIENT.ip}"
        assert "refused: no destination" in line(traced_packets[-1])


@pytest.mark.parametrize(
    ("words", "ports"),
    [
        ("client 10.0.0.10", [1, 3]),
        ("client 10.0.0.0/24", [1, 2, 3]),
        ("client fd00::/64", []),
        (f"vip {VIP} and port 80", [1, 2, 3]),
        ("port 81", []),
        (f"destination {REAL_1.ip}", [2]),
        (f"destination {REAL_2.ip}:80", [1, 3]),
        (f"destination {REAL_2.ip}:81", []),
        ("protocol udp", []),
        ("outcome forward", [1, 2, 3]),
        ("outcome drop,refuse", []),
        (f"client 10.0.0.11 destination {REAL_2.ip}", []),
    ],
)
def test_filters(plane: Plane, words: str, ports: list[int]) -> None:
    """By client, VIP, port, destination, protocol and outcome, all of which must hold."""
    for command in (*DR, "-a -t VIP:80 -r REAL_2 -g"):  # round robin begins with the newest
        plane.adm(command)
    tracing = traced(plane, words)
    with tracing.on():
        for number, host in enumerate((CLIENT, SECOND, CLIENT), 1):
            send(plane, "tc", host, syn(port=number, host=host))
    assert [int(one.client.rpartition(":")[2]) for one in tracing.rest()] == ports


def test_the_rate_is_kept_and_said(plane: Plane) -> None:
    """No more than so many a second and CPU; the others are counted."""
    for command in DR:
        plane.adm(command)
    tracing = traced(plane, rate=5)
    with tracing.on():
        begin = time.monotonic()
        for port in range(1, 41):
            send(plane, "tc", CLIENT, syn(port=port))
        seconds = int(time.monotonic() - begin) + 2
        over, lost = tracing.missed
    seen = len(list(tracing.rest()))
    assert 5 <= seen <= 5 * seconds * possible_cpus()
    assert (over, lost) == (40 - seen, 0)


def test_a_full_ring_is_said(plane: Plane) -> None:
    """What finds no room is counted, and the ring goes on afterwards."""
    for command in DR:
        plane.adm(command)
    tracing = traced(plane, "outcome all", rate=10**6)
    with tracing.on():
        packet = bytes(sent_by(CLIENT, ip(CLIENT.ip, REAL_2.ip) / tcp(7, 7)))  # nobody's, and so it stays as it is
        ctx = plane._context("tc", packet, plane.index["eth0"], 0, 0)
        plane.programs["tc"].test_run(packet, ctx, repeat=2500)
        lost = tracing.missed[1]
        seen = len(list(tracing.rest()))
        assert lost > 0
        assert seen + lost == 2500
        send(plane, "tc", CLIENT, syn(port=7))
        assert [one.client for one in tracing.rest()] == [f"{CLIENT.ip}:7"]


def test_a_killed_tracer_leaves_nothing_on(plane: Plane) -> None:
    """The data plane itself sees that the time is up."""
    for command in DR:
        plane.adm(command)
    tracing = traced(plane)
    plane.settings["trace"] = (plane.tick() - 1) & 0xFFFFFFFF or 1
    send(plane, "tc", CLIENT, syn())
    assert plane.settings["trace"] == 0
    assert list(tracing.rest()) == []


def test_one_at_a_time(plane: Plane) -> None:
    """A ring has one reader; and when that ends, tracing is off."""
    for command in DR:
        plane.adm(command)
    one, two = traced(plane), traced(plane)
    with one.on():
        assert plane.settings["trace"]
        with pytest.raises(Busy), two.on():
            pass
    assert plane.settings["trace"] == 0
    with two.on():
        send(plane, "tc", CLIENT, syn())
    assert len(list(two.rest())) == 1


def test_off_it_changes_nothing(plane: Plane) -> None:
    """Traced or not, frames and counts are the same."""
    for command in NAT:
        plane.adm(command)
    plain = send(plane, "tc", CLIENT, syn(NAT_VIP))
    plane.forget_connections()
    with traced(plane).on():
        assert send(plane, "tc", CLIENT, syn(NAT_VIP)) == plain


@pytest.mark.parametrize("hook", HOOKS)
def test_whatever_comes_has_a_line(plane: Plane, hook: str) -> None:
    """Each kind of frame, whole, cut short, and with each byte of its headers changed: its own outcome, one line."""
    opened(plane)
    tracing = traced(plane, "outcome all", rate=10**9)
    with tracing.on():
        for number, seed in enumerate(SEEDS):
            for place in range(14 + number % 3, 70, 3):
                changed = bytearray(seed[: place if place % 5 == 0 else None])
                changed[place % len(changed)] ^= 1 << number % 8
                if len(changed) < least_at_tc(bytes(changed)):
                    continue
                done = plane.run(hook, bytes(changed))
                (one,) = tracing.rest()
                assert (one.outcome, one.before) == (done.outcome, bytes(changed[:256]))
                assert one.after == (done.frame[:256] if one.leaves else b"")
                assert "\n" not in line(one)
                assert json.loads(json.dumps(document(one)))["outcome"] == done.outcome


def test_tcpdump_reads_the_capture(plane: Plane, tmp_path: Path) -> None:
    """In and out, with times, whole lengths and interfaces."""
    for command in NAT:
        plane.adm(command)
    tracing = traced(plane)
    with tracing.on():
        send(plane, "tc", CLIENT, syn(NAT_VIP))
        send(plane, "tc", CLIENT, ip(CLIENT.ip, NAT_VIP) / tcp(20000, 80, "A", 700))
    file = tmp_path / "trace.pcapng"
    with open(file, "wb") as out:
        writer = pcapng.Writer(out)
        for one in tracing.rest():
            writer.write(one.interface, one.hook, True, one.time, one.before, one.length, "in")
            writer.write(one.out, one.hook, False, one.time, one.after, one.left, "out")
    tcpdump = shutil.which("tcpdump", path="/usr/sbin:/usr/bin")
    assert tcpdump
    said = subprocess.run([tcpdump, "-tnr", str(file)], capture_output=True, text=True, check=True).stdout.splitlines()
    ends = [row.partition(": ")[0] for row in said]
    assert ends == [
        f"IP {CLIENT.ip}.20000 > {NAT_VIP}.80", f"IP {CLIENT.ip}.20000 > {BACK_1.ip}.8080",
    ] * 2  # fmt: skip
    assert said[0].endswith("length 0")
    assert "length 700" in said[3]


def test_the_form_of_a_capture() -> None:
    """Blocks are multiples of four, and say their length twice."""
    file = io.BytesIO()
    writer = pcapng.Writer(file)
    for size in range(60, 65):
        writer.write("eth0", "xdp", size % 2 == 0, 1 << 60, bytes(size), 2000, "é" * size)
    data, kinds = file.getvalue(), []
    while data:
        kind, length = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
        assert length % 4 == 0
        assert data[length - 4 : length] == data[4:8]
        kinds.append(kind)
        data = data[length:]
    assert kinds.count(pcapng.PACKET) == 5
    assert kinds.count(pcapng.INTERFACE) == 2


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were on eth0; in truth it is on no card, so that no packet disturbs. (In the lab it is on one.)"""
    there = [Attachment("eth0", ("tc",), "veth", "")]
    monkeypatch.setattr("pylvs.dataplane.attach.Attacher.status", lambda self: there)


@pytest.mark.usefixtures("attached")
def test_every_scheduler_does_what_was_explained(plane: Plane) -> None:
    """Asked twice it says the same and leaves no trace in any map; then the packet goes there."""
    for number, name in enumerate(FORETOLD):
        vip = f"VIP:{1000 + number}"
        plane.adm(f"-A -t {vip} -s {name}")
        for server, weight in (("REAL_1", 1), ("REAL_2", 3), ("REAL_3", 2)):
            plane.adm(f"-a -t {vip} -r {server} -g -w {weight}")
    plane.know_hops()
    for number, turn in itertools.product(range(len(FORETOLD)), range(3)):
        port, cport = 1000 + number, 30000 + turn
        before = {} if turn else plane.fingerprint()
        said = explained(f"{CLIENT.ip}:{cport}", f"{VIP}:{port}")
        again = explained(f"{CLIENT.ip}:{cport}", f"{VIP}:{port}")
        assert again | {"next hop": ""} == said | {"next hop": ""}  # how long it is known
        after = {} if turn else plane.fingerprint()
        changed = {name for name in after if after[name] != before[name]} - {"due", "estimates_chunk"}
        assert not changed, changed
        plane.know_hops()
        done = plane.run("tc", bytes(sent_by(CLIENT, ip(CLIENT.ip, VIP) / tcp(cport, port, "S"))))
        assert done.outcome == said["outcome"] == "FORWARD_DR"
        real = next(row.split()[4] for row in plane.connections() if f":{cport} " in row and f":{port} " in row)
        if FORETOLD[number].startswith("lblc") and turn:
            assert f"for {VIP}: {real}" in said["scheduler"]
        else:
            assert f"would choose {real}" in said["scheduler"]


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize(
    ("table", "vip", "outcome", "words"),
    [
        (EMPTY, VIP, "REFUSE_NO_DESTINATION", "rr finds no destination"),
        (("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g -w 0"), VIP, "REFUSE_NO_DESTINATION", ": quiesced"),
        (DR, NAT_VIP, "PASS_NOT_OURS", "none: no service"),
        (NAT, NAT_VIP, "FORWARD_NAT", f"> {BACK_1.ip}:8080"),
        (TUN, TUN_VIP, "FORWARD_TUN", f"in GUE 10.1.0.1 > {BACK_1.ip}"),
        (FULL, NAT_VIP, "FORWARD_FULLNAT", "10.1.0.1 (a free port)"),
        (("-A -t VIP:80 -s rr", "-a -t VIP:80 -r NOWHERE -g"), VIP, "REFUSE_NO_ROUTE", "no route to it"),
        (("-A -t VIP:0 -s rr -p 60", "-a -t VIP:0 -r REAL_1 -g"), VIP, "FORWARD_DR", "for all ports"),
    ],
)
def test_explained_outcomes(plane: Plane, table: tuple[str, ...], vip: str, outcome: str, words: str) -> None:
    """The outcome and why; a packet then has the same."""
    for command in table:
        plane.adm(command)
    found = explained(CLIENT.ip, f"{vip}:80")
    assert (found["outcome"], found["meaning"]) == (outcome, MEANINGS[outcome])
    assert words in str(found)
    assert plane.run("tc", bytes(sent_by(CLIENT, syn(vip)))).outcome == outcome


def test_templates_and_connections_are_explained(plane: Plane) -> None:
    """A persistent client's template decides; a known connection is known."""
    for command in ("-A -t VIP:80 -s rr -p 300", "-a -t VIP:80 -r REAL_1 -g", "-a -t VIP:80 -r REAL_2 -g"):
        plane.adm(command)
    send(plane, "tc", CLIENT, syn())
    real = next(row for row in plane.connections() if ":20000 " in row).split()[4]
    said = explained(CLIENT.ip, f"{VIP}:80")
    assert f"it goes to {real.partition(':')[0]}" in said["template"]
    assert said["scheduler"] == "rr is not asked"
    assert said["connection"][1].startswith(f"{CLIENT.ip}:20000 > {VIP}:80 at {real}")
    known = explained(f"{CLIENT.ip}:20000", f"{VIP}:80")
    assert known["connection"] == f"known: {said['connection'][1]}"


BAD = [("x", "10.0.0.1:80"), ("10.0.0.1", "10.0.0.1"), ("fd00::1", "1.2.3.4:5"), ("10.0.0.1", "10.0.0.1:99999")]
BAD_FILTERS = (
    "client", "client x", "port 0", "port 65536", "frob 1", "outcome x", "protocol x", "destination 1.2.3.4:x",
)  # fmt: skip


@pytest.mark.usefixtures("attached")
def test_an_explanation_as_values(plane: Plane) -> None:
    """The service, and the destination with the port at which it gets the packet."""
    for command in NAT:
        plane.adm(command)
    found = explain(Endpoint.parse(CLIENT.ip), Endpoint.parse(f"{NAT_VIP}:80"))
    assert found.outcome == "FORWARD_NAT"
    assert str(found.service) == f"TCP {NAT_VIP}:80"
    assert str(found.destination) == f"{BACK_1.ip}:8080"


@pytest.mark.parametrize(("client", "virtual"), BAD)
def test_what_cannot_be_explained(plane: Plane, client: str, virtual: str) -> None:
    """One line."""
    with pytest.raises(PylvsError, match=r"\A[^\n]*\Z"):
        explained(client, virtual)


@pytest.mark.parametrize("words", BAD_FILTERS)
def test_bad_filters(words: str) -> None:
    """One line that says what is accepted."""
    with pytest.raises(PylvsError, match=r"accepted: |run for example: "):
        parse(words.split(), MEANINGS)


def test_a_frame_that_is_not_ip_has_a_line() -> None:
    """And any other that was cut short."""
    one = TracedPacket(0, "eth0", "tc", "", "", "", "", "", (), 60, "PASS_NOT_IP")
    assert line(one).endswith("eth0 tc  frame of 60 bytes; PASS_NOT_IP (passed: not IP)")
