# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether this machine answers for an address on an interface, without a second machine to ask it.

A frame that we send on `lo` is turned by a tiny program (bpf/realserver.bpf.c) into one that arrives by the interface;
the answer goes out there, to our own hardware address, which no switch delivers to anybody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pylvs.dataplane.kernel import ATTACH_TCX_INGRESS, BpfError, Link, Program
from pylvs.errors import Unsupported
from pylvs.host.neighbours import SO_MARK, answers, listen, mac_of, question
from pylvs.model import Address
from pylvs.realserver.decapsulator import INJECT_PROGRAM, OBJECT, TC_PROGRAM, XDP_PROGRAM


@contextmanager
def injecting(interface: str) -> Iterator[int]:
    """Frames sent on `lo` with the mark that this gives arrive by `interface`."""
    from pylvs.dataplane.libbpf import ObjectFile

    mark = int.from_bytes(os.urandom(4), "little") >> 1 | 1  # the socket option is a signed number
    with ObjectFile(OBJECT) as file:
        file.skip_program(TC_PROGRAM)
        file.skip_program(XDP_PROGRAM)
        file.set_variables({"inject_mark": mark, "inject_interface": socket.if_nametoindex(interface)})
        file.load()
        with file.program(INJECT_PROGRAM) as program, _attached(program):
            yield mark


@contextmanager
def _attached(program: Program) -> Iterator[None]:
    try:
        link = Link.create(program, socket.if_nametoindex("lo"), ATTACH_TCX_INGRESS)
    except BpfError as error:
        raise Unsupported(f"this kernel has no TCX (Linux 6.6) to ask oneself by: {error}") from None
    with link:
        yield


def claims(interface: str, targets: list[Address], patience: float = 0.3) -> dict[Address, bool]:
    """For each address whether this machine says on `interface` that it has it."""
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
