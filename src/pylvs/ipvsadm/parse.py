# SPDX-License-Identifier: GPL-2.0-or-later
"""argv → `Command`, in the order in which ipvsadm reads, checks and refuses.

Options act on a `Draft` one after the other, because their order matters: `-6` must come after `-f`, `-r` without a
port takes the port of the `-t` before it, and `-M` is read for the family known so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NoReturn

from pylvs.ipvsadm.command import Command, Filter, Format, Misused, Stop
from pylvs.ipvsadm.grammar import (
    BITS,
    COMMAND_NAMES,
    DEPENDS,
    LEGALITY,
    MASK,
    MAY,
    NEEDS,
    ONE,
    OPTIONS,
    TUNNEL_BITS,
    TUNNEL_LEGALITY,
    Option,
    message_name,
)
from pylvs.ipvsadm.names import ipv4_address, ipv6_address, port_number
from pylvs.ipvsadm.numbers import INT_MAX, LONG_MAX, UINT_MAX, leading_number, whole_number
from pylvs.ipvsadm.popt import OptionError, Scanner
from pylvs.model import (
    PLAIN_TUNNEL,
    Address,
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
from pylvs.rules import TIMEOUT_MAX

PERSISTENT_TIMEOUT = 360  # seconds, where -p has no value
DEFAULT_SCHEDULER = "wlc"
DEFAULT_INTERFACE = "eth0"
# lengths of the fields that ipvsadm copies names into
SCHEDULER_LENGTH, ENGINE_LENGTH, INTERFACE_LENGTH, FLAGS_LENGTH = 15, 16, 15, 127


_Action = Callable[["Draft", str | None], None]


class Draft:
    """A command that is being parsed; the attributes of the class are the defaults."""

    command = ""
    bits = 0
    protocol = 0
    family = 0  # 4, 6; 0: not known yet
    address: Address | None = None
    port = 0
    fwmark = 0
    scheduler = ""
    engine = ""
    persistent = False
    one_packet = False
    timeout = 0
    netmask = UINT_MAX
    scheduler_flags = ""
    real: Address | None = None
    real_port = 0
    method = ForwardingMethod.DR
    weight = 1
    upper = 0
    lower = 0
    tunnel = TunnelType.IPIP
    tunnel_port = 0
    local_addresses: tuple[Address, ...] = ()
    role = ""
    interface = ""
    sync_id = 0
    group: Address | None = None
    group_port = 0
    ttl = 0
    max_length = 0
    only_service: tuple[Address, int | None] | None = None
    only_destination: tuple[Address, int | None] | None = None
    only_client: IPv4Network | IPv6Network | None = None
    only_state: str | None = None
    limit: int | None = None


def parse(program: str, words: Sequence[str]) -> Command:
    """The command in `words` (without the program's name). Stop ends the program; Misused is popt's refusal."""
    scanner = Scanner(words)
    draft = Draft()
    _first(program, scanner, draft)
    try:
        step = scanner.step
        while (option := step()) is not None:
            act, mask = _ACTIONS.get(option.long, _NO_ACTION)
            if draft.bits & mask or act is None:
                _refuse(option, act, scanner)
            draft.bits |= mask
            act(draft, scanner.value)
    except OptionError as error:
        raise Misused(f"{scanner.word}: {error}") from None
    timeouts = _timeouts(scanner) if draft.command == "set" else None
    if scanner.leftovers:
        fail(f"unexpected argument {scanner.leftovers[0]}")
    flags = _scheduler_flags(draft)
    _check_legality(draft)
    return _command(draft, flags, timeouts)


def fail(text: str, status: int = 2) -> NoReturn:
    """End the program with a line on standard error."""
    raise Stop(status, text)


def try_help(program: str) -> NoReturn:
    """End the program with ipvsadm's hint."""
    raise Stop(255, f"Try `{program} -h' or '{program} --help' for more information.")


def _first(program: str, scanner: Scanner, draft: Draft) -> None:
    try:
        option = scanner.step()
    except OptionError:
        option = None
    if option is None or option.long not in COMMAND_NAMES:
        try_help(program)
    draft.command = option.long
    if option.long in ("start-daemon", "stop-daemon"):
        draft.role = scanner.value or ""
        if draft.role not in ("master", "backup"):
            start = option.long == "start-daemon"
            fail("illegal start-daemon parameter specified" if start else "illegal start_daemon specified")
    elif option.long in ("help", "version"):
        raise Stop(0, option.long)


def _refuse(option: Option, act: _Action | None, scanner: Scanner) -> NoReturn:
    if act is None:
        fail(f"invalid option `{scanner.word}'")
    fail(f"multiple '{option.bit}' options specified")


# --- the service ----------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def parse_endpoint(text: str, protocol: int) -> tuple[Address, int | None] | None:
    """`host[:port]`, `[v6]:port` or a bare IPv6 address, as ipvsadm reads it; a port of None: there is none.

    None if it cannot be read. Unlike `Endpoint.parse` it takes names, and what inet_aton(3) takes for an address.
    """
    if text == "" or (text.isascii() and text.isdigit()):
        return None
    port: str | None = None
    if text[0] == "[":
        inner, closed, after = text[1:].partition("]")
        if not closed or after[:1] != ":":
            return None
        text, port = inner, after[1:]
    # at most one colon: no IPv6 address
    address: Address | None = ipv6_address(text) if text.count(":") > 1 else None
    if address is None:
        # as in ipvsadm, brackets around anything but IPv6 lose their port
        text, colon, tail = text.rpartition(":") if ":" in text else (text, "", "")
        port = tail if colon else None
        address = ipv4_address(text)
    if address is None or port is None:
        return None if address is None else (address, None)
    number = port_number(port, protocol)
    return None if number is None else (address, number)


def _service(protocol: Protocol) -> _Action:
    number = int(protocol)

    def act(draft: Draft, value: str | None) -> None:
        draft.protocol = number
        endpoint = parse_endpoint(value or "", number)
        if endpoint is None:
            fail("illegal virtual server address[:port] specified")
        draft.address, port = endpoint
        draft.family = draft.address.version
        if port is not None:
            draft.port = port
        if draft.family == 6:
            draft.netmask = 128

    return act


def _mark(draft: Draft, value: str | None) -> None:
    draft.family = 4
    draft.protocol = int(Protocol.TCP)
    number = whole_number(value or "", 1, min(UINT_MAX, LONG_MAX))
    if number is None:
        fail(f"invalid fwmark value `{value}' specified")
    draft.fwmark = number


def _ipv6(draft: Draft, _: str | None) -> None:
    if not draft.fwmark:
        fail("-6 used before -f\n")
    draft.family = 6
    draft.netmask = 128


def _scheduler(draft: Draft, value: str | None) -> None:
    draft.scheduler = (value or "")[:SCHEDULER_LENGTH]


def _engine(draft: Draft, value: str | None) -> None:
    draft.engine = (value or "")[:ENGINE_LENGTH]


def _flags(draft: Draft, value: str | None) -> None:
    draft.scheduler_flags = (value or "")[:FLAGS_LENGTH]


def _persistent(draft: Draft, value: str | None) -> None:
    draft.persistent = True
    draft.timeout = PERSISTENT_TIMEOUT if value is None else parse_timeout(value, 1)


def parse_timeout(text: str, least: int) -> int:
    """A timeout in seconds."""
    number = whole_number(text, least, TIMEOUT_MAX)
    if number is None:
        fail(f"invalid timeout value `{text}' specified")
    return number


def _netmask(draft: Draft, value: str | None) -> None:
    if draft.family == 6:
        draft.netmask = leading_number(value or "") & UINT_MAX
        if not 1 <= draft.netmask <= 128:
            fail("illegal ipv6 netmask specified")
        return
    mask = ipv4_address(value or "")
    if mask is None:
        fail("illegal virtual server persistent mask specified")
    draft.netmask = int(mask)


def _one_packet(draft: Draft, _: str | None) -> None:
    draft.one_packet = True


# --- the real server ------------------------------------------------------------------------------


def _real(draft: Draft, value: str | None) -> None:
    endpoint = parse_endpoint(value or "", draft.protocol)
    if endpoint is None:
        fail("illegal real server address[:port] specified")
    draft.real, port = endpoint
    draft.real_port = draft.port if port is None else port


def _method(method: ForwardingMethod) -> _Action:
    def act(draft: Draft, _: str | None) -> None:
        draft.method = method

    return act


def _number(attribute: str, least: int, most: int, complaint: str) -> _Action:
    def act(draft: Draft, value: str | None) -> None:
        number = whole_number(value or "", least, most)
        if number is None:
            fail(complaint)
        setattr(draft, attribute, number)

    return act


def _tunnel(draft: Draft, value: str | None) -> None:
    if value not in TUNNEL_LEGALITY:
        fail("illegal tunnel type specified")
    draft.tunnel = TunnelType(value)


def _local_addresses(draft: Draft, value: str | None) -> None:
    found = [ipv6_address(text) or ipv4_address(text) for text in (value or "").split(",")]
    if None in found:
        fail(f"illegal local address `{value}'; accepted: addresses of the director, separated by commas")
    draft.local_addresses = tuple(address for address in found if address is not None)


# --- sync daemons ---------------------------------------------------------------------------------


def _interface(draft: Draft, value: str | None) -> None:
    draft.interface = (value or "")[:INTERFACE_LENGTH]


def _group(draft: Draft, value: str | None) -> None:
    text = value or ""
    sixth = ":" in text
    group: Address | None = ipv6_address(text) if sixth else _strict_ipv4(text)
    if group is None or not group.is_multicast:
        fail(f"invalid IPv{6 if sixth else 4} mcast-group `{text}'")
    draft.group = group


def _strict_ipv4(text: str) -> Address | None:
    mapped = ipv6_address(f"::ffff:{text}") if text.count(".") == 3 else None
    return mapped.ipv4_mapped if mapped is not None else None


# --- listings -------------------------------------------------------------------------------------


def _bit_only(_: Draft, __: str | None) -> None:
    """The effect of an option that only sets its bit."""


def _filter_endpoint(attribute: str) -> _Action:
    def act(draft: Draft, value: str | None) -> None:
        endpoint = _bracketed(value or "") or parse_endpoint(value or "", int(Protocol.TCP))
        if endpoint is None:
            fail(f"illegal address[:port] `{value}'; accepted: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80")
        setattr(draft, attribute, endpoint)

    return act


def _bracketed(text: str) -> tuple[Address, int | None] | None:
    """The address in `[v6]`, a form that ipvsadm has not."""
    address = ipv6_address(text[1:-1]) if text[:1] == "[" and text[-1:] == "]" else None
    return None if address is None else (address, None)


def _client(draft: Draft, value: str | None) -> None:
    try:
        draft.only_client = ip_network(value or "", strict=False)
    except ValueError:
        fail(f"illegal client prefix `{value}'; accepted: an address, or a prefix such as 10.0.0.0/8")


def _state(draft: Draft, value: str | None) -> None:
    draft.only_state = (value or "").upper()


_EFFECTS: dict[str, _Action] = {
    "tcp-service": _service(Protocol.TCP),
    "udp-service": _service(Protocol.UDP),
    "sctp-service": _service(Protocol.SCTP),
    "fwmark-service": _mark,
    "ipv6": _ipv6,
    "scheduler": _scheduler,
    "pe": _engine,
    "persistent": _persistent,
    "netmask": _netmask,
    "sched-flags": _flags,
    "ops": _one_packet,
    "real-server": _real,
    "gatewaying": _method(ForwardingMethod.DR),
    "ipip": _method(ForwardingMethod.TUN),
    "masquerading": _method(ForwardingMethod.NAT),
    "fullnat": _method(ForwardingMethod.FULLNAT),
    "local-address": _local_addresses,
    "tun-type": _tunnel,
    "tun-port": _number("tunnel_port", 1, 65535, "illegal tunnel port specified"),
    "weight": _number("weight", 0, INT_MAX, "illegal weight specified"),
    "u-threshold": _number("upper", 0, INT_MAX, "illegal u_threshold specified"),
    "l-threshold": _number("lower", 0, INT_MAX, "illegal l_threshold specified"),
    "syncid": _number("sync_id", 0, 255, "illegal syncid specified"),
    "sync-maxlen": _number("max_length", 1, 65535 - 20 - 8, "illegal sync-maxlen specified"),
    "mcast-interface": _interface,
    "mcast-group": _group,
    "mcast-port": _number("group_port", 1, 65535, "illegal mcast-port specified"),
    "mcast-ttl": _number("ttl", 1, 255, "illegal mcast-ttl specified"),
    "service": _filter_endpoint("only_service"),
    "destination": _filter_endpoint("only_destination"),
    "client": _client,
    "state": _state,
    "limit": _number("limit", 0, INT_MAX, "illegal limit specified"),
    "tun-nocsum": _bit_only,
    "tun-csum": _bit_only,
    "tun-remcsum": _bit_only,
    "connection": _bit_only,
    "timeout": _bit_only,
    "daemon": _bit_only,
    "stats": _bit_only,
    "rate": _bit_only,
    "exact": _bit_only,
    "thresholds": _bit_only,
    "persistent-conn": _bit_only,
    "tun-info": _bit_only,
    "nosort": _bit_only,
    "sort": _bit_only,
    "numeric": _bit_only,
    "json": _bit_only,
    "atomic": _bit_only,
    "dry-run": _bit_only,
}


# what each option does, and its bit
_ACTIONS = {option.long: (_EFFECTS[option.long], MASK.get(option.bit, 0)) for option in OPTIONS}
_NO_ACTION = (None, 0)


# --- what may go with what ------------------------------------------------------------------------


def _timeouts(scanner: Scanner) -> Timeouts:
    if len(scanner.leftovers) < 3:
        fail("--set option requires 3 timeout values")
    values = [parse_timeout(text, 0) for text in scanner.leftovers[:3]]
    del scanner.leftovers[:3]
    return Timeouts(*values)


# name of a scheduler flag: (flag, the scheduler that has it, or "" for any)
SCHEDULER_FLAGS = {
    "flag-1": (ServiceFlag.SCHED1, ""),
    "flag-2": (ServiceFlag.SCHED2, ""),
    "flag-3": (ServiceFlag.SCHED3, ""),
    "sh-fallback": (ServiceFlag.SCHED1, "sh"),
    "sh-port": (ServiceFlag.SCHED2, "sh"),
    "mh-fallback": (ServiceFlag.SCHED1, "mh"),
    "mh-port": (ServiceFlag.SCHED2, "mh"),
}


def _scheduler_flags(draft: Draft) -> ServiceFlag:
    flags = ServiceFlag(0)
    if not draft.scheduler_flags:
        return flags
    scheduler = draft.scheduler or DEFAULT_SCHEDULER
    for name in filter(None, draft.scheduler_flags.split(",")):
        if name not in SCHEDULER_FLAGS:
            fail(f"invalid scheduler flag `{name}'")
        flag, needs = SCHEDULER_FLAGS[name]
        if needs not in ("", scheduler):
            fail(f"incompatible scheduler flag `{name}'")
        flags |= flag
    return flags


# (bits needed, bits legal, bits of which only one is legal) of each command and tunnel type
_Masks = tuple[int, int, int]


def _masks(rule: dict[str, tuple[str, ...]]) -> _Masks:
    needs = sum(MASK[bit] for bit in rule.get(NEEDS, ()))
    may = sum(MASK[bit] for bit in rule.get(MAY, ()))
    one = sum(MASK[bit] for bit in rule.get(ONE, ()))
    return needs, needs | may | one, one


_COMMAND_MASKS = {command: _masks(rule) for command, rule in LEGALITY.items()}
_TUNNEL_MASKS = {TunnelType(kind): _masks(rule) for kind, rule in TUNNEL_LEGALITY.items()}
_TUNNEL_MASK = sum(MASK[bit] for bit in TUNNEL_BITS)
_TUNNEL_OPTIONS = _TUNNEL_MASK | MASK["tun-type"]
_DEPEND_MASKS = [(MASK[bit], MASK[other], bit, other) for bit, other in DEPENDS]

_DEPENDENT = sum(mask for mask, *_ in _DEPEND_MASKS)


def _check_legality(draft: Draft) -> None:
    bits = draft.bits
    masks = _COMMAND_MASKS[draft.command]
    if bits & ~masks[1] or masks[0] & ~bits or (bits & masks[2]).bit_count() > 1:
        _complain(bits, masks, BITS, f"'{message_name(draft.command)}' command")
    if not bits & _DEPENDENT:
        return
    for mask, other, bit, need in _DEPEND_MASKS:
        if bits & mask and not bits & other:
            fail(f"You need to supply the '{need}' option for the '{bit}' option")


def _complain(bits: int, masks: _Masks, order: Sequence[str], where: str) -> None:
    """Report the first bit that is wrong, in the order in which ipvsadm checks them."""
    needs, legal, one = masks
    last = ""
    for bit in order:
        mask = MASK[bit]
        if not bits & mask:
            if needs & mask:
                fail(f"You need to supply the '{bit}' option for the {where}")
        elif not legal & mask:
            fail(f"Illegal '{bit}' option with the {where}")
        elif one & mask:
            if last:
                fail(f"The option '{bit}' conflicts with the '{last}' option in the {where}")
            last = bit


def _check_service(draft: Draft) -> None:
    if not draft.fwmark and not draft.port and not draft.persistent:
        fail("Zero port specified for non-persistent service")
    if draft.one_packet and not draft.fwmark and draft.protocol != Protocol.UDP:
        fail("One-Packet Scheduling is only for UDP virtual services")


def _check_server(draft: Draft) -> None:
    tunnel = draft.method is ForwardingMethod.TUN
    if draft.real is not None and draft.real.version != draft.family and not tunnel:
        fail("Different address family is allowed only for tunneling servers")
    options = draft.bits & _TUNNEL_OPTIONS
    if options and not tunnel:
        fail("Tunnel options conflict with forward method")
    if draft.local_addresses and draft.method is not ForwardingMethod.FULLNAT:
        fail("Local addresses conflict with forward method")
    if options:
        where = f"'{draft.tunnel.value}' tunnel type"
        _complain(draft.bits & _TUNNEL_MASK, _TUNNEL_MASKS[draft.tunnel], TUNNEL_BITS, where)


_CONFLICTS = (
    (("connection", "timeout", "daemon"), ("stats", "rate", "thresholds")),
    (("timeout", "daemon"), ("persistent-conn",)),
)


def _check_listing(draft: Draft) -> None:
    def have(names: tuple[str, ...]) -> bool:
        return any(draft.bits & MASK[name] for name in names)

    if any(have(some) and have(others) for some, others in _CONFLICTS):
        fail("options conflicts in the list command")


# --- the command ----------------------------------------------------------------------------------


def _command(draft: Draft, flags: ServiceFlag, timeouts: Timeouts | None) -> Command:
    name = draft.command
    if name in ("add-server", "edit-server", "delete-server"):
        if name != "delete-server":
            _check_server(draft)
        return Command(name, key=_key(draft), destination=_destination(draft))
    if name in ("add-service", "edit-service"):
        _check_service(draft)
        return Command(name, key=_key(draft), service=_virtual_service(draft, flags))
    if name in ("list", "save"):
        return _list_command(draft)
    return Command(
        name,
        key=_key(draft) if draft.bits & MASK["service-address"] else None,
        timeouts=timeouts,
        daemon=_daemon(draft) if draft.role else None,
        atomic=bool(draft.bits & MASK["atomic"]),
        dry_run=bool(draft.bits & MASK["dry-run"]),
    )


def _key(draft: Draft) -> ServiceKey:
    if draft.fwmark:
        return _mark_key(draft.fwmark, draft.family)
    if draft.address is None:  # _check_legality has seen to it
        raise Stop(2, "illegal virtual server address[:port] specified")
    return _address_key(draft.protocol, draft.address, draft.port)


@lru_cache(maxsize=65536)
def _address_key(protocol: int, address: Address, port: int) -> ServiceKey:
    return ServiceKey(Protocol(protocol), address, port)


@lru_cache(maxsize=1024)
def _mark_key(fwmark: int, family: int) -> ServiceKey:
    return ServiceKey(fwmark=fwmark, family=family)


def _virtual_service(draft: Draft, flags: ServiceFlag) -> VirtualService:
    if draft.persistent:
        flags |= ServiceFlag.PERSISTENT
    if draft.one_packet:
        flags |= ServiceFlag.ONE_PACKET
    return VirtualService(
        key=_key(draft),
        scheduler=draft.scheduler or DEFAULT_SCHEDULER,
        flags=flags,
        timeout=draft.timeout,
        netmask=draft.netmask,
        persistence_engine=draft.engine,
    )


def _destination(draft: Draft) -> Destination:
    if draft.real is None:  # _check_legality has seen to it
        raise Stop(2, "illegal real server address[:port] specified")
    method = draft.method
    port = draft.real_port
    # ipvsadm gives DR and TUN the service's own port, whatever port was given; but -d names what is there
    fixed = method is ForwardingMethod.DR or method is ForwardingMethod.TUN
    if fixed and not draft.fwmark and draft.command != "delete-server":
        port = draft.port
    tunnel = _tunnel_of(draft)
    return Destination(draft.real, port, method, draft.weight, draft.upper, draft.lower, tunnel, draft.local_addresses)


def _tunnel_of(draft: Draft) -> Tunnel:
    if not draft.bits & _TUNNEL_OPTIONS:
        return PLAIN_TUNNEL
    checksum = TunnelChecksum.NONE
    if draft.bits & MASK["tun-csum"]:
        checksum = TunnelChecksum.CSUM
    elif draft.bits & MASK["tun-remcsum"]:
        checksum = TunnelChecksum.REMCSUM
    return Tunnel(draft.tunnel, draft.tunnel_port, checksum)


def _daemon(draft: Draft) -> SyncDaemon:
    interface = draft.interface
    if draft.command == "start-daemon" and not interface:
        interface = DEFAULT_INTERFACE
    return SyncDaemon(draft.role, interface, draft.sync_id, draft.max_length, draft.group, draft.group_port, draft.ttl)


def _list_command(draft: Draft) -> Command:
    if draft.command == "list":
        _check_listing(draft)
    has = {bit: bool(draft.bits & MASK[bit]) for bit in BITS}
    listing = next((what for what in LEGALITY["list"][ONE] if has[what]), "all")
    layout = Format(
        numeric=has["numeric"],
        stats=has["stats"],
        rate=has["rate"],
        thresholds=has["thresholds"],
        persistent=has["persistent-conn"],
        tunnels=has["tun-info"],
        exact=has["exact"],
        sort=not has["nosort"],
        json=has["json"],
    )
    key = _key(draft) if listing == "service-address" else None
    only = Filter(draft.only_service, draft.only_destination, draft.only_client, draft.only_state, draft.limit)
    return Command(draft.command, key=key, listing=listing, format=layout, filter=only)
