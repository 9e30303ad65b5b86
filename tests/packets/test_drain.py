# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs drain`: no new connections, and what comes of those that there are."""

from __future__ import annotations

import pytest

from pylvs.commands.drain import parser, seconds, service_key
from pylvs.errors import NoSuchDestination, NoSuchService, PylvsError
from pylvs.model import DestinationState, Endpoint, ServiceKey
from pylvs.table.drain import drain
from tests.packets.cast import CLIENT, REAL_1, REAL_2, VIP, sent_by
from tests.packets.plane import Plane
from tests.packets.rows import ip, tcp

WEB = ServiceKey.parse(f"tcp://{VIP}:80")
SERVER = Endpoint.parse(REAL_1.ip)


@pytest.fixture
def busy(plane: Plane) -> Plane:
    """A destination with one connection."""
    for line in ("-A -t VIP:80 -s rr", "-a -t VIP:80 -r REAL_1 -g -w 3"):
        plane.adm(line)
    plane.know_hops()
    assert plane.run("tc", bytes(sent_by(CLIENT, ip(CLIENT.ip, VIP) / tcp(20000, 80, "S")))).outcome == "FORWARD_DR"
    return plane


def test_a_connection_that_lives_on(busy: Plane) -> None:
    """It remains when the time is up; the destination takes no new ones."""
    looks: list[DestinationState] = []
    drained = drain(busy.director, WEB, SERVER, timeout=0, progress=looks.append)
    assert (drained.remaining, drained.reset) == (1, 0)
    assert [look.active + look.inactive for look in looks] == [1]
    (member,) = busy.director.service(WEB).destinations
    assert member.destination == drained.destination
    assert member.destination.weight == 0


def test_a_connection_that_is_reset(busy: Plane) -> None:
    """It is gone; a second time there is nothing to wait for."""
    drained = drain(busy.director, WEB, SERVER, timeout=0, reset=True)
    assert (drained.remaining, drained.reset) == (0, 1)
    assert busy.connections() == []
    assert drain(busy.director, WEB, SERVER).remaining == 0


def test_what_is_not_there(busy: Plane) -> None:
    """Neither service nor destination is taken for another one."""
    with pytest.raises(NoSuchDestination, match=f"no destination {REAL_2.ip} in the service TCP {VIP}:80"):
        drain(busy.director, WEB, Endpoint.parse(REAL_2.ip))
    with pytest.raises(NoSuchDestination):
        drain(busy.director, WEB, Endpoint.parse(f"{REAL_1.ip}:81"))
    with pytest.raises(NoSuchService, match=f"TCP {VIP}:81"):
        drain(busy.director, ServiceKey.parse(f"tcp://{VIP}:81"), SERVER)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("-t 192.0.2.1:80", "TCP 192.0.2.1:80"),
        ("-u [2001:db8::1]:53", "UDP [2001:db8::1]:53"),
        ("--sctp-service 192.0.2.1:80", "SCTP 192.0.2.1:80"),
        ("-f 3", "fwmark 3"),
        ("-6 -f 3", "fwmark 3 IPv6"),
    ],
)
def test_how_a_service_is_named(words: str, key: str) -> None:
    """As to pylvsadm."""
    assert str(service_key(parser().parse_args([*words.split(), "-r", "192.0.2.11"]))) == key


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("1.5m", 90), ("1h", 3600)])
def test_times(text: str, value: float) -> None:
    """Seconds, or with a unit."""
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "m", "x", "1d"])
def test_what_is_no_time(text: str) -> None:
    """One line says what is."""
    with pytest.raises(PylvsError, match="accepted: "):
        seconds(text)
