# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading the director into this network namespace, with the kernel's defaults of IPVS."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import possible_cpus
from pylvs.errors import Unsupported
from pylvs.table.clock import Clock, clock
from pylvs.table.knobs import KNOBS
from pylvs.table.records import Records, record_bytes
from pylvs.table.settings import Settings

OBJECT = Path(__file__).parent.parent / "bpf" / "director.bpf.o"
SIZE = "PYLVS_CONN_TAB_SIZE"
SIZE_MIN, SIZE_MAX = 256, 1 << 26

# Seconds, by state: ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ip_vs_proto_sctp.c.
TCP = (2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120)
UDP = (300,)
SCTP = (2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61)
ICMP_RATE = 1000  # errors a second and CPU: net.ipv4.icmp_msgs_per_sec


def table_entries() -> int:
    """Places of a new connection table: the environment's PYLVS_CONN_TAB_SIZE, else by memory.

    Raises Unsupported for a size that is none.
    """
    if size := os.environ.get(SIZE, ""):
        if not size.isascii() or not size.isdigit() or not SIZE_MIN <= int(size) <= SIZE_MAX:
            raise Unsupported(f"{SIZE}={size}: a number of connections is needed, from {SIZE_MIN} to {SIZE_MAX}")
        return int(size)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << (20 if memory >= 4 << 30 else 18)


def kernel_has(function: str) -> bool:
    """Whether programs may call this function of the kernel, as its BTF says; False where the kernel has none."""
    try:
        return f"\0{function}\0".encode() in Path("/sys/kernel/btf/vmlinux").read_bytes()
    except OSError:
        return False


def _timeouts(seconds: tuple[int, ...], second: int, states: int) -> tuple[int, ...]:
    """Ticks by state, for as many states as the settings have room."""
    return tuple(s * second for s in seconds) + (0,) * (states - len(seconds))


def _secrets(number: int) -> tuple[int, ...]:
    """So many random numbers of 64 bits."""
    return struct.unpack(f"={number}Q", os.urandom(8 * number))


def create(instance: Instance, object_path: Path = OBJECT, entries: int = 0) -> None:
    """Load the director, unattached, with an empty table. The caller holds the lock."""
    time, layouts = clock(), Layouts.of_file(object_path)
    buckets = (entries or table_entries()) // layouts.enum("bucket_size")["WAYS"]
    constants: dict[str, int | tuple[int, ...]] = {
        "table_buckets": buckets,
        "tick_shift": time.shift,
        "hash_key": _secrets(layouts.constants["HASH_KEYS"]),
        "cpus": possible_cpus(),
        "have_cast_kfunc": kernel_has("bpf_cast_to_kern_ctx"),
    }
    with instance.creating(
        object_path, {"connections": buckets, "due": buckets}, constants, {"records": record_bytes(layouts)}
    ):
        _fill(instance, time)
        with instance.program("start_clock") as start:
            start.test_run(bytes(64))


def _fill(instance: Instance, time: Clock) -> None:
    plane = instance.current
    layouts = plane.layouts
    settings = Settings(plane, layouts)
    states = layouts.enum("states")["STATES"]
    settings["second"] = time.second
    settings["tcp_timeout"] = _timeouts(TCP, time.second, states)
    settings["udp_timeout"] = _timeouts(UDP, time.second, states)
    settings["sctp_timeout"] = _timeouts(SCTP, time.second, states)
    for knob in KNOBS:
        if knob.name in layouts["settings"].fields:
            settings[knob.name] = knob.default[0]
    settings["filter_key"] = _secrets(layouts.constants["FILTER_KEYS"])
    settings["icmp_rate"] = ICMP_RATE
    records = Records(plane, layouts, settings)
    records.make_chunks(0)
    settings["next_record"] = layouts.enum("slot")["SLOT_FIRST"]
