# SPDX-License-Identifier: GPL-2.0-or-later
"""A stateful firewall sees a real server's replies and not the requests, and drops the replies as INVALID.

With DR and TUN requests and replies take different paths, as they should.
"""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.evidence import DestinationEvidence, DirectorEvidence, replied
from pylvs.doctor.facts import reply_through_director, rules_dropping_invalid
from pylvs.doctor.finding import Finding
from pylvs.doctor.firewall import Rule
from pylvs.doctor.wording import about, half_open, told
from pylvs.host.probes import Reply, Result

LIKELIHOOD = 72


def diagnose(evidence: DirectorEvidence) -> Iterator[Finding]:
    for one in evidence.destinations:
        if one.ack_of_vip and replied(one.ack_of_vip, Reply.OPEN):
            yield _on_return_path(one, one.ack_of_vip)
        elif reply := reply_through_director(evidence, one):
            for rule in rules_dropping_invalid(evidence, one):
                yield _on_director(one, rule, str(reply.target))


def untracked(one: DestinationEvidence) -> str:
    """What lets the VIP's replies through: conntrack leaves them alone, and UNTRACKED is not INVALID."""
    family = "ip" if one.address.version == 4 else "ip6"
    return (
        f"nft 'add table {family} lvs; add chain {family} lvs raw {{ type filter hook prerouting priority raw; }}; "
        f"add rule {family} lvs raw {family} saddr {one.vip} notrack'"
    )


def _on_return_path(one: DestinationEvidence, ack: Result) -> Finding:
    router = one.route.gateway if one.route else None
    where = str(router or one.address)
    return about(
        one,
        "conntrack_invalid",
        f"a firewall on the return path from {one.address} drops replies from the VIP: conntrack has not seen the"
        " requests",
        f"{untracked(one)}   (on {where}, or whichever router drops `ct state invalid`)",
        LIKELIHOOD,
        f"a bare ACK from the VIP through it, which is not INVALID: {told(ack)}",
        machine=where,
    )


def _on_director(one: DestinationEvidence, rule: Rule, client: str) -> Finding:
    return about(
        one,
        "conntrack_invalid",
        f"the director's firewall drops the replies of {one.address} that pass it: conntrack has not seen the requests",
        untracked(one),
        LIKELIHOOD,
        f"a SYN+ACK from the VIP to {client} arrived at the director",
        str(rule),
        half_open(one),
        machine="director",
    )
