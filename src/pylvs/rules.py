# SPDX-License-Identifier: GPL-2.0-or-later
"""What IPVS in the kernel allows in a table (net/netfilter/ipvs/ip_vs_ctl.c): pure checks and normal forms.

Each check raises the error whose errno the kernel would return. The order of checks is the kernel's.
"""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv6Address
from os import strerror

from pylvs.errors import DaemonError, Invalid, NoSuchScheduler, OutOfRange, TableError
from pylvs.model import (
    Address,
    AddressType,
    AddressTypes,
    Destination,
    ForwardingMethod,
    ServiceFlag,
    ServiceKey,
    SyncDaemon,
    TunnelType,
    VirtualService,
)
from pylvs.values import replace

# In the kernel's order; "none" is a service without a scheduler, which forwards nothing new.
SCHEDULERS = (
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "none",
)  # fmt: skip
PERSISTENCE_ENGINES = ("sip",)
WEIGHT_MAX = 2**31 - 1
TIMEOUT_MAX = 86400 * 31  # seconds, of persistence

CONFIGURABLE = (
    ForwardingMethod.NAT,
    ForwardingMethod.DR,
    ForwardingMethod.TUN,
    ForwardingMethod.FULLNAT,
)


def address_type(address: Address) -> AddressType:
    """The type of an address as far as it can be told without a routing table, where none but ::1 is local."""
    if isinstance(address, IPv6Address):
        return _ipv6_type(address)
    number = int(address)
    if number >> 24 == 0 or number == 0xFFFFFFFF:
        return AddressType.BROADCAST
    return AddressType.MULTICAST if number >> 28 == 0xE else AddressType.UNICAST


def _ipv6_type(address: IPv6Address) -> AddressType:
    if address.is_multicast:
        return AddressType.MULTICAST
    if address.is_loopback:
        return AddressType.LOCAL
    # `::` and IPv4-mapped are not unicast to the kernel; link-local is, but has no use here
    if address.is_link_local or address.is_unspecified or address.ipv4_mapped is not None:
        return AddressType.BROADCAST
    return AddressType.UNICAST


def check_key(key: ServiceKey) -> None:
    """Check that a service is named by protocol, VIP and port, or by a mark; EINVAL."""
    if key.fwmark:
        if not 0 < key.fwmark < 2**32 or key.family not in (4, 6):
            raise Invalid(f"no firewall mark {key.fwmark}; accepted: 1 to 4294967295")
        return
    if key.address is None or not key.protocol:
        raise Invalid("a virtual service needs a protocol and an address, or a firewall mark")
    if not 0 <= key.port <= 65535:
        raise Invalid(f"no port {key.port}; accepted: 0 to 65535")


def check_service(service: VirtualService) -> None:
    """Check a service that is to be added, or what an existing one is to become; ENOENT, EINVAL."""
    check_key(service.key)
    if service.scheduler not in SCHEDULERS:
        raise NoSuchScheduler(f"no scheduler '{service.scheduler}'; accepted: {', '.join(SCHEDULERS[:-1])}")
    engine = service.persistence_engine
    if engine and engine not in PERSISTENCE_ENGINES:
        raise NoSuchScheduler(f"no persistence engine '{engine}'; accepted: sip, or none at all")
    if service.key.family == 6 and not 1 <= service.netmask <= 128:
        raise Invalid(f"no IPv6 prefix length {service.netmask}; accepted: 1 to 128")
    if not 0 <= service.netmask < 2**32 or not 0 <= service.timeout <= TIMEOUT_MAX:
        raise Invalid(f"netmask or persistence timeout out of bounds; accepted: 32 bits, and 0 to {TIMEOUT_MAX} s")


def check_destination(
    key: ServiceKey,
    destination: Destination,
    *,
    new: bool,
    syncing: bool = False,
    types: AddressTypes = address_type,
) -> None:
    """Check a destination that is to be added (`new`), or what an existing one is to become; EINVAL, ERANGE.

    `syncing`: a sync daemon runs, whose messages cannot carry mixed families.
    """
    _check_family(key, destination, syncing)
    if not 0 <= destination.weight <= WEIGHT_MAX:
        raise OutOfRange(f"no weight {destination.weight}; accepted: 0 to {WEIGHT_MAX}")
    if destination.lower_threshold > destination.upper_threshold:
        raise OutOfRange("the lower threshold is above the upper one")
    if destination.tunnel.type is TunnelType.GUE and not destination.tunnel.port:
        raise Invalid("a gue tunnel needs its UDP port; add: --tun-port PORT")
    if new:
        _check_unicast(destination.address, types)


def check_fields(destination: Destination) -> None:
    """Check what no command line can get wrong, but the Python API can: port, method, local addresses; EINVAL."""
    if destination.method not in CONFIGURABLE or not 0 <= destination.port <= 65535:
        raise Invalid("a destination needs a port of 0 to 65535 and the method NAT, DR, TUN or FULLNAT")
    if not destination.local_addresses:
        return
    if destination.method is not ForwardingMethod.FULLNAT:
        raise Invalid("local addresses are for FULLNAT only")
    if any(address.version != destination.address.version for address in destination.local_addresses):
        raise Invalid("FULLNAT's local addresses must be of the real server's family")


def _check_family(key: ServiceKey, destination: Destination, syncing: bool) -> None:
    if destination.address.version == key.family:
        return
    if syncing or destination.method is not ForwardingMethod.TUN:
        raise Invalid("a real server of the other address family needs TUN, and no sync daemon that runs")


def _check_unicast(address: Address, types: AddressTypes) -> None:
    kind = types(address)
    if kind not in (AddressType.UNICAST, AddressType.LOCAL):
        raise Invalid(f"{address} is {kind.value}, not unicast")


def normalize_destination(key: ServiceKey, destination: Destination) -> Destination:
    """A destination as the kernel keeps it: of DR and TUN with the service's port, but for firewall marks."""
    kept = destination.method in (ForwardingMethod.NAT, ForwardingMethod.FULLNAT)
    if kept or key.fwmark or destination.port == key.port:
        return destination
    return replace(destination, port=key.port)


def normalize_service(service: VirtualService) -> VirtualService:
    """A service as the kernel keeps it: with the flag HASHED."""
    if service.flags & ServiceFlag.HASHED:
        return service
    return replace(service, flags=service.flags | ServiceFlag.HASHED)


# Defaults of a sync daemon, net/netfilter/ipvs/ip_vs_sync.c.
SYNC_GROUP, SYNC_PORT, SYNC_TTL = IPv4Address("224.0.0.81"), 8848, 1
_UDP_HEADER, _HEADER = 8, {4: 20, 6: 40}


def normalize_daemon(daemon: SyncDaemon, mtu: int) -> SyncDaemon:
    """A sync daemon with its defaults filled in. A backup's messages are bounded by `mtu`, a master's by 1500 bytes."""
    group = daemon.group or SYNC_GROUP
    headers = _HEADER[group.version] + _UDP_HEADER
    backup = daemon.role == "backup"
    longest = min(max(mtu, 1500), 65535) if backup else 1500
    length = longest - headers
    if daemon.max_length:
        length = min(max(daemon.max_length, 1024 if backup else 1), 65535 - headers)
    return replace(daemon, group=group, port=daemon.port or SYNC_PORT, ttl=daemon.ttl or SYNC_TTL, max_length=length)


def check_daemon(daemon: SyncDaemon, running: set[str], interface_exists: bool, mixed_families: bool) -> None:
    """Check that a sync daemon can start; `running` are the roles that run. EINVAL, ENODEV, EEXIST."""
    if daemon.role not in ("master", "backup"):
        raise DaemonError(f"no role '{daemon.role}'; accepted: master, backup", errno.EINVAL)
    if mixed_families:
        raise DaemonError("no connection sync while a destination is of another family than its service", errno.EINVAL)
    if not interface_exists:
        raise DaemonError(f"no interface '{daemon.interface}' in this network namespace", errno.ENODEV)
    if daemon.role in running:
        raise DaemonError(f"a {daemon.role} daemon runs already", errno.EEXIST)


# What ipvsadm prints for an errno, by command; for others it is GENERAL_MESSAGES, then strerror(3).
MESSAGES: dict[tuple[str, int], str] = {
    ("add-service", errno.EEXIST): "Service already exists",
    ("add-service", errno.ENOENT): "Scheduler or persistence engine not found",
    ("edit-service", errno.ESRCH): "No such service",
    ("edit-service", errno.ENOENT): "Scheduler or persistence engine not found",
    ("delete-service", errno.ESRCH): "No such service",
    ("zero", errno.ESRCH): "No such service",
    ("list", errno.ESRCH): "No such service",
    ("add-server", errno.ESRCH): "Service not defined",
    ("add-server", errno.EEXIST): "Destination already exists",
    ("edit-server", errno.ESRCH): "Service not defined",
    ("edit-server", errno.ENOENT): "No such destination",
    ("delete-server", errno.ESRCH): "Service not defined",
    ("delete-server", errno.ENOENT): "No such destination",
    ("start-daemon", errno.EEXIST): "Daemon has already run",
    ("stop-daemon", errno.ESRCH): "No daemon is running",
}
GENERAL_MESSAGES = {
    errno.EPERM: "Permission denied (you must be root)",
    errno.EINVAL: "Invalid operation.  Possibly wrong module version, address not unicast, ...",
    errno.ENOPROTOOPT: "Protocol not available",
    errno.ENOMEM: "Memory allocation problem",
    errno.EOPNOTSUPP: "Operation not supported with IPv6",
    errno.EAFNOSUPPORT: "Operation not supported with specified address family",
    errno.EMSGSIZE: "Module is wrong version",
}


def message(command: str, error: TableError) -> str:
    """What ipvsadm prints when the table refuses a command."""
    number = error.errno
    return MESSAGES.get((command, number)) or GENERAL_MESSAGES.get(number) or strerror(number)
