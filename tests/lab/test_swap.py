# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole tables swapped under traffic."""

from __future__ import annotations

import io
from ipaddress import ip_address

from pylvs.host import netns
from pylvs.ipvsadm.run import Session
from pylvs.lab import client
from pylvs.lab.topology import prefix
from pylvs.table.director import Director

from .helpers import lab

VIP = "192.168.247.100"
SWAPS = 100
BOTH = "192.168.247.136"  # is in both tables
REQUESTS = 10  # that it answers under each table
BOUND = 100_000  # requests, and seconds: more than there will ever be


def table(scheduler: str, *servers: int) -> str:
    """`pylvsadm -R` lines of a table with these real servers."""
    lines = [f"-A -t {VIP}:80 -s {scheduler}"]
    lines += [f"-a -t {VIP}:80 -r 192.168.247.{server}:80 -g -w 1" for server in servers]
    return "\n".join(lines) + "\n"


def test_no_request_fails_while_whole_tables_are_swapped(name: str, data_plane: None) -> None:
    """A hundred times another table by `-R --atomic`, servers coming and going, with requests under each table."""
    assert lab("up", name).returncode == 0
    tables = table("rr", 135, 136), table("wlc", 136, 137)
    with client.Traffic(f"{prefix(name)}client", ip_address(VIP), 80, limit=BOUND, seconds=BOUND) as traffic:
        for number in range(SWAPS):
            with netns.inside(f"{prefix(name)}node01"):
                assert restore(tables[number % 2 == 0]) == (0, "")
            assert traffic.await_answers(BOTH, REQUESTS)
    assert traffic.failures == []
    assert set(traffic.answers) == {"192.168.247.135", BOTH, "192.168.247.137"}


def restore(text: str) -> tuple[int, str]:
    """`pylvsadm -R --atomic` in the thread's network namespace: its exit status and errors."""
    errors = io.StringIO()
    with Director() as director:
        session = Session("pylvsadm", lambda: director, io.BytesIO(text.encode()), io.StringIO(), errors)
        return session.run(["-R", "--atomic"]), errors.getvalue()
