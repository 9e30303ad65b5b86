# SPDX-License-Identifier: GPL-2.0-or-later
"""The decapsulator of a real server of TUN (bpf/realserver.bpf.c), loaded and pinned for one network namespace."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pylvs.addresses import pack
from pylvs.dataplane import bpffs, clsact
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import ATTACH_TCX_INGRESS, BpfError, Link, possible_cpus
from pylvs.errors import PylvsError
from pylvs.host.interfaces import Interface, interfaces
from pylvs.host.packets import GUE_PORT
from pylvs.model import Address

OBJECT = Path(__file__).parent.parent / "bpf" / "realserver.bpf.o"
TC_PROGRAM = "far_end_tc"
FOLDER = "pylvs-realserver"  # on the bpffs, beside that of the director

# Outcome of bpf/realserver.bpf.c -> what it means.
MEANINGS = {
    "FAR_PASS_OTHER": "passed: not a tunnel",
    "FAR_PASS_NOT_HERE": "passed: a tunnel to another host",
    "FAR_PASS_NOT_JOINED": "passed: carries a packet for an address that was not joined",
    "FAR_PASS_FRAGMENT": "passed: a fragment of a tunnelled packet without the one before it",
    "FAR_PASS_OPTION": "passed: GRE with key or sequence number, or GUE with flags",
    "FAR_PASS_MALFORMED": "passed: headers truncated or wrong",
    "FAR_PASS_REFUSED": "passed: the kernel did not let the outer header be removed",
    "FAR_IPIP": "unwrapped: IPIP",
    "FAR_GUE": "unwrapped: GUE",
    "FAR_GRE": "unwrapped: GRE",
    "FAR_PIECE": "unwrapped: a fragment of a tunnelled packet",
    "FAR_DROP_ECN": "dropped: congestion was marked on a packet that is not ECN-capable (RFC 6040)",
}


def instance() -> Instance:
    """The decapsulator's instance in the caller's network namespace, loaded or not."""
    cookie = Instance.here().cookie
    return Instance(cookie, f"{bpffs.root()}/{FOLDER}/{cookie}")


class Decapsulator:
    """The decapsulator of one network namespace, which must be the caller's."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    @classmethod
    def here(cls) -> Decapsulator:
        """That of the caller's namespace, loaded or not."""
        return cls(instance())

    @property
    def loaded(self) -> bool:
        """Whether it is there."""
        return self.instance.loaded

    def join(self, vip: Address, interface: str, gue_port: int = GUE_PORT) -> None:
        """Unwrap packets for `vip` that come in by `interface`; load and attach what is not there.

        PylvsError where there is no such Ethernet interface, or the kernel has no room for a second filter there.
        """
        with self.instance.locked():
            if not self.loaded:
                with self.instance.creating(OBJECT):
                    pass
            self._set_gue_port(gue_port)
            self.instance.map("joined").update(pack(vip), bytes(8))
            self._attach(named(interface))

    def leave(self, vip: Address) -> None:
        """Unwrap nothing for `vip` any more; with the last VIP the program goes too."""
        with self.instance.locked():
            if not self.loaded:
                return
            self.instance.map("joined").delete(pack(vip))
            if not self.joined():
                self.unload()

    def unload(self) -> None:
        """Take everything away, whatever was joined; when this returns, nothing is unwrapped any more."""
        with self.instance.locked():
            self._detach()
            self.instance.remove()

    def joined(self) -> dict[bytes, int]:
        """How many packets were unwrapped, by VIP (16 bytes, IPv4-mapped)."""
        if not self.loaded:
            return {}
        return {key: int.from_bytes(value, "little") for key, value in self.instance.map("joined").items()}

    def gue_port(self) -> int:
        """The UDP port of GUE, in host order."""
        record = self.instance.map("far_settings").lookup(bytes(4)) or bytes(2)
        return int.from_bytes(record[:2], "big")

    def _set_gue_port(self, port: int) -> None:
        layout = self.instance.layouts["far_settings"]
        record = bytearray(layout.size)
        layout.pack_into(record, 0, gue_port=port)
        self.instance.map("far_settings").update(bytes(4), bytes(record))

    def attached(self) -> list[str]:
        """Names of the interfaces on which packets are unwrapped."""
        if not self.loaded:
            return []
        indexes = {int(note.partition("-")[2]) for note in self.instance.notes() if note.startswith("clsact-")}
        for link in self.instance.links().values():
            with link:
                indexes.add(link.info.ifindex)
        return [interface.name for interface in interfaces() if interface.index in indexes]

    def outcomes(self) -> dict[str, int]:
        """Packets by outcome since the decapsulator was loaded, over all CPUs."""
        if not self.loaded:
            return {}
        names = self.instance.layouts.enum("far_outcome")
        counts = {int.from_bytes(key, "little"): raw for key, raw in self.instance.map("far_outcomes").items()}
        return {name: _sum(counts[number]) for name, number in names.items() if number in counts}

    def _attach(self, interface: Interface) -> None:
        path = self.instance.pin_path("links", f"{interface.index}-tc")
        if self._live(path, interface.index):
            return
        with self.instance.program(TC_PROGRAM) as program:
            try:
                with Link.create(program, interface.index, ATTACH_TCX_INGRESS) as link:
                    link.pin(path)
            except BpfError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                if clsact.attached(interface.index) and not self.instance.note(f"clsact-{interface.index}"):
                    raise PylvsError(
                        f"{interface.name} has the director's filter, and this kernel has room for one"
                        " (6.6 has TCX); join on another interface"
                    ) from None
                clsact.attach(program, interface.index)
                self.instance.remember(f"clsact-{interface.index}", interface.name)

    def _live(self, path: str, index: int) -> bool:
        """Whether our link is on the interface; one of an interface that is gone is forgotten."""
        try:
            with Link.pinned(path) as link:
                if link.info.ifindex == index:
                    return True
            os.unlink(path)
        except FileNotFoundError:
            pass
        return False

    def _detach(self) -> None:
        """Detach before the pins go: the kernel frees a link that only loses its pin some time later."""
        for link in self.instance.links().values():
            with link:
                if link.info.ifindex:
                    link.detach()
        for note in self.instance.notes():
            if note.startswith("clsact-"):
                clsact.detach(int(note.partition("-")[2]))


def named(interface: str) -> Interface:
    """The Ethernet interface of this name."""
    found = {link.name: link for link in interfaces()}
    if interface not in found:
        raise PylvsError(f"no interface {interface}; there are: {', '.join(found)}")
    if not found[interface].ethernet:
        raise PylvsError(f"{interface} is not Ethernet, and only there are packets unwrapped")
    return found[interface]


def _sum(raw: bytes) -> int:
    return sum(int.from_bytes(raw[cpu * 8 : cpu * 8 + 8], "little") for cpu in range(possible_cpus()))
