# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests a second, latency, throughput and CPU time end to end, of every scenario in each round."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pylvs.bench import peers
from pylvs.bench.segment import Scenario, Segment
from pylvs.errors import PylvsError
from pylvs.host import command, netns

SCRIPT = Path(__file__).with_name("wrk.lua")
CPU, BEYOND = ", CPU a million requests", ", beyond direct"
MORE = "s more"
Samples = dict[tuple[str, str, str], list[float]]  # by name, scenario and unit
FAILED = 0.01  # of the requests may fail; more is not a measurement


class Load(NamedTuple):
    """What wrk does for so many seconds, with so many connections at a time."""

    name: str
    seconds: int
    connections: int
    path: str = "/"
    header: str = ""


LOADS = (
    Load("new connection each", 1, 64, header="Connection: close"),
    Load("keep-alive", 1, 64),
    Load("download", 2, 4, "/large"),
)


class Result(NamedTuple):
    """One run of wrk. `cpu`: seconds that all CPUs of this machine were busy meanwhile."""

    requests: int
    seconds: float
    octets: int
    failed: int
    p50: float
    p99: float
    cpu: float


def busy() -> float:
    """Seconds for which the CPUs have been busy (user, nice, system, interrupts), /proc/stat."""
    user, nice, system, _, _, hard, soft = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + hard + soft) / os.sysconf("SC_CLK_TCK")


def run(segment: Segment, scenario: Scenario, load: Load) -> Result:
    """Run one load in one scenario; PylvsError if requests failed."""
    targets = segment.targets(scenario)
    argv = [peers.find("wrk"), "-t2", f"-c{load.connections}", f"-d{load.seconds}s", "-s", str(SCRIPT)]
    argv += ["-H", load.header] if load.header else []
    before = busy()
    with netns.inside(segment.client(scenario)):
        output = command.run(
            [*argv, f"http://{targets[0]}{load.path}"],
            patience=load.seconds + 30,
            environment=peers.environment() | {"TARGETS": " ".join(targets)},
        )
    cpu = busy() - before
    line = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not line:
        raise PylvsError(f"wrk gave no result; its output ends with: {output.strip()[-200:]}")
    requests, duration, octets, failed, p50, p99 = map(int, line[0].split()[1:])
    if failed > requests * FAILED:
        raise PylvsError(f"bench: {scenario.name}, {load.name}: {failed} of {requests} requests failed")
    return Result(requests, duration / 1e6, octets, failed, p50 / 1e3, p99 / 1e3, cpu)


def figures(load: Load, result: Result) -> dict[tuple[str, str], float]:
    """The figures of a run, by name and unit."""
    if load.path != "/":
        return {(load.name, "MB/s"): result.octets / result.seconds / 1e6}
    return {
        (load.name, "requests/s"): result.requests / result.seconds,
        (f"{load.name}, p50", "ms"): result.p50,
        (f"{load.name}, p99", "ms"): result.p99,
        (f"{load.name}{CPU}", "s"): result.cpu / result.requests * 1e6,
    }


def measure(say: Callable[[str], None], rounds: int, budget: float) -> list[dict[str, Any]]:
    """Run all loads in all scenarios, round by round, until there were `rounds` or `budget` seconds are over."""
    deadline = time.monotonic() + budget
    samples: Samples = {}
    with Segment() as segment:
        for round in range(rounds + 1):
            if round > 3 and time.monotonic() + _seconds(segment) > deadline:
                break
            say(f"round {round} of {rounds}")
            if round:
                _round(segment, round, LOADS, samples)
            else:
                _round(segment, round, LOADS[:1], {})  # warms up
    return data(samples, [scenario.name for scenario in segment.scenarios])


def data(samples: Samples, scenarios: Sequence[str]) -> list[dict[str, Any]]:
    """The rows, each load's in the order of the scenarios, with the CPU time that was not spent without a director."""
    for name, scenario, unit in [key for key in samples if key[0].endswith(CPU) and key[1] != scenarios[0]]:
        pairs = zip(samples[name, scenario, unit], samples[name, scenarios[0], unit], strict=True)
        samples[f"{name}{BEYOND}", scenario, MORE] = [round_to(ours - direct) for ours, direct in pairs]
    names = dict.fromkeys((name, unit) for name, _, unit in samples)
    return [
        {"name": name, "hook": scenario, "count": 0, "unit": unit, "samples": samples[name, scenario, unit]}
        for name, unit in names
        for scenario in scenarios
        if (name, scenario, unit) in samples
    ]


def _seconds(segment: Segment) -> int:
    return sum(load.seconds for load in LOADS) * len(segment.scenarios)


def _round(segment: Segment, round: int, loads: Sequence[Load], samples: Samples) -> None:
    """Run every scenario once for each load; another one begins in each round."""
    first = round % len(segment.scenarios)
    for load in loads:
        for scenario in segment.scenarios[first:] + segment.scenarios[:first]:
            for (name, unit), value in figures(load, run(segment, scenario, load)).items():
                samples.setdefault((name, scenario.name, unit), []).append(round_to(value))


def round_to(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")
