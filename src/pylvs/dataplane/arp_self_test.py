# SPDX-License-Identifier: GPL-2.0-or-later
"""The ARP self-test: whether this machine answers for an address on an interface, with no second machine to ask it.

A frame that we send on `lo` is redirected by a tiny program (`inject` of bpf/realserver.bpf.c, attached by TCX) to the
ingress of the interface. The answer goes out there, to our own MAC address, which no switch delivers to anybody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pylvs.dataplane.kernel import ATTACH_TCX_INGRESS, BpfError, Link, Program
from pylvs.dataplane.libbpf import ObjectFile
from pylvs.errors import Unsupported
from pylvs.host.neighbours import answers, listen, mac_of, question
from pylvs.model import Address

OBJECT = Path(__file__).parent.parent / "bpf" / "realserver.bpf.o"
PROGRAM = "inject"
SO_MARK = 36  # asm-generic/socket.h


@contextmanager
def injecting(interface: str) -> Iterator[int]:
    """Frames sent on `lo` with the mark that this gives arrive by `interface`; Unsupported without TCX."""
    mark = int.from_bytes(os.urandom(4), "little") >> 1 | 1  # the socket option is a signed number
    with ObjectFile(OBJECT) as file:
        for name in file.program_names:
            if name != PROGRAM:
                file.skip_program(name)
        file.set_variables({"inject_mark": mark, "inject_interface": socket.if_nametoindex(interface)})
        file.load()
        with file.program(PROGRAM) as program, _attached(program):
            yield mark


@contextmanager
def _attached(program: Program) -> Iterator[None]:
    try:
        link = Link.create(program, socket.if_nametoindex("lo"), ATTACH_TCX_INGRESS)
    except BpfError as error:
        raise Unsupported(f"TCX (Linux 6.6) is required for the ARP self-test: {error}") from None
    with link:
        yield


def claims(interface: str, targets: list[Address], patience: float = 0.3) -> dict[Address, bool]:
    """Whether this machine answers on `interface` for each of these addresses, waiting `patience` seconds for each."""
    with injecting(interface) as mark, listen(interface) as raw, _sender(mark) as sender:
        return {target: _claimed(raw, sender, interface, target, patience) for target in targets}


def _sender(mark: int) -> socket.socket:
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC)
    sender.bind(("lo", 0))
    sender.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    return sender


def _claimed(raw: socket.socket, sender: socket.socket, interface: str, target: Address, patience: float) -> bool:
    sender.send(question(mac_of(interface), target))
    return any(answer.sent for answer in answers(raw, target, patience, enough=1))
