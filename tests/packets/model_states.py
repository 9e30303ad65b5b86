# SPDX-License-Identifier: GPL-2.0-or-later
"""A model of the kernel's connections: what one packet does to the states, timers and counts of a service.

Written from what ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ip_vs_proto_sctp.c and ip_vs_core.c do, apart from the data
plane: tables are spelled as changes to "stays as it is", and names are words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

TCP, UDP, SCTP = 6, 17, 132
FIN, SYN, RST, ACK = 1, 2, 4, 16

SECONDS = {
    TCP: {
        "NONE": 2, "ESTABLISHED": 900, "SYN_SENT": 120, "SYN_RECV": 60, "FIN_WAIT": 120, "TIME_WAIT": 120,
        "CLOSE": 10, "CLOSE_WAIT": 60, "LAST_ACK": 30, "LISTEN": 120, "SYNACK": 120,
    },
    UDP: {"UDP": 300},
    SCTP: {
        "NONE": 2, "INIT1": 4, "INIT": 61, "C-SENT": 61, "C-REPLIED": 61, "C-WAIT": 61, "COOKIE": 61,
        "C-ECHOED": 61, "ESTABLISHED": 900, "S-SENT": 61, "S-RECEIVED": 61, "S-ACK-SENT": 61, "REJECTED": 4,
        "CLOSED": 61,
    },
}  # fmt: skip
ACTIVE = {TCP: {"ESTABLISHED", "SYN_SENT", "SYN_RECV", "SYNACK"}, UDP: set(), SCTP: {"ESTABLISHED"}}
OVER = {TCP: {"TIME_WAIT", "CLOSE"}, UDP: set(), SCTP: {"CLOSED"}}  # a new connection may take their place

# direction -> event -> state -> next state; what is not named stays.
TcpTable = dict[str, dict[str, dict[str, str]]]
_SYN_FROM_CLIENT = {state: "SYN_RECV" for state in SECONDS[TCP] if state not in ("ESTABLISHED", "SYN_SENT")} | {
    "SYN_SENT": "ESTABLISHED"
}
_FORGOTTEN = ("NONE", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK")
_SYN_FROM_SERVER = dict.fromkeys(_FORGOTTEN, "SYN_SENT") | {"SYNACK": "SYN_RECV"}
_ACK_FROM_CLIENT = {"NONE": "ESTABLISHED", "SYN_RECV": "ESTABLISHED", "SYNACK": "ESTABLISHED", "LAST_ACK": "CLOSE"}
_RST_FROM_CLIENT = {
    state: "CLOSE" for state in SECONDS[TCP] if state not in ("SYN_RECV", "SYNACK", "LAST_ACK", "LISTEN")
}
TCP_TABLE: TcpTable = {
    "client": {
        "syn": _SYN_FROM_CLIENT,
        "fin": {
            "NONE": "CLOSE", "ESTABLISHED": "CLOSE_WAIT", "SYN_RECV": "TIME_WAIT", "FIN_WAIT": "TIME_WAIT",
            "SYNACK": "TIME_WAIT",
        },
        "ack": _ACK_FROM_CLIENT,
        "rst": _RST_FROM_CLIENT | {"SYNACK": "SYN_RECV"},
    },
    "server": {
        "syn": _SYN_FROM_SERVER,
        "fin": {
            "NONE": "TIME_WAIT", "ESTABLISHED": "FIN_WAIT", "SYN_RECV": "TIME_WAIT", "CLOSE_WAIT": "TIME_WAIT",
            "SYNACK": "TIME_WAIT",
        },
        "ack": {"NONE": "ESTABLISHED", "SYN_RECV": "ESTABLISHED", "LISTEN": "ESTABLISHED", "SYNACK": "ESTABLISHED"},
        "rst": {state: "CLOSE" for state in SECONDS[TCP] if state not in ("SYN_SENT", "TIME_WAIT")},
    },
    "client only": {
        "syn": _SYN_FROM_CLIENT,
        "fin": {"NONE": "CLOSE", "ESTABLISHED": "FIN_WAIT", "SYN_RECV": "TIME_WAIT", "SYNACK": "TIME_WAIT"},
        "ack": _ACK_FROM_CLIENT,
        "rst": _RST_FROM_CLIENT | {"SYNACK": "CLOSE"},
    },
}  # fmt: skip

# SCTP's chunk types (RFC 9260) as the kernel groups them; every other one is data.
CHUNKS = {1: "init", 2: "init-ack", 6: "abort", 7: "shutdown", 8: "shutdown-ack", 9: "error", 10: "cookie-echo",
          11: "cookie-ack", 14: "shutdown-complete"}  # fmt: skip
INIT_CHUNK = 1
_EARLY = ("NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED")
_ABORTED = dict.fromkeys(SECONDS[SCTP], "CLOSED")
SCTP_TABLE: TcpTable = {
    "client": {
        "data": {"NONE": "ESTABLISHED"},
        "init": {"NONE": "INIT1", "INIT1": "INIT", "REJECTED": "INIT", "CLOSED": "INIT"},
        "init-ack": {"NONE": "C-WAIT", "INIT1": "C-WAIT", "INIT": "C-WAIT", "C-WAIT": "COOKIE"},
        "cookie-echo": {"NONE": "C-REPLIED", "INIT1": "INIT", "C-SENT": "C-REPLIED"},
        "cookie-ack": {"NONE": "ESTABLISHED", "C-ECHOED": "ESTABLISHED"},
        "shutdown": {"NONE": "S-RECEIVED", "ESTABLISHED": "S-RECEIVED"},
        "shutdown-ack": {"NONE": "CLOSED", "INIT1": "INIT", "S-SENT": "CLOSED", "S-ACK-SENT": "CLOSED"},
        "shutdown-complete": {"NONE": "CLOSED", "INIT1": "CLOSED", "INIT": "CLOSED", "S-ACK-SENT": "CLOSED"},
        "error": {"NONE": "CLOSED", "C-ECHOED": "CLOSED"},
        "abort": _ABORTED | {"C-WAIT": "REJECTED"},
    },
    "server": {
        "data": {"NONE": "ESTABLISHED"},
        "init": {state: "C-WAIT" for state in SECONDS[SCTP] if state != "ESTABLISHED"},
        "init-ack": dict.fromkeys(_EARLY[:4], "C-SENT"),
        "cookie-echo": dict.fromkeys(_EARLY, "C-ECHOED"),
        "cookie-ack": dict.fromkeys(_EARLY, "ESTABLISHED"),
        "shutdown": dict.fromkeys((*_EARLY, "ESTABLISHED"), "S-SENT"),
        "shutdown-ack": dict.fromkeys((*_EARLY[:5], "S-SENT", "S-RECEIVED"), "S-ACK-SENT"),
        "shutdown-complete": {"NONE": "CLOSED"},
        "error": dict.fromkeys(_EARLY[:5], "CLOSED"),
        "abort": _ABORTED | {"INIT1": "REJECTED"},
    },
    "client only": {
        "data": {"NONE": "ESTABLISHED", "C-WAIT": "ESTABLISHED"},
        "init": dict.fromkeys((*_EARLY[1:6], "REJECTED", "CLOSED"), "INIT") | {"NONE": "INIT1"},
        "init-ack": dict.fromkeys(_EARLY[:6], "C-ECHOED"),
        "cookie-echo": dict.fromkeys(_EARLY[:6], "ESTABLISHED"),
        "cookie-ack": dict.fromkeys(("NONE", "C-SENT", "C-REPLIED", "COOKIE", "C-ECHOED"), "ESTABLISHED"),
        "shutdown": {"NONE": "S-RECEIVED", "ESTABLISHED": "S-RECEIVED"},
        "shutdown-ack": {
            "NONE": "CLOSED", "INIT1": "INIT", "ESTABLISHED": "CLOSED", "S-SENT": "CLOSED", "S-ACK-SENT": "CLOSED",
        },
        "shutdown-complete": dict.fromkeys((*_EARLY[:5], "S-RECEIVED", "S-ACK-SENT"), "CLOSED"),
        "error": {"NONE": "CLOSED"},
        "abort": _ABORTED | {"C-WAIT": "REJECTED"},
    },
}  # fmt: skip


def sctp_event(says: int) -> str:
    """By the first chunk; but an ABORT behind a cookie counts."""
    first, second = says & 255, says >> 8
    behind_cookie = CHUNKS.get(first, "").startswith("cookie")
    return CHUNKS.get(second if behind_cookie and CHUNKS.get(second) == "abort" else first, "data")


@dataclass(frozen=True)
class Packet:
    """A packet of one client port: `says` is TCP's flags, or SCTP's first chunk type and 256 times the second's."""

    port: int
    from_client: bool
    says: int


@dataclass
class ModelConnection:
    """`left`: seconds until it is over."""

    real: int
    state: str
    left: float
    is_active: bool = False


@dataclass
class Model:
    """A service of one protocol with real servers 0 .. `reals` - 1, scheduled by rr: the last one first.

    `nat`: the director sees both directions. `persistent`: seconds, 0 without; one client address only.
    """

    protocol: int
    nat: bool
    reals: int = 2
    persistent: int = 0
    connections: dict[int, ModelConnection] = field(default_factory=dict)
    turn: int = 0
    template: ModelConnection | None = None

    def see(self, packet: Packet) -> str:
        """What becomes of the packet: "sent", "passed"."""
        connection = self.connections.get(packet.port)
        if packet.from_client and connection and self._takes_its_place(packet, connection):
            connection = None
            del self.connections[packet.port]
        if connection is None:
            if not packet.from_client or not self._opens(packet):
                return "passed"
            connection = self.connections[packet.port] = self._open()
        self._advance(connection, packet)
        return "sent"

    def _takes_its_place(self, packet: Packet, connection: ModelConnection) -> bool:
        return (
            self._is_new(packet)
            and not self.persistent  # a connection that a template controls is never scheduled anew
            and connection.state in OVER[self.protocol]
        )

    def _is_new(self, packet: Packet) -> bool:
        if self.protocol == TCP:
            return bool(packet.says & SYN)
        return self.protocol == SCTP and packet.says == INIT_CHUNK

    def _opens(self, packet: Packet) -> bool:
        if self.protocol == TCP:
            return bool(packet.says & SYN) and not packet.says & RST
        return self.protocol == UDP or packet.says == INIT_CHUNK

    def _open(self) -> ModelConnection:
        if not self.persistent:
            return ModelConnection(self._next(), "NONE", 2)
        if self.template is None:
            self.template = ModelConnection(self._next(), "NONE", self.persistent)
        self.template.left = self.persistent
        return ModelConnection(self.template.real, "NONE", 2)

    def _next(self) -> int:
        self.turn = (self.turn - 1) % self.reals
        return self.turn

    def _advance(self, connection: ModelConnection, packet: Packet) -> None:
        connection.state = self._next_state(connection.state, packet)
        connection.left = SECONDS[self.protocol][connection.state]
        connection.is_active = connection.state in ACTIVE[self.protocol]
        if self.template and (connection.state == "ESTABLISHED" or (self.protocol == UDP and not packet.from_client)):
            self.template.state = "ASSURED"

    def _next_state(self, state: str, packet: Packet) -> str:
        if self.protocol == UDP:
            return "UDP"
        direction = ("client" if packet.from_client else "server") if self.nat else "client only"
        if self.protocol == SCTP:
            return SCTP_TABLE[direction][sctp_event(packet.says)].get(state, state)
        event = tcp_event(packet.says)
        return TCP_TABLE[direction][event].get(state, state) if event else "CLOSE"

    def pass_time(self, seconds: float) -> None:
        """Nothing may end by this."""
        for connection in (*self.connections.values(), *([self.template] if self.template else [])):
            connection.left -= seconds
            assert connection.left > 0

    def least_left(self) -> float:
        every = [*self.connections.values(), *([self.template] if self.template else [])]
        return min((connection.left for connection in every), default=1000)

    def counts(self, real: int) -> tuple[int, int, int]:
        """Active, inactive and persistent connections of a real server."""
        own = [connection for connection in self.connections.values() if connection.real == real]
        active = sum(connection.is_active for connection in own)
        return active, len(own) - active, int(self.template is not None and self.template.real == real)


def tcp_event(flags: int) -> str:
    """The first of these that is set decides; none of them: the connection is closed."""
    return next((name for name, bit in (("rst", RST), ("syn", SYN), ("fin", FIN), ("ack", ACK)) if flags & bit), "")
