# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers by which a data plane knows what the model names: schedulers, forwarding methods, tunnels.

The enums of bpf/abi.h have the same names as the model, behind a prefix; so BTF alone says which number is what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Generic, TypeVar

from pylvs.dataplane.btf import Layouts
from pylvs.model import ForwardingMethod, Tunnel, TunnelChecksum, TunnelType

Named = TypeVar("Named")


class Code(Generic[Named]):
    """One enum of the data plane, both ways."""

    def __init__(self, values: Mapping[int, Named]) -> None:
        self._values = dict(values)
        self._numbers = {value: number for number, value in values.items()}

    def number(self, value: Named) -> int:
        """The data plane's number of a value of the model; KeyError if it has none."""
        return self._numbers[value]

    def value(self, number: int) -> Named:
        """The value with this number; KeyError if the data plane has no such number."""
        return self._values[number]

    def get(self, number: int) -> Named | None:
        """The value with this number, None if there is none, as in a record that a trace saw half written."""
        return self._values.get(number)


class Codes:
    """All numberings of one data plane."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._tunnel: dict[tuple[int, int, int], Tunnel] = {}

    def _code(self, enum: str, prefix: str, named: Callable[[str], Named]) -> Code[Named]:
        numbers = self._layouts.enum(enum)
        return Code({number: named(name.removeprefix(prefix)) for name, number in numbers.items()})

    @cached_property
    def schedulers(self) -> Code[str]:
        """Schedulers by the names that ipvsadm has for them."""
        return self._code("scheduler", "SCHED_", str.lower)

    @cached_property
    def methods(self) -> Code[ForwardingMethod]:
        """Forwarding methods."""
        return self._code("method", "METHOD_", ForwardingMethod.__getitem__)

    @cached_property
    def tunnels(self) -> Code[TunnelType]:
        """Types of tunnels."""
        return self._code("tunnel", "TUNNEL_", TunnelType.__getitem__)

    @cached_property
    def checksums(self) -> Code[TunnelChecksum]:
        """What a tunnel's header has for a checksum."""
        return self._code("tunnel_flag", "TUNNEL_", lambda name: TunnelChecksum(name.lower()))

    @cached_property
    def engines(self) -> Code[str]:
        """Persistence engines by the names that ipvsadm has for them, '' for none."""
        return self._code("persistence_engine", "PE_", lambda name: "" if name == "NONE" else name.lower())

    def tunnel(self, kind: int, port: int, flags: int) -> Tunnel:
        """The tunnel of a destination's record; `port` in host order. Most destinations have the same one."""
        numbers = kind, port, flags
        if numbers not in self._tunnel:
            self._tunnel[numbers] = Tunnel(self.tunnels.value(kind), port, self.checksums.value(flags))
        return self._tunnel[numbers]
