# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's recorded walks, packet by packet: what every host saw, every connection and count after each step.

Time passes by ageing the table, so that nothing has to wait: a listing ends what has expired. What this machine takes
for a step does not count, however busy it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pylvs.ipvsadm import proc
from pylvs.table import tuning
from tests.packets import cast, host
from tests.packets.describe import describe
from tests.packets.plane import HOOKS, Plane
from tests.packets.recorded import Case, cases, label, mark

STEP, COMMAND_STEP = 0.235, 0.32  # seconds that a step took when it was recorded
SLEPT = 0.05  # and a sleep before what came of it was looked at
TOLERANCE = 2  # seconds of an expiry, as in the recordings' own replay
# Where pylvs differs from the kernel: the row of docs/ipvsadm.md that says so. What it does instead is tested in
# test_fragments.py and test_refusals.py.
NO_WALK = {
    "udp-fragments": "| fragments | reassembled, and fragmented again |",
    "dead-server-arp": "| a real server that does not answer ARP | ICMP host unreachable 3 s after the packet",
}
# Steps of which only the table is compared.
NOT_SEEN = {
    ("tun-too-big", 5): "a tunnelled packet without DF is cut to fragments by the host, behind the data plane",
}
CASES = [case for case in cases("walk") if case["name"] not in NO_WALK]


class Walk:
    """One case, played on one hook."""

    def __init__(self, plane: Plane, hook: str, case: Case) -> None:
        self.plane, self.hook, self.case = plane, hook, case
        self.mark = mark(case)
        self.since = plane.tick()
        self.marked = re.search(r"-d (\S+)", case["pre"])

    def play(self) -> None:
        for command in self.case["commands"]:
            self.command(command)
        for number, step in enumerate(self.case["steps"], 1):
            self.step(number, step)
        if "proc_conn" in self.case:
            found = "".join(proc.text("ip_vs_conn", self.plane.director)).splitlines()[1:]
            assert _without_expiry(found) == _without_expiry(self.case["proc_conn"].splitlines()[1:])

    def step(self, number: int, step: dict[str, Any]) -> None:
        seen: list[str] = []
        if "packet" in step:
            seen = self.send(step["from"], bytes.fromhex(step["packet"]))
        elif not step["do"].startswith("sleep "):
            self.compare_command(step)
        if (self.case["name"], number) not in NOT_SEEN:
            assert seen == [line.replace(" BADCSUM", "") for line in step["seen"]], step["do"]
        slept = step["do"].startswith("sleep ")
        self.pass_time(float(step["do"].split()[1]) + SLEPT if slept else 0)
        self.compare_table(step)
        self.pass_time(COMMAND_STEP if "rc" in step else STEP)

    def pass_time(self, seconds: float) -> None:
        """Let the table be older by this much since the last call, whatever time has really passed."""
        now = self.plane.tick()
        really = (now - self.since & 0xFFFFFFFF) / self.plane.settings["second"]
        self.plane.age(seconds - really)
        self.since = now

    def send(self, sender: str, packet: bytes) -> list[str]:
        """What the hosts see of it."""
        number = int(sender[1:] or 0)
        who = cast.CLIENT if sender == "c" else (cast.BACK_1, cast.BACK_2, cast.BACK_3)[number - 1]
        frame = bytes(cast.sent_by(who, cast.IP(packet)))
        assert frame[14:] == packet
        interface = cast.INTERFACE_OF[who.mac]
        if self.hook == "xdp":
            self.plane.know_hops()
            done = self.plane.run("xdp", frame, interface=interface)
            if done.verdict != "PASS":
                return self._arrived(done.verdict, done.frame)
        done = self.plane.run("tc", frame, interface=interface, mark=self._mark_of(packet))
        if done.verdict == "PASS":
            return host.answers(sender.replace("b", "r"), done.frame[14:])
        return self._arrived(done.verdict, done.frame)

    def _mark_of(self, packet: bytes) -> int:
        to = ".".join(map(str, packet[16:20]))
        return self.mark if self.marked and self.marked[1] == to else 0

    def _arrived(self, verdict: str, frame: bytes) -> list[str]:
        if verdict == "DROP":
            return []
        return [f"{_node(frame)}: {describe(frame[14:])}"]

    def command(self, line: str) -> tuple[int, str, str]:
        if match := re.fullmatch(r"sysctl -w net\.ipv4\.vs\.(\w+=\S+)", line):
            tuning.assign(self.plane.director, match[1])
            return 0, "", ""
        if match := re.fullmatch(r"cat /proc/net/(\w+)", line):
            return 0, "".join(proc.text(match[1], self.plane.director)), ""
        return self.plane.try_adm(line.removeprefix("ipvsadm "))

    def compare_command(self, step: dict[str, Any]) -> None:
        status, output, errors = self.command(step["do"])
        if step["do"].startswith("sysctl "):
            return
        assert (status, errors) == (step["rc"], step["stderr"])
        if step["do"].startswith("cat /proc/net/ip_vs_stats"):  # rates want seconds, CPUs are this machine's
            assert _totals(output) == _totals(step["stdout"])
        elif step["stdout"].startswith("IPVS connection entries"):
            assert _rows(output.splitlines()[2:]) == pytest.approx(
                _rows(step["stdout"].splitlines()[2:]), abs=TOLERANCE
            )
        else:
            assert output.splitlines()[1:] == step["stdout"].splitlines()[1:]

    def compare_table(self, step: dict[str, Any]) -> None:
        assert _rows(self.plane.rows()) == pytest.approx(_rows(step["conns"]), abs=TOLERANCE), step["do"]
        assert self.plane.adm("-L -n").splitlines()[3:] == step["table"], step["do"]


def _node(frame: bytes) -> str:
    """Who has this frame's MAC address; whom the director's stack would ask for it, where it is not known."""
    name = frame[5:6].hex()
    return f"r{name[1]}" if name.startswith("2") else "c"


def _rows(lines: list[str]) -> dict[str, int]:
    """Connection rows without their expiry, and that in seconds."""
    found = {}
    for line in lines:
        protocol, expires, *rest = line.split()
        minutes, seconds = expires.split(":")
        found[" ".join([protocol, *rest])] = int(minutes) * 60 + int(seconds)
    assert len(found) == len(lines)
    return found


def _totals(text: str) -> list[str]:
    """The totals of `/proc/net/ip_vs_stats`, or of `_percpu`'s line "~"."""
    lines = text.splitlines()
    return next((line for line in lines if line.startswith("  ~")), lines[2]).split()[-5:]


def _without_expiry(lines: list[str]) -> list[str]:
    return sorted(re.sub(r"\s+\d+\s*$", "", line) for line in lines)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("case", [pytest.param(case, id=label(case)) for case in CASES])
def test_recorded(plane: Plane, case: Case, hook: str) -> None:
    """The same packets at the same hosts, the same states, counts and, to two seconds, expiries."""
    Walk(plane, hook, case).play()


@pytest.mark.parametrize("name", NO_WALK)
def test_the_others_are_documented(name: str) -> None:
    """What is left out is still in the file, and the manual lists it among the differences."""
    assert name in {case["name"] for case in cases("walk")}
    assert NO_WALK[name] in (Path(__file__).parents[2] / "docs/ipvsadm.md").read_text()
