# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings of a data plane: one `struct settings` (bpf/abi.h), which Python writes and every packet reads."""

from __future__ import annotations

from typing import Any

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.loaded import DataPlane
from pylvs.dataplane.mapped import MappedArray
from pylvs.model import Timeouts


class Settings:
    """The settings as a mapping of their numbers; those that are arrays are tuples. Times are in ticks."""

    def __init__(self, plane: DataPlane, layouts: Layouts) -> None:
        self.fields = layouts["settings"].fields
        self.array = MappedArray(plane.map("settings"))
        self.memory = self.array.memory
        self._words = {name: field.offset // 4 for name, field in self.fields.items() if not field.count}

    def __getitem__(self, name: str) -> Any:
        if name in self._words:
            return self.array.words[self._words[name]]
        return self.fields[name].unpack_from(self.memory)

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._words:
            self.array.words[self._words[name]] = value
        else:
            self.fields[name].pack_into(self.memory, 0, value)

    def close(self) -> None:
        self.array.close()


class TimeoutSettings:
    """The timeouts of `ipvsadm --set`: each is that of one state (ip_vs_set_timeout() of ip_vs_ctl.c)."""

    def __init__(self, settings: Settings, layouts: Layouts) -> None:
        self._settings = settings
        self._second = settings["second"]
        states = layouts.enum("tcp_state")
        udp = layouts.enum("udp_state")["UDP_NORMAL"]
        # in the order of the fields of Timeouts: which table, which state
        self._places = {
            "tcp": ("tcp_timeout", states["TCP_ESTABLISHED"]),
            "tcp_fin": ("tcp_timeout", states["TCP_FIN_WAIT"]),
            "udp": ("udp_timeout", udp),
        }

    def read(self) -> Timeouts:
        """The timeouts in seconds."""
        return Timeouts(
            **{name: self._settings[table][state] // self._second for name, (table, state) in self._places.items()}
        )

    def write(self, timeouts: Timeouts) -> None:
        """Set those that are not 0; an entry gets the new one with its next packet."""
        for name, (table, state) in self._places.items():
            seconds = getattr(timeouts, name)
            if seconds:
                values = list(self._settings[table])
                values[state] = seconds * self._second
                self._settings[table] = tuple(values)
