# SPDX-License-Identifier: GPL-2.0-or-later
"""Random packets through the data plane and through a model of the kernel: states, timers and counts after each."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.packets.cast import BACK_1, BACK_2, CLIENT, NAT_VIP, REAL_1, REAL_2, VIP
from tests.packets.model_states import SCTP, TCP, TCP_TABLE, UDP, Model, Packet
from tests.packets.plane import Plane
from tests.packets.quick import sctp_frame, tcp_frame, udp_frame

OPTION = {TCP: "-t", UDP: "-u", SCTP: "--sctp-service"}
NAMES = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP"}
NAT_REALS, DR_REALS = (BACK_1.ip, BACK_2.ip), (REAL_1.ip, REAL_2.ip)
PORTS = (20000, 20001, 20002)
FLAGS = [sum(some) for n in range(4) for some in itertools.combinations((1, 2, 4, 16), n)]
LIKELY = [2, 16, 17, 4, 20, 18]  # what real connections say
CHUNK_TYPES = [*range(16), 64, 192]
BUNDLES = [first | second << 8 for first in (10, 11, 3) for second in (3, 6, 9)]
SLACK = 1.0  # seconds that the machine may take for a packet

says = {
    TCP: st.one_of(st.sampled_from(LIKELY), st.sampled_from(FLAGS)),
    UDP: st.just(0),
    SCTP: st.one_of(
        st.sampled_from([1, 2, 10, 11, 0, 7, 8, 14, 6]), st.sampled_from(CHUNK_TYPES), st.sampled_from(BUNDLES)
    ),
}


def steps(protocol: int) -> st.SearchStrategy[list[Packet | float]]:
    """Packets of three client ports, from either side, and time that passes: a share of what the soonest has left."""
    packet = st.builds(Packet, st.sampled_from(PORTS), st.booleans(), says[protocol])
    return st.lists(st.one_of(packet, packet, packet, st.floats(0.1, 0.8)), min_size=1, max_size=25)


class Both:
    """The data plane and the model, seeing the same."""

    def __init__(self, plane: Plane, protocol: int, nat: bool, persistent: int) -> None:
        plane.wipe()
        self.plane, self.model = plane, Model(protocol, nat, persistent=persistent)
        self.vip = NAT_VIP if nat else VIP
        self.reals = NAT_REALS if nat else DR_REALS
        service = f"{OPTION[protocol]} {self.vip}:80"
        plane.adm(f"-A {service} -s rr" + (f" -p {persistent}" if persistent else ""))
        for real in self.reals:
            plane.adm(f"-a {service} -r {real}{':8080 -m' if nat else ' -g'}")

    def step(self, step: Packet | float) -> None:
        if isinstance(step, float):
            seconds = step * max(0, self.model.least_left() - SLACK)
            self.model.pass_time(seconds)
            self.plane.age(seconds)
        elif self.is_possible(step):
            wanted = self.model.see(step)
            assert self.send(step) == wanted
        self.compare()

    def is_possible(self, packet: Packet) -> bool:
        """A server speaks through the director of NAT only, and as the real server that it is."""
        return packet.from_client or (self.model.nat and packet.port in self.model.connections)

    def send(self, packet: Packet) -> str:
        ends = CLIENT.ip, packet.port, self.vip, 80
        if not packet.from_client:
            real = self.model.connections[packet.port].real
            ends = self.reals[real], 8080, CLIENT.ip, packet.port
        done = self.plane.run("tc", self.frame(ends, packet.says))
        return {"SENT": "sent", "PASS": "passed"}.get(done.verdict, done.outcome)

    def frame(self, ends: tuple[str, int, str, int], says: int) -> bytes:
        if self.model.protocol == TCP:
            return tcp_frame(*ends, says)
        return udp_frame(*ends) if self.model.protocol == UDP else sctp_frame(*ends, says)

    def compare(self) -> None:
        found = {
            connection.cport: (str(connection.real), connection.state, connection.expires)
            for connection in self.plane.director.connections()
        }
        model = dict(self.model.connections)
        if self.model.template:
            model[0] = self.model.template
        assert found.keys() == model.keys()
        for port, connection in model.items():
            real, state, expires = found[port]
            assert (real, state) == (self.reals[connection.real], connection.state)
            assert expires == pytest.approx(connection.left, abs=SLACK)
        self.compare_counts()

    def compare_counts(self) -> None:
        (service,) = self.plane.director.services()
        found = {str(d.destination.address): (d.active, d.inactive, d.persistent) for d in service.destinations}
        assert found == {address: self.model.counts(number) for number, address in enumerate(self.reals)}


@pytest.mark.parametrize("persistent", [0, 300], ids=["", "persistent"])
@pytest.mark.parametrize("nat", [False, True], ids=["DR", "NAT"])
@pytest.mark.parametrize("protocol", NAMES, ids=NAMES.values())
def test_random_packets(plane: Plane, protocol: int, nat: bool, persistent: int) -> None:
    """Whatever comes in whatever order, both say the same after every packet."""

    @settings(max_examples=100 if protocol != UDP else 10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps(protocol))
    def play(what: list[Packet | float]) -> None:
        both = Both(plane, protocol, nat, persistent)
        for step in what:
            both.step(step)

    play()


ROADS: dict[str, list[Packet]] = {
    "ESTABLISHED": [Packet(20000, True, 2), Packet(20000, True, 16)],
    "SYN_RECV": [Packet(20000, True, 2)],
    "FIN_WAIT": [Packet(20000, True, 2), Packet(20000, True, 16), Packet(20000, False, 17)],
    "CLOSE_WAIT": [Packet(20000, True, 2), Packet(20000, True, 16), Packet(20000, True, 17)],
    "TIME_WAIT": [Packet(20000, True, 2), Packet(20000, True, 17)],
    "CLOSE": [Packet(20000, True, 2), Packet(20000, True, 16), Packet(20000, True, 4)],
    "SYN_SENT": [Packet(20000, True, 2), Packet(20000, True, 16), Packet(20000, True, 4), Packet(20000, False, 18)],
}


@pytest.mark.parametrize("state", ROADS)
def test_every_event_in_every_state(plane: Plane, state: str) -> None:
    """NAT: each combination of flags from each side, in each state that a connection can come to."""
    for flags, from_client in itertools.product(FLAGS, (True, False)):
        both = Both(plane, TCP, nat=True, persistent=0)
        for packet in ROADS[state]:
            both.step(packet)
        assert both.model.connections[20000].state == state
        both.step(Packet(20000, from_client, flags))


def test_a_wrong_transition_is_seen(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one other state in the model the comparison fails."""
    monkeypatch.setitem(TCP_TABLE["client only"]["fin"], "ESTABLISHED", "CLOSE_WAIT")
    both = Both(plane, TCP, nat=False, persistent=0)
    for packet in ROADS["ESTABLISHED"]:
        both.step(packet)
    with pytest.raises(AssertionError):
        both.step(Packet(20000, True, 17))


def test_the_model_names_states_that_there_are() -> None:
    """No state is misspelled in the tables."""
    for directions in TCP_TABLE.values():
        for changes in directions.values():
            assert {*changes, *changes.values()} <= {
                "NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
                "LAST_ACK", "LISTEN", "SYNACK",
            }  # fmt: skip
