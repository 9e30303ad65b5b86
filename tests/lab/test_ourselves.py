# SPDX-License-Identifier: GPL-2.0-or-later
"""A client on the director itself reaches the VIP as any other does, by each method over each hook."""

from __future__ import annotations

import http.client
import json
import sys
from collections import Counter
from pathlib import Path

from pylvs.host import command, iproute, netns
from pylvs.lab.httpd import MEGABYTE
from pylvs.lab.steps import directory
from pylvs.lab.topology import Topology
from pylvs.model import ForwardingMethod

from .conftest import METHOD_LABS, labs

ANSWERS = {
    ForwardingMethod.NAT: "FORWARD_NAT_REPLY",
    ForwardingMethod.FULLNAT: "FORWARD_FULLNAT_REPLY",
}


def fetch(lab: Topology, path: str) -> bytes:
    connection = http.client.HTTPConnection(str(lab.vip), lab.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200
    body = response.read()
    connection.close()
    return body


def retransmitted() -> int:
    """TCP segments that the caller's network namespace sent again."""
    names, values = (
        line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("RetransSegs")])


def outcomes() -> Counter[str]:
    """How many packets the data plane of the caller's network namespace has counted under each name."""
    return Counter(json.loads(command.run([sys.executable, "-m", "pylvs", "outcomes", "--json"])))


@labs(*METHOD_LABS)
def test_a_client_on_the_director(shared_lab: Topology) -> None:
    """It is balanced, and every byte of what is served arrives."""
    lab = shared_lab
    large = bytes(range(256)) * (5 * MEGABYTE // 256)
    for machine in lab.servers:
        (directory(lab, machine.name) / "htdocs/large").unlink(missing_ok=True)
        (directory(lab, machine.name) / "htdocs/large").write_bytes(large)
    with netns.inside(lab.namespace(lab.director.name)):
        iproute.batch("neigh flush all")
        before, earlier = retransmitted(), outcomes()
        assert len({fetch(lab, "/") for _ in range(4)}) == 2
        assert fetch(lab, "/large") == large
        assert retransmitted() == before, "the first packet was lost while its neighbour was asked for"
        since = outcomes() - earlier
    assert since[ANSWERS.get(lab.options.method, "FORWARD_TO_HOST")] > 20
    assert not [outcome for outcome in since if outcome.startswith("DROP")]
