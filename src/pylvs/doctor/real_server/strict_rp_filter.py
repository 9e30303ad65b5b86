# SPDX-License-Identifier: GPL-2.0-or-later
"""A strict rp_filter drops requests that come by another card than replies to them would leave by."""

from __future__ import annotations

from collections.abc import Iterator

from pylvs.doctor.finding import Diagnosis, Health
from pylvs.doctor.server_state import Visit
from pylvs.host.machine import ip_json
from pylvs.realserver.plan import STRICT

LIKELIHOOD = 80


def diagnose(visit: Visit) -> Iterator[Diagnosis]:
    for card in visit.machine.cards if any(vip.version == 4 for vip in visit.vips) else []:
        others = [line for line in _routes() if f"dev {card}" not in line]
        if visit.machine.effective("rp_filter", card) != STRICT or not others:
            continue
        drops = visit.reverse_path_drops()
        yield Diagnosis(
            "strict_rp_filter",
            f"rp_filter is strict on {card}: a request that comes by it is dropped if the reply leaves by another card",
            (f"net.ipv4.conf.{card}.rp_filter amounts to 1", f"other ways out: {'; '.join(others)}",
             f"{drops} packets dropped by it so far (TcpExt IPReversePathFilter)"),
            "this real server",
            f"sysctl -w net.ipv4.conf.{card}.rp_filter=2",
            Health.BROKEN if drops else Health.DEGRADED,
            LIKELIHOOD,
        )  # fmt: skip


def _routes() -> list[str]:
    """The routes out of this machine that lead further than a card's own network, or to one host of it."""
    rows = ip_json("-4", "route", "show")
    return [f"{r['dst']} dev {r['dev']}" for r in rows if "dev" in r and r["dev"] != "lo" and
            (r.get("gateway") or "/" not in r["dst"])]  # fmt: skip
