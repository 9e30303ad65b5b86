# SPDX-License-Identifier: GPL-2.0-or-later
"""The data plane on interfaces: at the TC hook everywhere, before it at XDP where safe or asked for."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pylvs.dataplane import clsact
from pylvs.dataplane.instance import Instance
from pylvs.dataplane.kernel import (
    ATTACH_TCX_INGRESS,
    ATTACH_XDP,
    XDP_DRIVER_MODE,
    BpfError,
    Link,
)
from pylvs.dataplane.mapped import MappedArray
from pylvs.errors import DataPlaneError
from pylvs.host.interfaces import Interface, driver, interfaces

XDP_PROGRAM, TC_PROGRAM = "director_xdp", "director_tc"

# Drivers whose native XDP sends and redirects whatever else is set up: `auto` takes XDP there.
XDP_DRIVERS = {
    "bnxt_en": "sends and redirects since 4.12",
    "i40e": "sends and redirects since 4.14",
    "ice": "sends and redirects since 5.5",
    "igb": "sends and redirects since 5.10",
    "igc": "sends and redirects since 5.13",
    "ixgbe": "sends and redirects since 4.13",
    "mlx5_core": "sends and redirects since 4.18",
    "nfp": "sends and redirects since 4.10",
    "qede": "sends and redirects since 4.11",
    "sfc": "sends and redirects since 5.11",
}
# Drivers that have native XDP with a catch; `--mode xdp` is for those who know that it does not catch them.
XDP_CATCHES = {
    "ena": "native XDP needs half of the queues and an MTU below 3500",
    "hv_netvsc": "native XDP loses the accelerated path",
    "mlx4_en": "native XDP needs an MTU below 3500 and takes sending queues away",
    "tun": "native XDP sees only frames that are written whole",
    "veth": "native XDP needs the peer to run XDP or GRO, and sees checksums that are not filled in",
    "virtio_net": "native XDP needs a sending queue for each CPU and no LRO",
    "xen-netfront": "native XDP needs the other domain's consent",
}


class Mode(Enum):
    """Which hooks are used: chosen by the driver, TC alone, or native XDP with TC beneath."""

    AUTO = "auto"
    TC = "tc"
    XDP = "xdp"


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where the data plane is on one interface: `hooks` such as ("xdp", "tc"), and why it is so."""

    interface: str
    hooks: tuple[str, ...]
    driver: str
    why: str


def refusal(interface: Interface) -> str:
    """Why the data plane does not belong on an interface; empty if it does."""
    if not (interface.ethernet or interface.loopback):  # lo has the same header
        return "not Ethernet"
    if not interface.up:
        return "down"
    if interface.port_of and interface.port_of != "vrf":
        return f"a port of a {interface.port_of}: its packets are met there"
    return ""


def wants_xdp(mode: Mode, driver_name: str) -> tuple[bool, str]:
    """Whether to use XDP on an interface with this driver, and the reason."""
    if mode is Mode.TC:
        return False, "mode tc"
    if mode is Mode.XDP:
        return True, "mode xdp"
    if driver_name in XDP_DRIVERS:
        return True, f"{driver_name} {XDP_DRIVERS[driver_name]}"
    return False, XDP_CATCHES.get(driver_name, "not known to have a safe native XDP")


def _chosen(interface: Interface, mode: Mode, driver_name: str) -> tuple[bool, str]:
    return (False, "clients on this host") if interface.loopback else wants_xdp(mode, driver_name)


def mode_of(instance: Instance) -> Mode:
    """The mode that was chosen for this network namespace, AUTO if none was."""
    return Mode(instance.note("mode") or "auto")


class Attacher:
    """Attaches one instance's programs in its network namespace, which must be the caller's."""

    def __init__(self, instance: Instance, tcx: bool = True) -> None:
        self.instance = instance
        self.tcx = tcx  # False: clsact, as on kernels before 6.6

    def attach_all(self) -> list[Attachment]:
        """Attach on every interface where the data plane belongs and was not detached by command."""
        excluded = self.instance.notes()
        wanted = [link for link in interfaces() if not refusal(link) and f"off-{link.index}" not in excluded]
        return self.attach(wanted)

    def attach(self, wanted: Iterable[Interface]) -> list[Attachment]:
        """Attach on these interfaces in the mode that was chosen; what is attached already stays."""
        prepare_loopback()
        with self.instance.locked():
            mode = mode_of(self.instance)
            return [self._attach(interface, mode) for interface in wanted]

    def _attach(self, interface: Interface, mode: Mode) -> Attachment:
        name = driver(interface.name) or interface.kind
        xdp, why = _chosen(interface, mode, name)
        self._attach_tc(interface)
        if xdp:
            if name == "veth":
                self._send_back_by_redirect()
            try:
                self._link(interface, "xdp", XDP_PROGRAM, ATTACH_XDP, XDP_DRIVER_MODE)
            except BpfError as error:
                self._drop(f"{interface.index}-xdp")
                xdp, why = False, self._xdp_refused(interface, mode, name, error)
        else:
            self._drop(f"{interface.index}-xdp")
        return Attachment(interface.name, ("xdp", "tc") if xdp else ("tc",), name, why)

    def _send_back_by_redirect(self) -> None:
        """veth wakes its peer after XDP_TX only if that runs XDP, after a redirect also with GRO alone (veth.c)."""
        with MappedArray(self.instance.map("settings")) as array:
            self.instance.layouts["settings"].fields["redirect_back"].pack_into(array.memory, 0, 1)

    def _xdp_refused(self, interface: Interface, mode: Mode, driver_name: str, error: BpfError) -> str:
        reason = {
            errno.EOPNOTSUPP: "has no native XDP",
            errno.EBUSY: "has another XDP program on it",
            errno.EEXIST: "has another XDP program on it",
            errno.EINVAL: "does not take XDP as it is set up (MTU, queues or LRO)",
        }.get(error.errno, os.strerror(error.errno))
        if mode is Mode.XDP:
            what = f"{interface.name} ({driver_name or 'no driver'}) {reason}"
            raise DataPlaneError(f"{what}; run: pylvs attach --mode tc {interface.name}")
        return f"{driver_name} {reason}"

    def _attach_tc(self, interface: Interface) -> None:
        if self.tcx:
            try:
                self._link(interface, "tc", TC_PROGRAM, ATTACH_TCX_INGRESS)
                return
            except BpfError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
        with self.instance.program(TC_PROGRAM) as program:
            clsact.attach(program, interface.index)
        self.instance.remember(f"clsact-{interface.index}", interface.name)

    def _link(self, interface: Interface, hook: str, program: str, type: int, flags: int = 0) -> None:
        """Attach by a link and pin it, unless a live one is pinned already."""
        path = self.instance.pin_path("links", f"{interface.index}-{hook}")
        try:
            with Link.pinned(path) as present:
                if present.info.ifindex == interface.index:
                    return
            os.unlink(path)  # of an interface that is gone, whose number came back
        except FileNotFoundError:
            pass
        with (
            self.instance.program(program) as loaded,
            Link.create(loaded, interface.index, type, flags) as link,
        ):
            link.pin(path)

    def detach(self, gone: Iterable[Interface]) -> None:
        """Detach from these interfaces, and leave them out of later automatic attaching."""
        with self.instance.locked():
            for interface in gone:
                self._detach(interface)
                self.instance.remember(f"off-{interface.index}", interface.name)

    def _detach(self, interface: Interface) -> None:
        for hook in ("xdp", "tc"):
            self._drop(f"{interface.index}-{hook}")
        if self.instance.note(f"clsact-{interface.index}"):
            clsact.detach(interface.index)
            self.instance.remember(f"clsact-{interface.index}", None)

    def _drop(self, name: str) -> None:
        if not self.instance.loaded:
            return
        path = self.instance.pin_path("links", name)
        try:
            with Link.pinned(path) as link:
                os.unlink(path)
                link.detach()
        except FileNotFoundError:
            pass
        except BpfError as error:
            if error.errno != errno.ENOLINK:  # its interface is gone
                raise

    def include(self, wanted: Iterable[Interface]) -> None:
        """Forget that these interfaces were detached by command."""
        for interface in wanted:
            self.instance.remember(f"off-{interface.index}", None)

    def hooks(self) -> dict[int, tuple[str, ...]]:
        """Where the data plane is now: hooks in the order a packet meets them, by interface number."""
        found: dict[int, list[str]] = {}
        for name, link in sorted(self.instance.links().items(), key=lambda item: item[0].endswith("tc")):
            with link:
                if link.info.ifindex:
                    found.setdefault(link.info.ifindex, []).append(name.partition("-")[2])
        for note in self.instance.notes():
            if note.startswith("clsact-"):
                index = int(note.partition("-")[2])
                if clsact.attached(index):
                    found.setdefault(index, []).append("tc")
        return {index: tuple(hooks) for index, hooks in found.items()}

    def status(self) -> list[Attachment]:
        """Every interface: where the data plane is on it, and why, or why not."""
        hooks, notes = self.hooks(), self.instance.notes()
        return [self._describe(link, hooks.get(link.index, ()), f"off-{link.index}" in notes) for link in interfaces()]

    def _describe(self, interface: Interface, hooks: tuple[str, ...], off: bool) -> Attachment:
        name = driver(interface.name) or interface.kind
        if hooks:
            xdp, why = _chosen(interface, mode_of(self.instance), name)
            if xdp and "xdp" not in hooks:
                why = "native XDP was refused"
        else:
            why = refusal(interface) or ("detached by command" if off else "came up later; run: pylvs attach")
        return Attachment(interface.name, hooks, name, why)

    def remove(self) -> None:
        """Detach everywhere and take the whole data plane away."""
        with self.instance.locked():
            for note in self.instance.notes():
                if note.startswith("clsact-"):
                    clsact.detach(int(note.partition("-")[2]))
            self.instance.remove()


# `bpf_fib_lookup` for a route out of the host, asked as from lo, answers FWD_DISABLED without the first two; the answer
# to a client on the director comes in by lo from a VIP, which is the director's own, as does every other.
LOOPBACK_SETTINGS = ("ipv4/conf/lo/forwarding", "ipv6/conf/lo/forwarding", "ipv4/conf/lo/accept_local")


def prepare_loopback() -> None:
    """Switch on, in the caller's network namespace, what the data plane asks of lo.

    Nothing but the host itself sends by lo, so it forwards nothing for others by this.
    """
    for name in LOOPBACK_SETTINGS:
        path = f"/proc/sys/net/{name}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # no IPv6 in this kernel or namespace
        except OSError as error:
            raise DataPlaneError(f"cannot set {path} to 1: {error.strerror}") from None
        with os.fdopen(fd, "r+b", buffering=0) as file:
            if file.read(1) != b"1":
                file.seek(0)
                file.write(b"1")
