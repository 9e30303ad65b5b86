# SPDX-License-Identifier: GPL-2.0-or-later
"""`-Lc`: the connections as text, streamed. It works on plain tuples in chunks, since there may be a million."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET6, inet_ntoa, inet_ntop

from pylvs.ipvsadm.command import Filter
from pylvs.ipvsadm.names import endpoint
from pylvs.model import Address, Connection, ConnectionRow

_TITLE = "IPVS connection entries\npro expire state       source             virtual            destination"
_ENGINE_TITLE = "        pe name          pe_data"
MAPPED = b"\0" * 10 + b"\xff\xff"
PROTOCOL_NAMES = {0: "IP", 6: "TCP", 17: "UDP", 132: "SCTP"}
# formatted texts of one kind that are kept at most: this bounds the memory of a listing of any length
_REMEMBERED = 65536


def title(engines: bool) -> str:
    """The two lines above the rows; `engines` adds columns for the persistence engine."""
    return _TITLE + (_ENGINE_TITLE if engines else "") + "\n"


def list_connections(rows: Iterable[Sequence[ConnectionRow]], numeric: bool) -> Iterator[str]:
    """One block of text per chunk."""
    format_chunk = _numeric_formatter() if numeric else _named_formatter()
    return map(format_chunk, rows)


def row_of(connection: Connection) -> ConnectionRow:
    """A connection as a plain tuple."""
    of_mark = connection.fwmark and connection.template
    return (
        0 if of_mark else int(connection.protocol),
        connection.state,
        int(connection.expires),
        packed(connection.client),
        connection.cport,
        packed(connection.virtual),
        connection.vport,
        packed(connection.real),
        connection.rport,
    )


def packed(address: Address) -> bytes:
    """An address as 16 bytes, IPv4 mapped (RFC 4291, 2.5.5.2)."""
    return address.packed if address.version == 6 else MAPPED + address.packed


def unpacked(raw: bytes) -> Address:
    """The address that 16 bytes stand for."""
    return IPv4Address(raw[12:]) if raw[:12] == MAPPED else IPv6Address(raw)


# --- filters -----------------------------------------------------------------------------------------


def filtered(rows: Iterable[Sequence[ConnectionRow]], only: Filter) -> Iterator[Sequence[ConnectionRow]]:
    """The rows that a filter lets through, before anything is formatted; no more than its limit."""
    if only.everything():
        yield from rows
        return
    keep = _predicate(only)
    left = only.limit if only.limit is not None else -1
    for chunk in rows:
        if left == 0:
            return
        kept = [row for row in chunk if keep(row)]
        if left > 0:
            kept = kept[:left]
            left -= len(kept)
        if kept:
            yield kept


def _predicate(only: Filter) -> Callable[[ConnectionRow], bool]:
    tests: list[Callable[[ConnectionRow], bool]] = []
    if only.state is not None:
        state = only.state
        tests.append(lambda row: row[1] == state)
    if only.service is not None:
        tests.append(_endpoint_test(5, *only.service))
    if only.destination is not None:
        tests.append(_endpoint_test(7, *only.destination))
    if only.client is not None:
        tests.append(_prefix_test(packed(only.client.network_address), only.client.prefixlen, only.client.version))
    return lambda row: all(test(row) for test in tests)


def _endpoint_test(column: int, address: Address, port: int | None) -> Callable[[ConnectionRow], bool]:
    wanted = packed(address)
    if port is None:
        return lambda row: row[column] == wanted
    return lambda row: row[column] == wanted and row[column + 1] == port


def _prefix_test(network: bytes, length: int, version: int) -> Callable[[ConnectionRow], bool]:
    shift = 128 - (length + 96 if version == 4 else length)
    wanted = int.from_bytes(network) >> shift
    return lambda row: int.from_bytes(row[3]) >> shift == wanted


# --- text --------------------------------------------------------------------------------------------


def _expiry(seconds: int) -> str:
    return f"{seconds // 60:02}:{seconds % 60:02}"


def _head(protocol: int, state: str, expires: int) -> str:
    return f"{PROTOCOL_NAMES.get(protocol, '?'):<3} {_expiry(expires):<6} {state:<11} "


def _numeric_endpoint(raw: bytes, port: int) -> str:
    if raw[:12] == MAPPED:
        return f"{inet_ntoa(raw[12:])}:{port}"
    return f"[{inet_ntop(AF_INET6, raw)}]:{port}"


def _numeric_formatter() -> Callable[[Sequence[ConnectionRow]], str]:
    """A function that formats a chunk. It keeps the texts of heads, VIPs and real servers, which many rows share."""
    heads: dict[tuple[int, str, int], str] = {}
    ends: dict[tuple[bytes, int], str] = {}
    prefix = MAPPED
    ntoa = inet_ntoa

    def end(raw: bytes, port: int) -> str:
        if len(ends) > _REMEMBERED:
            ends.clear()
        text = ends[raw, port] = f"{_numeric_endpoint(raw, port):<18} "
        return text

    def head(protocol: int, state: str, expires: int) -> str:
        if len(heads) > _REMEMBERED:
            heads.clear()
        text = heads[protocol, state, expires] = _head(protocol, state, expires)
        return text

    def format_chunk(chunk: Sequence[ConnectionRow]) -> str:
        lines = []
        for protocol, state, expires, client, cport, virtual, vport, real, rport in chunk:
            mapped = client[:12] == prefix
            source = f"{ntoa(client[12:])}:{cport}" if mapped else _numeric_endpoint(client, cport)
            first = heads.get((protocol, state, expires)) or head(protocol, state, expires)
            second = ends.get((virtual, vport)) or end(virtual, vport)
            third = ends.get((real, rport)) or end(real, rport)
            lines.append(f"{first}{source:<18} {second}{third.rstrip()}\n")
        return "".join(lines)

    return format_chunk


def _named_formatter() -> Callable[[Sequence[ConnectionRow]], str]:
    def name(raw: bytes, port: int, protocol: int) -> str:
        return endpoint(unpacked(raw), port, protocol, numeric=False)

    def format_row(row: ConnectionRow) -> str:
        protocol, state, expires, client, cport, virtual, vport, real, rport = row
        source = name(client, cport, protocol)
        vip = name(virtual, vport, protocol)
        server = name(real, rport, protocol)
        return f"{_head(protocol, state, expires)}{source:<18} {vip:<18} {server}\n"

    return lambda chunk: "".join(map(format_row, chunk))
