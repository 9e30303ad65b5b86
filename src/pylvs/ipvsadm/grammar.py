# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as data: options, commands, and which option is legal with which command.

The parser, the shell completions and the man page are made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from pylvs.values import frozen


class Argument(Enum):
    """Whether an option takes a value. `OPTIONAL`, of `-p` only, is the next word unless that begins with `-`."""

    NONE = 0
    REQUIRED = 1
    OPTIONAL = 2


@frozen
class Option:
    """An option or a command. `bit` is its name in messages and in `LEGALITY`."""

    long: str
    short: str = ""
    argument: Argument = Argument.NONE
    bit: str = ""
    metavar: str = ""
    help: str = ""
    addition: bool = False

    def spellings(self) -> Iterator[str]:
        """`-w`, `--weight`."""
        if self.short:
            yield f"-{self.short}"
        yield f"--{self.long}"


REQUIRED, OPTIONAL = Argument.REQUIRED, Argument.OPTIONAL

COMMANDS = (
    Option("add-service", "A", help="add a virtual service"),
    Option("edit-service", "E", help="edit a virtual service"),
    Option("delete-service", "D", help="delete a virtual service"),
    Option("clear", "C", help="clear the table"),
    Option("restore", "R", help="restore rules from standard input"),
    Option("save", "S", help="save rules to standard output"),
    Option("add-server", "a", help="add a real server to a virtual service"),
    Option("edit-server", "e", help="edit a real server of a virtual service"),
    Option("delete-server", "d", help="delete a real server from a virtual service"),
    Option("list", "L", help="list the table"),
    Option("list", "l", help="list the table"),
    Option("zero", "Z", help="zero the counters of a service or of all"),
    Option("set", help="set connection timeouts", metavar="tcp tcpfin udp"),
    Option("start-daemon", "", REQUIRED, metavar="{master|backup}", help="start a connection sync daemon"),
    Option("stop-daemon", "", REQUIRED, metavar="{master|backup}", help="stop a connection sync daemon"),
    Option("help", "h", help="display help"),
    Option("version", "v", help="display the version"),
)

# The name of a command in ipvsadm's messages, where it is not the long option's.
MESSAGE_NAMES = {"clear": "flush"}

OPTIONS = (
    Option("tcp-service", "t", REQUIRED, "service-address", "address[:port]", "a TCP service"),
    Option("udp-service", "u", REQUIRED, "service-address", "address[:port]", "a UDP service"),
    Option("sctp-service", "", REQUIRED, "service-address", "address[:port]", "an SCTP service"),
    Option("fwmark-service", "f", REQUIRED, "service-address", "mark", "a service of a firewall mark"),
    Option("ipv6", "6", help="the firewall mark is for IPv6 (after -f)"),
    Option("scheduler", "s", REQUIRED, "scheduler", "scheduler", "how a destination is chosen (default wlc)"),
    Option("pe", "", REQUIRED, "pe", "engine", "persistence engine: sip"),
    Option("persistent", "p", OPTIONAL, "persistent", "[seconds]", "persistent service (default 360)"),
    Option("netmask", "M", REQUIRED, "netmask", "netmask", "which clients share a template (prefix length for IPv6)"),
    Option("sched-flags", "b", REQUIRED, "sched-flags", "flags", "scheduler flags, separated by commas"),
    Option("ops", "o", bit="ops", help="one-packet scheduling (UDP and marks)"),
    Option("real-server", "r", REQUIRED, "real-server", "address[:port]", "the real server"),
    Option("gatewaying", "g", bit="forwarding-method", help="direct routing (default)"),
    Option("ipip", "i", bit="forwarding-method", help="tunnelling"),
    Option("masquerading", "m", bit="forwarding-method", help="NAT"),
    Option("fullnat", bit="forwarding-method", help="NAT, also of the source", addition=True),
    Option("local-address", "", REQUIRED, "local-address", "address[,…]", "FULLNAT: own addresses to send from", True),
    Option("tun-type", "", REQUIRED, "tun-type", "{ipip|gue|gre}", "type of tunnel (default ipip)"),
    Option("tun-port", "", REQUIRED, "tun-port", "port", "UDP port of a gue tunnel"),
    Option("tun-nocsum", bit="tun-nocsum", help="tunnel without checksum (default)"),
    Option("tun-csum", bit="tun-csum", help="tunnel with checksum"),
    Option("tun-remcsum", bit="tun-remcsum", help="gue tunnel with remote checksum offload"),
    Option("weight", "w", REQUIRED, "weight", "weight", "capacity of the real server (default 1)"),
    Option("u-threshold", "x", REQUIRED, "u-threshold", "connections", "upper threshold: no more than this many"),
    Option("l-threshold", "y", REQUIRED, "l-threshold", "connections", "lower threshold: new ones again below this"),
    Option("connection", "c", bit="connection", help="list connections"),
    Option("timeout", bit="timeout", help="list the connection timeouts"),
    Option("daemon", bit="daemon", help="list the sync daemons"),
    Option("stats", bit="stats", help="list counters"),
    Option("rate", bit="rate", help="list rates per second"),
    Option("exact", "X", bit="exact", help="exact numbers, not K, M, G"),
    Option("thresholds", bit="thresholds", help="list thresholds"),
    Option("persistent-conn", bit="persistent-conn", help="list persistent connections"),
    Option("tun-info", bit="tun-info", help="list tunnels"),
    Option("nosort", bit="nosort", help="do not sort"),
    Option("sort", help="sort (the default)"),
    Option("numeric", "n", bit="numeric", help="addresses and ports as numbers"),
    Option("syncid", "", REQUIRED, "syncid", "id", "sync daemon: 0 to 255"),
    Option("sync-maxlen", "", REQUIRED, "sync-maxlen", "bytes", "sync daemon: longest message"),
    Option("mcast-interface", "", REQUIRED, "mcast-interface", "interface", "sync daemon: interface"),
    Option("mcast-group", "", REQUIRED, "mcast-group", "address", "sync daemon: group (default 224.0.0.81)"),
    Option("mcast-port", "", REQUIRED, "mcast-port", "port", "sync daemon: UDP port (default 8848)"),
    Option("mcast-ttl", "", REQUIRED, "mcast-ttl", "ttl", "sync daemon: TTL (default 1)"),
    Option("json", bit="json", help="list as JSON", addition=True),
    Option("service", "", REQUIRED, "service", "address[:port]", "only connections to this VIP", True),
    Option("destination", "", REQUIRED, "destination", "address[:port]", "only those to this server", True),
    Option("client", "", REQUIRED, "client", "prefix", "only those of clients in this prefix", True),
    Option("state", "", REQUIRED, "state", "state", "only those in this state", True),
    Option("limit", "", REQUIRED, "limit", "n", "no more than n connections", True),
    Option("atomic", bit="atomic", help="restore all or nothing, replacing the table at once", addition=True),
    Option("dry-run", bit="dry-run", help="with --atomic: print what would change", addition=True),
)

# Bits in the order in which ipvsadm checks them; pylvs's own come last.
BITS = (
    "numeric", "connection", "service-address", "scheduler", "persistent", "netmask", "real-server",
    "forwarding-method", "weight", "u-threshold", "l-threshold", "mcast-interface", "timeout", "daemon",
    "stats", "rate", "thresholds", "persistent-conn", "nosort", "syncid", "exact", "ops", "pe", "sched-flags",
    "mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen", "tun-info", "tun-type", "tun-port", "tun-nocsum",
    "tun-csum", "tun-remcsum",
    "local-address", "json", "service", "destination", "client", "state", "limit", "atomic", "dry-run",
)  # fmt: skip

# For each command: what it needs, what it may have, and what it may have one of. Everything else is illegal.
NEEDS, MAY, ONE = "needs", "may", "one"
_SERVICE_OPTIONS = ("scheduler", "persistent", "netmask", "ops", "pe", "sched-flags")
_SERVER_OPTIONS = (
    "forwarding-method", "weight", "u-threshold", "l-threshold", "tun-type", "tun-port", "tun-nocsum",
    "tun-csum", "tun-remcsum", "local-address",
)  # fmt: skip
_LIST_OPTIONS = (
    "numeric", "stats", "rate", "thresholds", "persistent-conn", "nosort", "exact", "tun-info", "json",
    "service", "destination", "client", "state", "limit",
    "syncid",  # ipvsadm 1.31 lets it pass, and ignores it
)  # fmt: skip
LEGALITY: dict[str, dict[str, tuple[str, ...]]] = {
    "add-service": {NEEDS: ("service-address",), MAY: _SERVICE_OPTIONS},
    "edit-service": {NEEDS: ("service-address",), MAY: _SERVICE_OPTIONS},
    "delete-service": {NEEDS: ("service-address",)},
    "clear": {},
    "list": {ONE: ("connection", "service-address", "timeout", "daemon"), MAY: _LIST_OPTIONS},
    "add-server": {NEEDS: ("service-address", "real-server"), MAY: _SERVER_OPTIONS},
    "delete-server": {NEEDS: ("service-address", "real-server")},
    "edit-server": {NEEDS: ("service-address", "real-server"), MAY: _SERVER_OPTIONS},
    "set": {},
    "start-daemon": {
        MAY: ("mcast-interface", "syncid", "mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen"),
    },
    "stop-daemon": {MAY: ("syncid",)},
    "restore": {MAY: ("atomic", "dry-run")},
    "save": {MAY: ("numeric", "json")},
    "zero": {MAY: ("service-address",)},
}

# For each type of tunnel, what it needs, may have, and may have one of; only these bits are checked.
TUNNEL_BITS = ("tun-port", "tun-nocsum", "tun-csum", "tun-remcsum")
TUNNEL_LEGALITY: dict[str, dict[str, tuple[str, ...]]] = {
    "ipip": {},
    "gue": {NEEDS: ("tun-port",), ONE: ("tun-nocsum", "tun-csum", "tun-remcsum")},
    "gre": {ONE: ("tun-nocsum", "tun-csum")},
}

# (option, the option that it needs), for additions of pylvs
DEPENDS = (
    ("service", "connection"),
    ("destination", "connection"),
    ("client", "connection"),
    ("state", "connection"),
    ("limit", "connection"),
    ("dry-run", "atomic"),
)

LONG = {option.long: option for option in (*COMMANDS, *OPTIONS)}
SHORT = {option.short: option for option in (*COMMANDS, *OPTIONS) if option.short}
SPELLINGS = {word: option for option in (*COMMANDS, *OPTIONS) for word in option.spellings()}
COMMAND_NAMES = frozenset(option.long for option in COMMANDS)
MASK = {bit: 1 << number for number, bit in enumerate(BITS)}


def message_name(command: str) -> str:
    """What ipvsadm calls a command in its messages."""
    return MESSAGE_NAMES.get(command, command)
