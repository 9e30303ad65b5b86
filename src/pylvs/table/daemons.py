# SPDX-License-Identifier: GPL-2.0-or-later
"""The sync daemons that were started. They are remembered and listed; nothing is sent or received yet."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from pylvs import rules
from pylvs.dataplane.instance import Instance
from pylvs.errors import DaemonError
from pylvs.model import ServiceState, SyncDaemon
from pylvs.values import fields_of, replace

ROLES = ("master", "backup")


def running(instance: Instance) -> Iterator[SyncDaemon]:
    """The daemons that were started."""
    for role in ROLES:
        if note := instance.note(f"sync-{role}"):
            import json  # seldom, and it takes a millisecond

            values = json.loads(note)
            group = values.pop("group")
            yield SyncDaemon(**values, group=ip_address(group) if group else None)


def start(instance: Instance, daemon: SyncDaemon, services: Iterable[ServiceState]) -> None:
    """Remember a daemon; DaemonError. `services` are those of the table."""
    import json

    from pylvs.host.multicast import mtu_of, try_multicast

    interfaces = [name for _, name in socket.if_nameindex()]
    roles = {daemon.role for daemon in running(instance)}
    rules.check_daemon(daemon, roles, daemon.interface in interfaces, any(map(_is_mixed, services)))
    daemon = rules.normalize_daemon(daemon, mtu_of(daemon.interface))
    try_multicast(daemon)
    values = fields_of(replace(daemon, group=None)) | {"group": str(daemon.group) if daemon.group else ""}
    instance.remember(f"sync-{daemon.role}", json.dumps(values))


def _is_mixed(state: ServiceState) -> bool:
    """Whether the service has a destination of the other address family."""
    family = state.service.key.family
    return any(member.destination.address.version != family for member in state.destinations)


def stop(instance: Instance, role: str) -> None:
    """Forget a daemon; DaemonError (ESRCH) if there is none."""
    if role not in {daemon.role for daemon in running(instance)}:
        raise DaemonError("no daemon is running", errno.ESRCH)
    instance.remember(f"sync-{role}", None)
