# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole tables swapped under traffic."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address

import pytest

from pylvs.lab import client
from pylvs.lab.topology import prefix

from .helpers import lab

pytestmark = pytest.mark.xdist_group("lab")

VIP = "192.168.247.100"
SWAPS = 100


def table(scheduler: str, *servers: int) -> str:
    """`pylvsadm -R` lines of a table with these real servers."""
    lines = [f"-A -t {VIP}:80 -s {scheduler}"]
    lines += [f"-a -t {VIP}:80 -r 192.168.247.{server}:80 -g -w 1" for server in servers]
    return "\n".join(lines) + "\n"


def test_no_request_fails_while_whole_tables_are_swapped(name: str, data_plane: None) -> None:
    """A hundred times another table by `-R --atomic`, servers coming and going, under steady requests."""
    assert lab("up", name).returncode == 0
    tables = table("rr", 135, 136), table("wlc", 136, 137)
    pylvsadm = ["ip", "netns", "exec", f"{prefix(name)}node01", sys.executable, "-m", "pylvs.ipvsadm"]
    with client.Traffic(f"{prefix(name)}client", ip_address(VIP), 80, limit=20000, seconds=60) as traffic:
        for number in range(SWAPS):
            text = tables[number % 2 == 0]
            done = subprocess.run([*pylvsadm, "-R", "--atomic"], input=text, text=True, capture_output=True, timeout=60)
            assert (done.returncode, done.stderr) == (0, "")
        assert traffic.await_answers("192.168.247.136", 10)
    assert traffic.failures == []
    assert set(traffic.answers) == {"192.168.247.135", "192.168.247.136", "192.168.247.137"}
