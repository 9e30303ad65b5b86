# SPDX-License-Identifier: GPL-2.0-or-later
"""Each fault is made in the lab, hurts a client, is named first by the doctor, and is fixed."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest

from pylvs.lab import build, faults
from pylvs.lab.faults import FAULTS
from pylvs.lab.topology import METHODS, Topology
from pylvs.model import TunnelType
from tests.doctor.conftest import (
    ANSWER,
    Labs,
    await_fault,
    await_health,
    doctor,
    examined,
    printed,
    requests,
    trying,
)

# With DR every fault that it can have; with the other methods those that are seen in another way there.
CASES = [(method, name) for method, names in {
    "dr": [name for name, fault in FAULTS.items() if METHODS["dr"] in fault.methods],
    "tun": ["vip-missing", "firewall", "firewall-director", "server-down", "wrong-rip", "tunnel-mtu",
            "decapsulator-missing", "httpd-bound", "conntrack"],
    "nat": ["nat-return", "no-way-to-client", "wrong-neighbour", "server-down", "firewall-director", "port-mismatch",
            "offload-checksum"],
    "fullnat": ["server-down", "httpd-stopped"],
}.items() for name in names]  # fmt: skip
# A client does not notice these at once: only ARP is wrong, or only full packets get lost.
HIDDEN = ("arp-ignore", "arp-announce", "vip-claimed", "tunnel-mtu")
# Seen only when clients have met them.
MET = ("replies-by-director", "no-way-to-client", "conntrack-director", "offload-checksum", "offload-gro")


def group(name: str) -> Any:
    """One worker runs the tests of a group, one after the other, in the same lab where they want the same."""
    return pytest.mark.xdist_group(f"doctor-{name}")


def case(method: str, name: str) -> Any:
    """A fault, in a group of those that want the same lab; of the many of DR, the slow ones are apart."""
    slow = method == "dr" and name in MET
    return pytest.param(method, name, marks=group(f"{method}-{FAULTS[name].mode or ('met' if slow else 'tc')}"))


@pytest.mark.parametrize(("method", "name"), [case(*row) for row in CASES])
def test_the_fault_is_named_first(labs: Labs, method: str, name: str) -> None:
    """The fault's own name first, on the machine that has it, and healthy when it is fixed."""
    fault = FAULTS[name]
    lab = labs.up(method, mode=fault.mode or "tc")
    try:
        faults.break_(lab, name)
        if name not in HIDDEN:
            assert hurts(lab), "no request of two failed: the fault is none"
        with trying(lab) if name in MET else nullcontext():
            status, report = await_fault(lab) if name in MET else examined(lab, fault.asked)
        assert status in (1, 2)
        assert [one["fault"] for one in report["diagnoses"]][:1] == [fault.named], report
        first = report["diagnoses"][0]
        assert first["machine"] in machines(lab, fault)
        assert first["evidence"]
        assert first["mend"]
    finally:
        faults.fix(lab)
    assert await_health(lab, fault.asked)["diagnoses"] == []
    assert requests(lab, 2, ANSWER) == ["", ""]


def hurts(lab: Topology) -> bool:
    """Whether a client fails, now or once the data plane has looked up its next hops again, after a second."""
    deadline = time.monotonic() + ANSWER
    while set(requests(lab, 2)) == {""}:
        if time.monotonic() > deadline:
            return False
    return True


def machines(lab: Topology, fault: faults.Fault) -> set[str]:
    """What the doctor may call the culprit."""
    machine = lab[fault.culprit]
    return {str(machine.address), machine.ports[0].mac} | (
        {"director"} if machine is lab.director else {"this real server"} if fault.asked == fault.culprit else set()
    )


# What the doctor gives to run is a command for the director, or for one real server, as it stands.
FIXES = [
    *(("dr", name) for name in ("arp-ignore", "vip-missing", "vip-with-network", "firewall-director", "wrong-rip",
                                "vip-hidden", "forwarding-off", "wrong-neighbour")),
    ("tun", "conntrack"),
]  # fmt: skip


FIXERS = {"dr": "dr-fixes", "tun": "tun-tc"}  # the groups of these tests
# After these the lab's own commands can be run as well, and leave the lab as it was; after the others it is built anew.
RESTORED = ("arp-ignore", "firewall-director", "forwarding-off")


@pytest.mark.parametrize(("method", "name"), [pytest.param(m, n, marks=group(FIXERS[m])) for m, n in FIXES])
def test_what_it_gives_to_run_fixes(labs: Labs, method: str, name: str) -> None:
    """On the machine that it names, the command that it gives makes the lab healthy."""
    lab, fault = labs.up(method), FAULTS[name]
    assert await_health(lab)["diagnoses"] == []
    faults.break_(lab, name)
    try:
        fix = examined(lab)[1]["diagnoses"][0]["mend"]
        command, _, _ = fix.partition("   (")
        build.run(lab, fault.culprit, ["env", f"PATH={build.path()}", "sh", "-ec", f"{command} >/dev/null"])
        assert await_health(lab)["diagnoses"] == []
    finally:
        faults.fix(lab) if name in RESTORED else build.down(labs.name)


@group("dr-met")
def test_connections_in_syn_recv_are_a_sign_of_the_return_path(labs: Labs) -> None:
    """On the director: half-open connections at a real server that answers the director itself."""
    lab = labs.up("dr")
    assert await_health(lab)["diagnoses"] == []
    faults.break_(lab, "rp-filter")
    try:
        with trying(lab):
            report = await_fault(lab)[1]
        assert [one["fault"] for one in report["diagnoses"]] == ["way_back"]
    finally:
        faults.fix(lab)
    assert await_health(lab)["diagnoses"] == []  # once those connections are no longer recent


@pytest.mark.parametrize(("family", "mode"), [("ipv4", "tc"), ("ipv6", "tc"), ("ipv4", "xdp")])
@pytest.mark.parametrize(
    ("method", "tunnel"),
    [
        pytest.param("dr", "ipip", marks=group("healthy-dr")),
        pytest.param("nat", "ipip", marks=group("healthy-nat")),
        pytest.param("fullnat", "ipip", marks=group("healthy-fullnat")),
        pytest.param("tun", "gue", marks=group("healthy-tun")),
    ],
)
def test_nothing_is_said_of_a_healthy_lab(labs: Labs, method: str, tunnel: str, family: str, mode: str) -> None:
    """Every method, both families, both hooks, after some traffic; exit status 0."""
    lab = labs.up(method, tunnel=TunnelType(tunnel), ipv6=family == "ipv6", mode=mode)
    assert requests(lab, 4, ANSWER) == [""] * 4  # a new interface receives nothing for up to a second
    status, report = printed(lab)
    assert (status, report["health"], report["diagnoses"]) == (0, "healthy", [])
    if lab.holds_vip:
        assert printed(lab, "node02") == (0, {"health": "healthy", "roles": ["realserver"], "diagnoses": []})


@group("dr-more")
def test_two_faults_at_once(labs: Labs) -> None:
    """The likelier first, and broken when no destination is left."""
    lab = labs.up("dr")
    assert await_health(lab)["diagnoses"] == []
    build.run(lab, "node02", ["ip", "link", "set", "eth0", "down"])
    faults.break_(lab, "httpd-stopped")
    try:
        status, report = printed(lab)
        assert status == 2
        assert [one["fault"] for one in report["diagnoses"]] == ["real_server_down", "service_stopped"]
    finally:
        build.run(lab, "node02", ["ip", "link", "set", "eth0", "up"])
        faults.fix(lab)


@group("tun-tc")
def test_a_destination_of_dr_behind_a_router(labs: Labs) -> None:
    """DR cannot get there; TUN can, and that is what it gives to run."""
    lab = labs.up("tun")
    assert await_health(lab)["diagnoses"] == []
    words = ["-t", "192.168.247.100:80", "-r", "192.168.248.137:80"]
    build.run(lab, "node01", ["pylvsadm", "-a", *words, "-g"])
    try:
        first = examined(lab)[1]["diagnoses"][0]
        assert (first["fault"], first["machine"]) == ("wrong_rip", "director")
        assert "192.168.248.137 is behind the router 192.168.247.254" in first["what"]
        assert first["mend"].startswith("pylvsadm -e -t 192.168.247.100:80 -r 192.168.248.137:80 -i ")
        build.run(lab, "node01", first["mend"].partition("   (")[0].split())
        assert await_health(lab)["diagnoses"] == []
    finally:
        build.run(lab, "node01", ["pylvsadm", "-d", *words])


@group("dr-more")
def test_what_it_prints(labs: Labs) -> None:
    """For a person: the fault, where, what was seen, what to run."""
    lab = labs.up("dr")
    faults.break_(lab, "vip-missing")
    try:
        done = doctor(lab)
    finally:
        faults.fix(lab)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "1. 192.168.247.136 does not have the VIP 192.168.247.100 on its lo  [vip_missing]"
    assert lines[1] == "   on     192.168.247.136"
    assert "   seen   TCP to 192.168.247.136:80: answers" in lines
    assert lines[-1] == "degraded: 1 services, 2 destinations probed"


@group("dr-more")
def test_a_machine_with_nothing_to_examine(labs: Labs) -> None:
    """The client: one line, exit status 1."""
    lab = labs.up("dr")
    done = doctor(lab, "client")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "pylvs: this machine is no director (pylvsadm -A …) and no real server (pylvs realserver join VIP)\n"
    )


SANE = (
    "add table inet sane; add chain inet sane input { type filter hook input priority 0; policy drop; }; "
    "add rule inet sane input ct state established,related accept; add rule inet sane input ct state invalid drop; "
    "add rule inet sane input iif lo accept; add rule inet sane input meta l4proto icmp accept; "
)


@group("dr-more")
@pytest.mark.parametrize(("ports", "named"), [("{ 22, 80 }", []), ("{ 22, 443 }", ["firewall_on_real_server"])])
def test_a_firewall_on_a_real_server(labs: Labs, ports: str, named: list[str]) -> None:
    """One that lets the service through is as somebody wanted it; another one is opened by what it gives to run."""
    lab = labs.up("dr")
    assert await_health(lab)["diagnoses"] == []
    build.run(lab, "node03", ["nft", f"{SANE} add rule inet sane input tcp dport {ports} accept"])
    try:
        found = examined(lab, "node03")[1]["diagnoses"]
        assert [one["fault"] for one in found] == named
        for one in found:
            build.run(lab, "node03", one["mend"].split())
        assert examined(lab, "node03")[1]["diagnoses"] == []
        assert await_health(lab)["diagnoses"] == []
    finally:
        build.run(lab, "node03", ["nft", "delete table inet sane"])


@group("dr-more")
@pytest.mark.parametrize("rule", ["-A INPUT -p tcp --dport 80 -j DROP", "-P OUTPUT DROP"])
def test_a_firewall_of_iptables_legacy(labs: Labs, rule: str) -> None:
    """Which nft does not list: what it gives to run fixes it."""
    lab = labs.up("dr")
    assert await_health(lab)["diagnoses"] == []
    build.run(lab, "node03", ["iptables-legacy", *rule.split()])
    try:
        (found,) = examined(lab, "node03")[1]["diagnoses"]
        assert found["fault"] == "firewall_on_real_server"
        build.run(lab, "node03", found["mend"].split())
        assert examined(lab, "node03")[1]["diagnoses"] == []
    finally:
        build.run(lab, "node03", ["iptables-legacy", "-F"])
        build.run(lab, "node03", ["iptables-legacy", "-P", "OUTPUT", "ACCEPT"])
