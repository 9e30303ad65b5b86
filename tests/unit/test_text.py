# SPDX-License-Identifier: GPL-2.0-or-later
"""Endpoints, services and destinations as text, and back."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ipvsadm.strategies import keys

from pylvs.errors import Unreadable
from pylvs.model import Destination, Endpoint, Protocol, ServiceKey

ADDRESSES = st.ip_addresses()
PORTS = st.integers(0, 65535)

WEB, WEB6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
MARK, MARK6 = ServiceKey(fwmark=3), ServiceKey(fwmark=3, family=6)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1", Endpoint(WEB)),
        ("192.0.2.1:80", Endpoint(WEB, 80)),
        ("192.0.2.1:0", Endpoint(WEB, 0)),
        ("2001:db8::1", Endpoint(WEB6)),
        ("[2001:db8::1]:80", Endpoint(WEB6, 80)),
    ],
)
def test_endpoints(text: str, endpoint: Endpoint) -> None:
    """IPv6 has brackets where there is a port."""
    assert str(endpoint) == text
    assert Endpoint.parse(text) == endpoint


def test_brackets_without_a_port_are_read() -> None:
    """As people write them."""
    assert Endpoint.parse("[2001:db8::1]") == Endpoint(WEB6)


@pytest.mark.parametrize("text", ["", "80", "web", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:http", "192.0.2.1:-1",
                                  "[2001:db8::1", "[2001:db8::1]80", "2001:db8::1:80:x", "[]:80"])  # fmt: skip
def test_what_is_no_endpoint(text: str) -> None:
    """One line says what was read, and what is accepted."""
    with pytest.raises(Unreadable, match="accepted: ") as caught:
        Endpoint.parse(text)
    assert f"'{text}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "option", "key"),
    [
        ("TCP 192.0.2.1:80", "-t 192.0.2.1:80", ServiceKey(Protocol.TCP, WEB, 80)),
        ("UDP [2001:db8::1]:53", "-u [2001:db8::1]:53", ServiceKey(Protocol.UDP, WEB6, 53)),
        ("SCTP 192.0.2.1:0", "--sctp-service 192.0.2.1:0", ServiceKey(Protocol.SCTP, WEB)),
        ("fwmark 3", "-f 3", MARK),
        ("fwmark 3 IPv6", "-f 3 -6", MARK6),
    ],
)
def test_services(text: str, option: str, key: ServiceKey) -> None:
    """In words, and as an option of pylvsadm."""
    assert str(key) == text
    assert key.option == option
    assert ServiceKey.parse(text) == ServiceKey.parse(option) == key


def test_a_service_as_a_url() -> None:
    """In any case; without a port it is every port."""
    assert ServiceKey.parse("tcp://192.0.2.1:80") == ServiceKey.parse("TCP://192.0.2.1:80")
    assert ServiceKey.parse("udp://[2001:db8::1]:53") == ServiceKey(Protocol.UDP, WEB6, 53)
    assert ServiceKey.parse("tcp://192.0.2.1").port == 0


@pytest.mark.parametrize("text", ["", "192.0.2.1:80", "icmp 192.0.2.1", "fwmark", "fwmark 0", "fwmark 4294967296",
                                  "tcp 192.0.2.1:80 IPv6", "fwmark 3 IPv4"])  # fmt: skip
def test_what_is_no_service(text: str) -> None:
    """One line says what is accepted."""
    with pytest.raises(Unreadable, match="accepted: "):
        ServiceKey.parse(text)


def test_the_family_is_that_of_the_address() -> None:
    """Whatever is said of it."""
    assert ServiceKey(Protocol.TCP, WEB6, 80).family == 6
    assert ServiceKey(Protocol.TCP, WEB6, 80, family=4) == ServiceKey(Protocol.TCP, WEB6, 80, family=6)


def test_destinations() -> None:
    """By address and port."""
    there = Destination.parse("192.0.2.11:8080")
    assert there == Destination(ip_address("192.0.2.11"), 8080)
    assert str(there) == "192.0.2.11:8080"


@given(ADDRESSES, st.none() | PORTS)
def test_every_endpoint_is_read_as_it_is_written(address: object, port: int | None) -> None:
    """Both families, with and without a port."""
    endpoint = Endpoint(address, port)  # type: ignore[arg-type]
    assert Endpoint.parse(str(endpoint)) == endpoint


@given(keys())
def test_every_service_is_read_as_it_is_written(key: ServiceKey) -> None:
    """In both forms."""
    assert ServiceKey.parse(str(key)) == ServiceKey.parse(key.option) == key
