# SPDX-License-Identifier: GPL-2.0-or-later
"""The plan: every step has an action, and is taken only where its reply can tell anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest

from pylvs.doctor import plan, runner, server_runner
from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, VipEvidence
from pylvs.doctor.server_state import RealServerState, VipState
from pylvs.host.probes import Result
from pylvs.model import ForwardingMethod
from tests.doctor.values import AT_XDP, LOCAL, MAC, OPEN, REFUSED, RIP, ROUTED, SILENT, VIP, at, director

DR, TUN, NAT, FULLNAT = ForwardingMethod.DR, ForwardingMethod.TUN, ForwardingMethod.NAT, ForwardingMethod.FULLNAT
PLANS: list[tuple[type, Sequence[Any], Any]] = [
    (DirectorEvidence, plan.TABLE, runner.TABLE_ACTIONS),
    (DirectorEvidence, plan.HOST, runner.HOST_ACTIONS),
    (DirectorEvidence, (plan.CAPTURE_MEANWHILE, *plan.AFTERWARDS), runner.AFTERWARDS_ACTIONS),
    (VipEvidence, plan.VIP, runner.VIP_ACTIONS),
    (DestinationEvidence, plan.DESTINATION, runner.DESTINATION_ACTIONS),
    (RealServerState, plan.SERVER, server_runner.ACTIONS),
    (VipState, plan.SERVER_VIP, server_runner.VIP_ACTIONS),
]


@pytest.mark.parametrize(("values", "steps", "actions"), PLANS)
def test_each_step_fills_in_a_field(values: type, steps: Sequence[Any], actions: dict[str, Any]) -> None:
    """By an action of the same name; and every action belongs to a step."""
    assert {step.field for step in steps} == actions.keys()
    assert actions.keys() <= {one.name for one in fields(values)}
    assert all(step.why for step in steps)


def test_every_field_of_a_destination_is_planned() -> None:
    """What is not given at the beginning is filled in by one step."""
    given = {"service", "state", "host", "vips", "half_open", "other_states"}
    planned = [step.field for step in plan.DESTINATION]
    assert sorted(planned) == sorted({one.name for one in fields(DestinationEvidence)} - given)


# A destination, the replies that it gives, and what is asked of it, in order.
ASKED: list[tuple[str, ForwardingMethod, dict[str, Any], list[str]]] = [
    ("well, with DR", DR, {"route": LOCAL, "arp_macs": (MAC,), "tcp_to_rip": OPEN, "tcp_to_vip": OPEN},
     ["route", "arp_macs", "neighbour", "tcp_to_rip", "tcp_to_vip", "arp_sender"]),
    ("well, with TUN", TUN, {"route": ROUTED, "tcp_to_rip": OPEN, "tcp_to_vip": OPEN},
     ["route", "tcp_to_rip", "tcp_to_vip", "full_ping_of_vip"]),
    ("well, with NAT", NAT, {"route": LOCAL, "arp_macs": (MAC,), "tcp_to_rip": OPEN},
     ["route", "arp_macs", "neighbour", "tcp_to_rip", "tcp_from_outside"]),
    ("no route", DR, {}, ["route", "tcp_to_rip", "meant"]),
    ("DR behind a router", DR, {"route": ROUTED, "tcp_to_rip": OPEN}, ["route", "tcp_to_rip", "meant"]),
    ("no ARP", DR, {"route": LOCAL, "tcp_to_rip": SILENT},
     ["route", "arp_macs", "arp_probe_macs", "neighbour", "tcp_to_rip"]),
    ("no TCP", DR, {"route": LOCAL, "arp_macs": (MAC,), "tcp_to_rip": SILENT, "tcp_to_vip": SILENT,
                    "ping_of_rip": OPEN, "ping_of_vip": SILENT},
     ["route", "arp_macs", "neighbour", "tcp_to_rip", "tcp_to_vip", "ping_of_rip", "ping_of_vip"]),
    ("no IPv4", DR, {"route": LOCAL, "arp_macs": (MAC,), "tcp_to_rip": SILENT, "tcp_to_vip": SILENT,
                     "ping_of_rip": SILENT, "ping_of_vip": SILENT},
     ["route", "arp_macs", "neighbour", "tcp_to_rip", "tcp_to_vip", "ping_of_rip", "ipv6_replies", "ping_of_vip"]),
    ("no VIP", DR, {"route": LOCAL, "arp_macs": (MAC,), "tcp_to_rip": OPEN, "tcp_to_vip": SILENT,
                    "ping_of_vip": SILENT},
     ["route", "arp_macs", "neighbour", "tcp_to_rip", "tcp_to_vip", "ping_of_vip", "ack_of_vip"]),
    ("refused", FULLNAT, {"route": LOCAL, "arp_macs": (MAC,), "tcp_to_rip": REFUSED},
     ["route", "arp_macs", "neighbour", "tcp_to_rip", "other_ports"]),
]  # fmt: skip


@pytest.mark.parametrize(("method", "replies", "asked"), [pytest.param(*row[1:], id=row[0]) for row in ASKED])
def test_what_is_asked(method: ForwardingMethod, replies: dict[str, Any], asked: list[str]) -> None:
    """Each reply decides what is asked next; no network is needed for that."""
    done: list[str] = []

    def action(field: str) -> Any:
        def reply(_: DestinationEvidence) -> Any:
            done.append(field)
            return replies.get(field, () if field.endswith(("macs", "ports")) else None)

        return reply

    new = at(method, route=None, arp_macs=(), neighbour=None, tcp_to_rip=None, tcp_to_vip=None)
    runner.carry_out(plan.DESTINATION, new, {step.field: action(step.field) for step in plan.DESTINATION})
    assert done == asked


def test_a_destination_on_the_director_itself_is_not_probed() -> None:
    """Its packets are delivered, not forwarded."""
    local = at(address=VIP, route=None, arp_macs=(), neighbour=None, tcp_to_rip=None, tcp_to_vip=None)
    assert [step.field for step in plan.DESTINATION if step.needed(local)] == []


@pytest.mark.parametrize(
    ("evidence", "meanwhile", "afterwards"),
    [
        (director(at()), False, False),
        (director(at(half_open=9)), False, True),
        (director(at(), attachments=AT_XDP), True, False),
    ],
)
def test_when_it_listens(evidence: DirectorEvidence, meanwhile: bool, afterwards: bool) -> None:
    """With XDP on a virtual interface, or once connections are seen to be half-open."""
    assert plan.CAPTURE_MEANWHILE.needed(evidence) == meanwhile
    assert plan.AFTERWARDS[0].needed(evidence) == afterwards


def test_how_long_one_destination_takes_at_most() -> None:
    """All steps together, if every one were needed and nothing replied: they never are."""
    assert sum(step.seconds for step in plan.DESTINATION) < 30
    assert sum(step.packets for step in plan.DESTINATION) < 200


def test_a_reply_names_who_sent_it() -> None:
    """Where that is not the one that was asked."""
    from pylvs.doctor.wording import told
    from pylvs.host.probes import Reply

    assert told(Result(Reply.OPEN, str(RIP))) == Reply.OPEN.value
    assert told(Result(Reply.PROHIBITED, "192.0.2.254")).endswith(", reported by 192.0.2.254")
