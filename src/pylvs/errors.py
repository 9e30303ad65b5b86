# SPDX-License-Identifier: GPL-2.0-or-later
"""The exception tree. Every message is one line: what is wrong, where, and what to run or give instead."""

from __future__ import annotations

import errno

PRIVILEGES = "CAP_SYS_ADMIN and CAP_NET_ADMIN"  # for BPF and its types, and for what is attached


class PylvsError(Exception):
    """The root: a person's mistake, or something that this machine lacks; never a bug."""


class NotPermitted(PylvsError):
    """The process is not root and lacks some of PRIVILEGES."""


class Unsupported(PylvsError):
    """This kernel or machine lacks something that pylvs needs."""


class Unreadable(PylvsError):
    """Text that is no address, port, service or whatever was asked for; the message says what is accepted."""


class DataPlaneError(PylvsError):
    """The kernel refused a program, a map or an attachment."""


class TableError(PylvsError):
    """The rules of the table refuse a change; `errno` is what IPVS in the kernel would have returned."""

    errno = errno.EINVAL


class ServiceExists(TableError):
    errno = errno.EEXIST


class NoSuchService(TableError):
    errno = errno.ESRCH


class DestinationExists(TableError):
    errno = errno.EEXIST


class NoSuchDestination(TableError):
    errno = errno.ENOENT


class NoSuchScheduler(TableError):
    """There is no such scheduler or persistence engine."""

    errno = errno.ENOENT


class Invalid(TableError):
    """A value that the kernel would refuse with EINVAL."""

    errno = errno.EINVAL


class OutOfRange(TableError):
    """A number out of the bounds that the kernel has for it (ERANGE)."""

    errno = errno.ERANGE


class TableFull(TableError):
    errno = errno.ENOSPC


class DaemonError(TableError):
    """A sync daemon cannot start or stop; `errno` is given when it is raised."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.errno = number
