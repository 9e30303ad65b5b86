# SPDX-License-Identifier: GPL-2.0-or-later
"""A client on the director itself reaches the VIP as any other does, by each method over each hook."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pylvs.host import netns
from pylvs.lab import build
from pylvs.lab.httpd import MEGABYTE
from pylvs.lab.steps import folder
from pylvs.lab.topology import METHODS, Options, Topology

pytestmark = pytest.mark.xdist_group("lab")

ANSWERS = {"nat": "FORWARD_NAT_REPLY", "fullnat": "FORWARD_FULLNAT_REPLY"}


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


@pytest.mark.parametrize("mode", ["tc", "xdp"])
@pytest.mark.parametrize("method", METHODS)
def test_a_client_on_the_director(name: str, data_plane: None, method: str, mode: str) -> None:
    """It is balanced, and every byte of what is served arrives."""
    lab, _ = build.up(Options(name=name, mode=mode, method=METHODS[method]), lambda done: None)
    large = bytes(range(256)) * (5 * MEGABYTE // 256)
    for machine in lab.servers:
        (folder(lab, machine.name) / "htdocs/large").write_bytes(large)
    with netns.inside(lab.namespace(lab.director.name)):
        subprocess.run(["ip", "neigh", "flush", "all"], check=True)
        before = retransmitted()
        assert len({fetch(lab, "/") for _ in range(4)}) == 2
        assert fetch(lab, "/large") == large
        assert retransmitted() == before, "the first packet was lost while its neighbour was asked for"
        command = [sys.executable, "-m", "pylvs", "outcomes", "--json"]
        outcomes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert outcomes[ANSWERS.get(method, "FORWARD_TO_HOST")] > 20
    assert not any(count for outcome, count in outcomes.items() if outcome.startswith("DROP"))
