# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel refuses for the sake of the machine that it is on, in ipvsadm's words."""

from __future__ import annotations

import io
import os
import subprocess
from contextlib import closing

import pytest

from pylvs import Director
from pylvs.ipvsadm.run import Session
from pylvs.model import Table


def refusal(table: Table, line: str) -> str:
    """Standard error of a command that the table refuses; empty if it does not."""
    err = io.StringIO()
    status = Session("ipvsadm", lambda: table, io.BytesIO(), io.StringIO(), err).run(line.split())
    assert status == (255 if err.getvalue() else 0)
    return err.getvalue()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace, so it needs root")
def test_a_daemon_needs_a_way_out() -> None:
    """lo has none for IPv6 groups; what is down has none at all. A backup only joins."""
    from tests.packets.plane import Network

    with closing(Network()) as network, network.inside():
        director = Director()
        subprocess.run(["ip", "link", "add", "off", "type", "veth"], check=True)
        for line, message in (
            ("master --mcast-interface off", "Network is unreachable\n"),
            ("master --mcast-interface lo --mcast-group ff02::81", "Network is unreachable\n"),
            ("master --mcast-interface lo --mcast-group 239.0.0.1", ""),
            ("backup --mcast-interface lo --mcast-group ff02::81", ""),
        ):
            assert refusal(director, f"--start-daemon {line}") == message
        assert sorted(daemon.role for daemon in director.daemons()) == ["backup", "master"]
        director.instance.remove()
