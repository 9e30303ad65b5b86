# SPDX-License-Identifier: GPL-2.0-or-later
"""Totals of all services, and starting counters from zero."""

from __future__ import annotations

from collections.abc import Sequence

from pylvs.model import Counters
from pylvs.table.memory import Memory
from pylvs.table.states import counted

TOTALS = 0  # the slot of what all services have counted, those deleted since included


def totals(memory: Memory) -> tuple[Counters, Counters]:
    """Counters and rates of all services together."""
    memory.control.fold()
    return counted(memory, TOTALS)


def cpu_totals(memory: Memory) -> Sequence[Counters]:
    """Counters of all services together, by CPU."""
    return [Counters(*sums) for sums in memory.records.counted_by_cpu()]


def zero_service(memory: Memory, service: int) -> None:
    """Start the counters of the service in this slot, and of its destinations, from zero."""
    memory.control.fold(service)
    _zero(memory, service)


def zero_all(memory: Memory) -> None:
    """Start all counters from zero."""
    memory.control.fold()
    for _, slot in memory.service_slots():
        _zero(memory, slot)
    memory.records.zero(TOTALS)


def _zero(memory: Memory, service: int) -> None:
    memory.records.zero(service)
    for slot in memory.chain(service):
        memory.records.zero(slot)
