# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules made by iptables-legacy in a network namespace of their own, evaluated as those of nftables are."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from pylvs.doctor import iptables_legacy as legacy
from pylvs.doctor.firewall import Rule, parse
from pylvs.doctor.real_server.firewall import accept
from pylvs.doctor.ruleset import Packet, Ruleset

VIP, VIP6 = ip_address("192.0.2.100"), ip_address("2001:db8::100")

# what it is, the policy of the chain, rules, whether a request for port 80 of the VIP is dropped for certain
ROWS = [
    ("a port", "ACCEPT", "-p tcp --dport 80 -j DROP", True),
    ("another port", "ACCEPT", "-p tcp --dport 81 -j DROP", False),
    ("all ports but one", "ACCEPT", "-p tcp ! --dport 22 -j REJECT", True),
    ("all ports but this one", "ACCEPT", "-p tcp ! --dport 80 -j DROP", False),
    ("a range", "ACCEPT", "-p tcp --dport 80:90 -j DROP", True),
    ("several", "ACCEPT", "-p tcp -m multiport --dports 22,80:90 -j DROP", True),
    ("a source port", "ACCEPT", "-p tcp --sport 80 -j DROP", False),
    ("of UDP", "ACCEPT", "-p udp --dport 80 -j DROP", False),
    ("everything", "ACCEPT", "-j DROP", True),
    ("nothing let in", "DROP", "", True),
    ("this one let in", "DROP", "-p tcp --dport 80 -j ACCEPT", False),
    ("only lo let in", "DROP", "-i lo -j ACCEPT", True),
    ("perhaps let in", "DROP", "-i eth7 -j ACCEPT", False),
    ("replies let in", "DROP", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", True),
    ("new ones dropped", "ACCEPT", "-m state --state NEW -j DROP", True),
    ("what conntrack does not know", "ACCEPT", "-m conntrack --ctstate INVALID -j DROP", False),
    ("its address", "ACCEPT", "-d 192.0.2.0/24 -j DROP", True),
    ("another address", "ACCEPT", "-d 198.51.100.1/32 -j DROP", False),
    ("from somewhere", "ACCEPT", "-s 198.51.100.0/24 -j DROP", False),
    ("with a comment", "ACCEPT", '-p tcp --dport 80 -m comment --comment "not -j ACCEPT" -j DROP', True),
    ("only too much of it", "ACCEPT", "-p tcp --dport 80 -m limit --limit 5/sec -j DROP", False),
    ("only the handshake, perhaps", "ACCEPT", "-p tcp --tcp-flags SYN,ACK SYN -j DROP", False),
    ("logged, then dropped", "ACCEPT", "-p tcp --dport 80 -j LOG\n-A INPUT -p tcp --dport 80 -j DROP", True),
    ("a chain of its own drops it", "ACCEPT", "-j web\n-A web -p tcp --dport 80 -j DROP", True),
    ("a chain of its own lets it in", "DROP", "-j web\n-A web -p tcp --dport 80 -j ACCEPT", False),
    ("a chain of its own does not care", "DROP", "-j web\n-A web -p tcp --dport 81 -j ACCEPT", True),
]


def listed(policy: str, rules: str, program: str = "iptables") -> list[legacy.Row]:
    """What is read of a chain INPUT with these rules."""
    if os.geteuid() != 0:
        pytest.skip("iptables needs root")
    lines = f"-A INPUT {rules}\n" if rules else ""
    written = f"*filter\n:INPUT {policy}\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n:web -\n{lines}COMMIT\n"
    shell = f"{program}-legacy-restore && {program}-legacy-save"
    done = subprocess.run(["unshare", "-n", "sh", "-c", shell], input=written, capture_output=True, text=True)
    assert done.returncode == 0, f"this kernel must have ip_tables: {done.stderr}"
    return list(legacy.parse(done.stdout, "ip6" if program == "ip6tables" else "ip"))


def dropping(rows: list[legacy.Row], packet: Packet) -> list[Rule]:
    return list(Ruleset(rows).dropping(packet))


@pytest.mark.parametrize(("policy", "rules", "blocked"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_a_request(policy: str, rules: str, blocked: bool) -> None:
    """Dropped for certain, or not."""
    assert bool(dropping(listed(policy, rules), Packet(VIP, 80))) == blocked


def test_of_two_families() -> None:
    """Each program has its own."""
    rows = listed("ACCEPT", "-d 2001:db8::/32 -j DROP", "ip6tables")
    assert [bool(dropping(rows, Packet(vip, 80))) for vip in (VIP, VIP6)] == [False, True]


def test_what_fixes_it_does() -> None:
    """The rule by its number, the policy by a rule for the one port; run as it is, nothing is blocked any more."""
    rows = listed("ACCEPT", "-p tcp --dport 22 -j ACCEPT\n-A INPUT -p tcp --dport 80 -j DROP")
    (rule,) = dropping(rows, Packet(VIP, 80))
    assert (rule.chain, rule.hook, rule.text) == ("INPUT", "input", "ip protocol tcp tcp dport 80 drop")
    assert rule.fix == "iptables-legacy -t filter -D INPUT 2"
    (rule,) = dropping(listed("DROP", ""), Packet(VIP, 80))
    assert rule.fix == "iptables-legacy -t filter -P INPUT ACCEPT"
    added = accept(rule, 80)
    assert added == "iptables-legacy -t filter -I INPUT -p tcp --dport 80 -j ACCEPT"
    assert not dropping(listed("DROP", added.partition("INPUT ")[2]), Packet(VIP, 80))


def test_what_conntrack_calls_invalid_is_known() -> None:
    """For the diagnosis that is about it."""
    (rule,) = parse(listed("ACCEPT", "-m conntrack --ctstate INVALID -j DROP"))
    assert rule.matches_invalid


def test_no_tables_no_rules(tmp_path: Path) -> None:
    """Nothing is asked, and no module loaded, where the kernel has no such table."""
    (tmp_path / "ip_tables_names").write_text("")
    assert list(legacy.rows(tmp_path)) == []


def test_both_kinds_are_seen_side_by_side() -> None:
    """Though their tables have the same names."""
    if os.geteuid() != 0:
        pytest.skip("iptables needs root")
    code = "from pylvs.doctor.firewall import rules; print(sorted(rule.fix for rule in rules()))"
    shell = "\n".join((
        "set -e",
        "nft 'add table ip filter; add chain ip filter INPUT { type filter hook input priority 0; }'",
        "nft add rule ip filter INPUT tcp dport 81 drop",
        "iptables-legacy -A INPUT -p tcp --dport 80 -j DROP",
        f"{sys.executable} -c '{code}'",
    ))  # fmt: skip
    done = subprocess.run(["unshare", "-n", "sh", "-c", shell], capture_output=True, text=True, check=True)
    printed = "['iptables-legacy -t filter -D INPUT 1', 'nft delete rule ip filter INPUT handle 2']\n"
    assert done.stdout == printed
