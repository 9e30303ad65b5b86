# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the lab step by step, and removes what it finds of one, whatever happened before."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pylvs.errors import PylvsError
from pylvs.host import command, iproute, netns, testbed
from pylvs.lab import httpd
from pylvs.lab.steps import STATE, SWITCH, Step, directory, steps
from pylvs.lab.topology import METHODS, Options, Port, Topology, prefix, topology
from pylvs.model import TunnelType

LOCK_PATIENCE = 30.0  # seconds that one `up` or `down` waits for another


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was carried out, and how many seconds it took."""

    step: Step
    seconds: float


class StepFailed(PylvsError):
    """A step of the build did not work."""

    def __init__(self, step: Step, why: str) -> None:
        super().__init__(f"{step.machine}: {step.reason}: {why}")
        self.step = step


Watcher = Callable[[Done], None]


def words(options: Options) -> dict[str, object]:
    """The options as a JSON-serialisable dict."""
    method = next(word for word, value in METHODS.items() if value is options.method)
    return {
        "name": options.name,
        "method": method,
        "mode": options.mode,
        "tunnel": options.tunnel.value,
        "ipv6": options.ipv6,
    }


def built(name: str) -> Topology | None:
    """The lab of this name if it was built to the end."""
    try:
        options = json.loads((STATE / name / "lab.json").read_text())
    except (OSError, ValueError):
        return None
    method, tunnel = METHODS[options["method"]], TunnelType(options["tunnel"])
    return topology(Options(options["name"], method, options["mode"], tunnel, options["ipv6"]))


def require(name: str) -> Topology:
    """The lab of this name, which must be up."""
    _need_root()
    found = built(name)
    if not found or not alive(found):
        raise PylvsError("the lab is not up; run: pylvs lab up")
    return found


def alive(lab: Topology) -> bool:
    """Whether every machine is there and every real server still has its httpd."""
    names = {lab.namespace(machine) for machine in (SWITCH, *(m.name for m in lab.machines))}
    if not names <= set(testbed.listing(prefix(lab.options.name))):
        return False
    return all(testbed.processes([lab.namespace(machine.name)]) for machine in lab.servers)


def up(options: Options, watch: Watcher) -> tuple[Topology, bool]:
    """Build the lab, unless it is up with these options; return it, and whether it was built."""
    with lock(options.name) as descriptor:
        lab = built(options.name)
        if lab and lab.options == options and alive(lab):
            return lab, False
        remove(options.name)
        lab = topology(options)
        for step in steps(lab):
            watch(carry_out(lab, step, descriptor))
        await_servers(lab)
        (directory(lab) / "lab.json").write_text(json.dumps(words(options)))
        return lab, True


def carry_out(lab: Topology, step: Step, descriptor: int = -1) -> Done:
    """Carry one step out; `descriptor` is the lock, which the commands that make things inherit."""
    start, keep = time.monotonic(), [descriptor] if descriptor >= 0 else []
    try:
        if step.argv:
            run_step(lab, step)
        elif step.port:
            _plug(lab, step.machine, step.port, keep)
        else:
            _make(lab, step.machine, keep)
    except PylvsError as error:
        raise StepFailed(step, str(error)) from None
    return Done(step, time.monotonic() - start)


def _make(lab: Topology, machine: str, keep: Sequence[int]) -> None:
    if machine == SWITCH:
        testbed.create_switch(lab.namespace(SWITCH), lab.segments, keep)
        return
    testbed.create(lab.namespace(machine), keep)
    home = directory(lab, machine)
    home.mkdir(parents=True, exist_ok=True)
    if lab[machine].serves:
        httpd.lay_out(home, str(lab[machine].address), lab.port, lab.options.ipv6)


def switch_port(machine: str, port: Port) -> str:
    """The name of the switch's end of a cable."""
    return f"{machine}-{port.segment}"


def _plug(lab: Topology, machine: str, port: Port, keep: Sequence[int]) -> None:
    end = switch_port(machine, port)
    switch = lab.namespace(SWITCH)
    testbed.plug(testbed.Cable(switch, port.segment, end, lab.namespace(machine), port.interface, port.mac), keep)
    with netns.inside(lab.namespace(machine)):
        iproute.batch(f"link set {port.interface} up")
    if lab[machine] is lab.director:
        with netns.inside(switch):  # veth takes redirected XDP frames only where its peer polls
            command.run(["ethtool", "-K", end, "gro", "on"])


def path() -> str:
    """PATH for a machine's commands: `pylvsadm` is the one that belongs to this Python."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def run_step(lab: Topology, step: Step) -> str:
    """Run a step's command on its machine."""
    return run(lab, step.machine, list(step.argv))


def run(lab: Topology, machine: str, argv: list[str]) -> str:
    """Run a command on a machine and return its output."""
    where = shutil.which(argv[0], path=path())
    if not where:
        raise command.missing(argv[0])
    with netns.inside(lab.namespace(machine)):
        return command.run([where, *argv[1:]])


def await_servers(lab: Topology, patience: float = 30.0) -> None:
    """Wait until every httpd listens."""
    deadline = time.monotonic() + patience
    for machine in lab.servers:
        while f":{lab.port} " not in run(lab, machine.name, ["ss", "-Hltn"]):
            if time.monotonic() > deadline:
                log = directory(lab, machine.name) / "error.log"
                raise PylvsError(f"the httpd of {machine.name} does not listen; see {log}")
            time.sleep(testbed.POLL)


def down(name: str) -> int:
    """Take everything of this lab away; return how many namespaces and processes there were."""
    with lock(name):
        return remove(name)


def remove(name: str) -> int:
    """End the lab's processes, then remove its namespaces, then its files: each is found by what goes after it."""
    namespaces = testbed.listing(prefix(name))
    ended = testbed.end(namespaces, f"{STATE / name}/")
    for namespace in namespaces:
        _unload(namespace)
        testbed.delete(namespace)
    shutil.rmtree(STATE / name, ignore_errors=True)
    return len(namespaces) + ended


def _unload(namespace: str) -> None:
    """Remove pins and journals with their namespace; what cannot be removed now, the next command finds."""
    from pylvs.dataplane.instance import Instance
    from pylvs.realserver import decapsulator, journal

    try:
        with netns.inside(namespace):
            for instance in (Instance.here(), decapsulator.instance()):
                instance.remove()
            for path in (journal.where(), journal.where().with_suffix(".lock")):
                path.unlink(missing_ok=True)
    except (PylvsError, OSError):
        pass


@contextmanager
def lock(name: str) -> Iterator[int]:
    """One builder at a time; its children inherit the lock, so that it lasts until they end too."""
    prefix(name)  # refuses a name that cannot be a lab's
    _need_root()
    STATE.mkdir(exist_ok=True)
    path = STATE / f"{name}.lock"
    descriptor = _locked(path)
    try:
        yield descriptor
    finally:
        if not (STATE / name).exists():
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _need_root() -> None:
    if os.geteuid():
        raise PylvsError("the lab is made of network namespaces, so it needs root; run: sudo pylvs lab …")


def _locked(path: Path) -> int:
    """Wait for the lock; again if its file was taken away by the one that had it."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _try_lock(descriptor) and netns.identity(path) == netns.identity(Path(f"/proc/self/fd/{descriptor}")):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise PylvsError("another `pylvs lab` is at work on this lab; wait for it, or end it")
        time.sleep(testbed.POLL)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
