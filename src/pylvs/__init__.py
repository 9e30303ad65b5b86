# SPDX-License-Identifier: GPL-2.0-or-later
"""The Linux Virtual Server with eBPF and Python. `Director` is the table as `pylvsadm` shows and changes it.

Names are imported when they are first asked for: the commands have to start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylvs.model import (
        Counters,
        Destination,
        ForwardingMethod,
        Protocol,
        ServiceFlag,
        ServiceKey,
        SyncDaemon,
        Timeouts,
        Tunnel,
        TunnelChecksum,
        TunnelType,
        VirtualService,
    )
    from pylvs.table.director import Director

__all__ = [
    "Counters", "Destination", "Director", "ForwardingMethod", "Protocol", "ServiceFlag", "ServiceKey", "SyncDaemon",
    "Timeouts", "Tunnel", "TunnelChecksum", "TunnelType", "VirtualService",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'pylvs' has no attribute '{name}'")
    return getattr(import_module("pylvs.table.director" if name == "Director" else "pylvs.model"), name)
