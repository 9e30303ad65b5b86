# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of the packets: each is counted under one name of `enum outcome` in bpf/abi.h."""

from __future__ import annotations

from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import possible_cpus

# Name → what it means to a person; the first word of both is the verdict.
MEANINGS = {
    "PASS_NOT_IP": "passed: not IP",
    "PASS_NOT_OURS": "passed: no virtual service and no connection",
    "PASS_NO_CONNECTION": "passed: for a service, but opens no connection (the host answers RST)",
    "PASS_MALFORMED": "passed: truncated or malformed headers",
    "PASS_LOCAL": "passed: the destination is this host",
    "PASS_TO_TC": "left by XDP to the TC hook",
    "PASS_VLAN": "passed: tagged; it comes again on the VLAN's interface",
    "PASS_TTL": "passed: a reply at its last hop (the host answers)",
    "PASS_BYPASS": "passed: no destination, on to where it was going (cache_bypass)",
    "FORWARD_DR": "forwarded by DR",
    "FORWARD_NAT": "forwarded by NAT",
    "FORWARD_NAT_REPLY": "replies of NAT",
    "FORWARD_TUN": "forwarded by TUN",
    "FORWARD_FULLNAT": "forwarded by FULLNAT",
    "FORWARD_FULLNAT_REPLY": "replies of FULLNAT",
    "FORWARD_ICMP": "ICMP errors of connections, forwarded",
    "FORWARD_STATELESS": "forwarded without an entry: the table is full",
    "FORWARD_TO_HOST": "replies of DR and TUN to clients on this host",
    "FORWARD_CUT": "fragmented or re-injected; what comes of that is counted again",
    "REFUSE_NO_DESTINATION": "refused: no destination (ICMP port unreachable)",
    "REFUSE_NO_ROUTE": "refused: no route to the destination, or no reply to ARP (ICMP host unreachable)",
    "REFUSE_TTL": "refused: last hop (ICMP time exceeded)",
    "REFUSE_TOO_BIG": "refused: too big (ICMP fragmentation needed)",
    "DROP_DESTINATION_GONE": "dropped: the destination was deleted",
    "DROP_NO_ROUTE": "dropped: no route to the client",
    "DROP_ICMP_LIMIT": "dropped: would have been refused, but too many were",
    "DROP_UNANSWERED": "dropped: would have been refused, but ICMP errors and later fragments never are",
    "DROP_FRAGMENT": "dropped: a later fragment without its first, or SCTP whose port would change",
    "DROP_NO_ENTRY": "dropped: the table is full and the method needs an entry",
    "DROP_NO_PORT": "dropped: no free port for FULLNAT",
    "DROP_IN_TURN": "dropped: one new connection in am_droprate (drop_packet=3)",
    "DROP_ERROR": "dropped: the kernel refused to change the packet",
}


def counts(instance: Instance) -> dict[str, int]:
    """Packets by outcome since the data plane was loaded, over all CPUs."""
    names = instance.layouts.enum("outcome")
    values = {int.from_bytes(key, "little"): raw for key, raw in instance.map("outcomes").items()}
    return {name: _sum(values[number]) for name, number in names.items() if number in values}


def _sum(raw: bytes) -> int:
    return sum(int.from_bytes(raw[cpu * 8 : cpu * 8 + 8], "little") for cpu in range(possible_cpus()))
