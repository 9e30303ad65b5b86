# SPDX-License-Identifier: GPL-2.0-or-later
"""The knobs of `net.ipv4.vs.*` as data: names, defaults and bounds of Linux 6.1 (ip_vs_ctl.c).

`pylvs set NAME=VALUE` and `pylvs get` read this.
"""

from __future__ import annotations

from dataclasses import dataclass

_INT_MAX = 2**31 - 1
KERNEL, OWN = "net.ipv4.vs.", "pylvs."


@dataclass(frozen=True, slots=True)
class Knob:
    """A knob. Its value is a whole number within bounds, both inclusive; of sync_threshold it is two."""

    name: str
    default: tuple[int, ...]
    least: int
    most: int
    meaning: str
    prefix: str = KERNEL

    @property
    def fields(self) -> int:
        """How many numbers its value has."""
        return len(self.default)

    def text(self, values: tuple[int, ...] | None = None) -> str:
        """A value, or the default, as sysctl prints it: numbers separated by tabs."""
        return "\t".join(map(str, self.default if values is None else values))

    def parse(self, text: str) -> tuple[int, ...]:
        """The value that `text` is; ValueError, whose message says what is accepted."""
        words = text.split()
        try:
            values = tuple(map(int, words))
        except ValueError:
            values = ()
        if len(values) != self.fields or not all(self.least <= value <= self.most for value in values):
            number = "a number" if self.fields == 1 else f"{self.fields} numbers"
            raise ValueError(f"{self.name} takes {number} from {self.least} to {self.most}, not '{text}'")
        return values


def _switch(name: str, default: int, meaning: str) -> Knob:
    return Knob(name, (default,), 0, 1, meaning)


def _number(name: str, default: int, meaning: str, least: int = 0, most: int = _INT_MAX) -> Knob:
    return Knob(name, (default,), least, most, meaning)


KNOBS = (
    _number("am_droprate", 10, "drop one packet in so many while memory is short"),
    _number("amemthresh", 1024, "memory is short below this many free pages"),
    _switch("backup_only", 0, "do not balance while this director is a backup"),
    _switch("cache_bypass", 0, "without a destination, forward packets to the address that they have"),
    _number("conn_reuse_mode", 1, "reschedule a SYN that meets an old connection: bit 0 in TIME_WAIT"),
    _switch("conntrack", 0, "let netfilter track balanced connections"),
    _number("debug_level", 0, "how much to log"),
    _number(
        "drop_entry",
        0,
        "drop half-open connections: 0 never, 1 and 2 while memory is short, 3 always",
        most=3,
    ),
    _number("drop_packet", 0, "drop packets: 0 never, 1 and 2 while memory is short, 3 always", most=3),
    _switch("expire_nodest_conn", 0, "end connections at once when their destination is deleted"),
    _switch("expire_quiescent_template", 0, "forget persistence to a destination of weight 0"),
    _switch("ignore_tunneled", 0, "do not balance what came out of a tunnel"),
    _switch("nat_icmp_send", 0, "send ICMP errors to the real servers of NAT"),
    _switch("pmtu_disc", 1, "path MTU discovery through tunnels"),
    _switch("run_estimation", 1, "estimate rates"),
    _switch("schedule_icmp", 0, "balance ICMP that belongs to no connection"),
    _number("secure_tcp", 0, "short TCP timeouts: 0 never, 1 and 2 while memory is short, 3 always", most=3),
    _switch("sloppy_sctp", 0, "let any SCTP packet open a connection"),
    _switch("sloppy_tcp", 0, "let any TCP packet without RST open a connection"),
    _switch("snat_reroute", 1, "route replies of NAT by their new source"),
    _switch("sync_persist_mode", 0, "synchronize templates only"),
    _number("sync_ports", 1, "how many threads and ports synchronize", least=1, most=64),
    _number("sync_qlen_max", 7855, "most messages in the queue to synchronize"),
    _number("sync_refresh_period", 0, "synchronize a connection again after so many seconds"),
    _number("sync_retries", 0, "send a connection so many times more", most=7),
    _number("sync_sock_size", 0, "bytes of the socket's buffer; 0: the system's default"),
    Knob("sync_threshold", (3, 50), 0, _INT_MAX, "synchronize after so many packets, then every so many"),
    _number("sync_version", 1, "version of the synchronization protocol", most=1),
)
OWN_KNOBS = (Knob("clamp_mss", (0,), 0, 1, "limit the MSS of SYNs to what fits into the destination's tunnel", OWN),)
BY_NAME = {knob.name: knob for knob in KNOBS + OWN_KNOBS}
