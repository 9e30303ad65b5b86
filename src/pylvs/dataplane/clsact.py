# SPDX-License-Identifier: GPL-2.0-or-later
"""The TC hook of kernels before 6.6, without TCX links: a filter of the clsact qdisc, by rtnetlink."""

from __future__ import annotations

import errno
import os
from typing import Any

from pylvs.dataplane.kernel import Program
from pylvs.errors import DataPlaneError

INGRESS = 0xFFFFFFF2  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
NAME = "pylvs"  # how we know our own filter again
PRIORITY, HANDLE = 49, 1  # a priority is needed to delete it again; this one leaves room before it


def attach(program: Program, ifindex: int) -> None:
    """Put `program` on the ingress of interface `ifindex`, in the place of ours if it is there already."""
    from pyroute2 import IPRoute  # slow to import, and wanted on old kernels only
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            _add_qdisc(route, ifindex, NetlinkError)
            where = {"parent": INGRESS, "prio": PRIORITY, "handle": HANDLE, "protocol": 3}  # ETH_P_ALL
            route.tc("replace-filter", "bpf", ifindex, fd=program.fd, name=NAME, direct_action=True, **where)
        except NetlinkError as error:
            why = "no cls_bpf; run: modprobe cls_bpf" if error.code == errno.ENOENT else os.strerror(error.code)
            raise DataPlaneError(f"cannot set a filter on interface {ifindex}: {why}") from None


def _add_qdisc(route: Any, ifindex: int, netlink_error: type[Exception]) -> None:
    try:
        route.tc("add", "clsact", ifindex)
    except netlink_error as error:
        if getattr(error, "code", 0) != errno.EEXIST:
            raise


def attached(ifindex: int) -> bool:
    """Whether our filter is on the ingress of interface `ifindex`."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            filters = list(route.get_filters(index=ifindex, parent=INGRESS))
        except NetlinkError:
            return False
    return any(_name(found) == NAME for found in filters)


def _name(found: Any) -> str | None:
    options = found.get_attr("TCA_OPTIONS")
    return options.get_attr("TCA_BPF_NAME") if options is not None and hasattr(options, "get_attr") else None


def detach(ifindex: int) -> None:
    """Take our filter away; the qdisc stays, for it may serve others. Nothing happens without one."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            route.tc("del-filter", "bpf", ifindex, parent=INGRESS, prio=PRIORITY, handle=HANDLE, protocol=3)
        except NetlinkError as error:
            if error.code not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
                raise DataPlaneError(f"cannot delete the filter of interface {ifindex}: {error}") from None
