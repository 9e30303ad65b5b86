# SPDX-License-Identifier: GPL-2.0-or-later
"""The attacks see what they are to see: a wrong sum, a changed byte, a wrong count, each step of a command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack import build, stepping, sums
from tests.attack.arena import Arena
from tests.attack.build import raw
from tests.attack.check import check_table
from tests.attack.snapshot import Snapshot, shared_memory
from tests.attack.watch import Guard
from tests.packets.cast import CLIENT, VIP, VIP6

ENDS = {4: (raw(CLIENT.ip), raw(VIP)), 6: (raw(CLIENT.ip6), raw(VIP6))}
PROTOCOLS = (sums.TCP, sums.UDP, sums.SCTP)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    with Arena(8) as made:
        made.commands(["-A -t VIP:80 -s sh", "-a -t VIP:80 -r REAL_1:80 -g", "-A -t VIP:81 -s rr"])
        made.send(build.ether(CLIENT, build.packet(sums.TCP, *ENDS[4], 20000, 80)))
        yield made


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_bit_is_a_fault(family: int, protocol: int) -> None:
    """In every byte behind the addresses, and of IPv4's header."""
    good = build.packet(protocol, *ENDS[family], 20000, 80, data=b"payload")
    assert sums.new_faults(good, good, False) == set()
    for at in range(20 if family == 4 else 40, len(good)):
        bad = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        assert sums.new_faults(good, bad, False), at
        assert sums.new_faults(bad, bad, False) == set()


def test_a_right_table_has_no_faults(arena: Arena) -> None:
    """The one that is made wrong below."""
    assert check_table(arena.memory) == []


@pytest.mark.parametrize("name", ["services", "port_zero_services", "fwmark_services", "trashed", "last_retired"])
def test_a_wrong_setting_is_seen(arena: Arena, name: str) -> None:
    """A counter beside a map that is not what the map holds."""
    if name == "last_retired" or name not in arena.plane.settings.fields:
        return
    snapshot = Snapshot(arena.plane)
    arena.plane.settings[name] += 1
    assert check_table(arena.memory)
    snapshot.restore()
    assert check_table(arena.memory) == []


@pytest.mark.parametrize("field", ["active", "inactive", "persistent", "service", "next", "flags"])
def test_a_wrong_record_is_seen(arena: Arena, field: str) -> None:
    """A field of a destination that is not what it was."""
    snapshot, memory = Snapshot(arena.plane), arena.memory
    slot = next(member for _, service in memory.service_slots() for member in memory.chain(service))
    memory.set_number(slot, memory.destination, field, memory.number(slot, memory.destination, field) + 1)
    assert check_table(memory)
    snapshot.restore()
    assert check_table(memory) == []


def test_a_changed_byte_is_named(arena: Arena) -> None:
    """Which record, which field."""
    memory, guard = arena.memory, Guard(arena.memory)
    slot = next(service for _, service in memory.service_slots())
    watches = guard.watches()
    before = memory.number(slot, memory.service, "timeout")
    memory.set_number(slot, memory.service, "timeout", before ^ 0x100)
    done = arena.runner.run([arena.frame("tc", build.ether(CLIENT, b"\x45" + bytes(40)))], watches)[0]
    memory.set_number(slot, memory.service, "timeout", before)
    assert guard.name(done.watch, done.offset) == f"service in slot {slot}: byte 1 of timeout"


def test_each_step_is_one(arena: Arena) -> None:
    """A command is killed after each of its steps, and each time has done more; without a kill it ends."""
    memory = shared_memory(arena.plane)

    def command() -> int:
        arena.plane.adm("-A -t VIP:99 -s rr")
        return 0

    snapshot = Snapshot(arena.plane)
    whole = stepping.run(command, memory)
    snapshot.restore()
    assert (whole.killed, whole.status, whole.text) == (False, 0, "")
    assert whole.steps > 5
    assert stepping.run(command, memory, 3).killed
    snapshot.restore()
