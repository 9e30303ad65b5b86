# SPDX-License-Identifier: GPL-2.0-or-later
"""Which addresses may be real servers, by the routing table `local`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from pylvs.host.locality import Locality, lengths_of, look_up, parse_local_table
from pylvs.model import AddressType

# lo is up, with 10.0.0.1/24
TRIE = """\
Local:
  +-- 0.0.0.0/1 2 0 2
     +-- 10.0.0.0/24 2 0 2
        +-- 10.0.0.0/31 1 0 0
           |-- 10.0.0.0
              /24 host LOCAL
           |-- 10.0.0.1
              /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     |-- 127.0.0.0
        /8 host LOCAL
"""


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("10.0.0.1", AddressType.LOCAL),
        ("10.0.0.77", AddressType.LOCAL),
        ("10.0.0.255", AddressType.BROADCAST),
        ("127.9.9.9", AddressType.LOCAL),
        ("192.0.2.1", AddressType.UNICAST),
        ("224.0.0.1", AddressType.MULTICAST),
        ("255.255.255.255", AddressType.BROADCAST),
        ("0.1.2.3", AddressType.BROADCAST),
    ],
)
def test_types(address: str, kind: AddressType) -> None:
    """The longest prefix decides."""
    other = "Main:\n  |-- 192.0.2.1\n    /32 link BROADCAST\n"
    routes = parse_local_table(other + TRIE)
    assert routes is not None
    assert look_up(routes, lengths_of(routes), IPv4Address(address)) is kind


def test_without_a_table_all_is_broadcast() -> None:
    """A namespace whose lo was never up."""
    assert parse_local_table("") is None
    assert look_up(None, [], IPv4Address("192.0.2.1")) is AddressType.BROADCAST


def test_own_link_local_address_is_local(tmp_path: Path) -> None:
    """Other link-local addresses are of no use."""
    (tmp_path / "if_inet6").write_text("fe800000000000000000000000000001 02 40 20 80     eth0\n")
    locality = Locality(tmp_path)
    assert locality.address_type(IPv6Address("fe80::1")) is AddressType.LOCAL
    assert locality.address_type(IPv6Address("fe80::2")) is AddressType.BROADCAST


def test_this_namespace_can_be_read() -> None:
    """The real files: 127.0.0.1 is local wherever lo is up."""
    kind = Locality().address_type(ip_address("127.0.0.1"))
    assert kind in (AddressType.LOCAL, AddressType.BROADCAST)
