# SPDX-License-Identifier: GPL-2.0-or-later
"""Sysctls of the calling thread's network namespace, by names such as `net.ipv4.conf.all.arp_ignore`."""

from __future__ import annotations

from pathlib import Path

from pylvs.errors import PylvsError

SYS = Path("/proc/sys")


def read(key: str) -> str | None:
    """The value, None where there is no such sysctl."""
    try:
        return path(key).read_text().strip()
    except OSError:
        return None


def number(key: str) -> int:
    """The value of a sysctl that is a number; 0 where there is no such sysctl."""
    return int(read(key) or 0)


def effective(name: str, interface: str) -> int:
    """What arp_ignore, arp_announce or rp_filter amounts to: the greater of `all` and the interface's own."""
    return max(number(f"net.ipv4.conf.{where}.{name}") for where in ("all", interface))


def write(key: str, value: str) -> None:
    """Set the value."""
    try:
        path(key).write_text(value)
    except OSError as error:
        raise PylvsError(f"cannot set {key}={value}: {error.strerror}") from None


def path(key: str) -> Path:
    """The file of a sysctl; the name of an interface may have dots in it, so that only the outer ones separate."""
    family, found, rest = key.partition(".conf.")
    if not found:
        return SYS.joinpath(*key.split("."))
    interface, _, name = rest.rpartition(".")
    return SYS.joinpath(*family.split("."), "conf", interface, name)
