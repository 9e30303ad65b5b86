# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment from beginning to end, reported as it goes."""

from __future__ import annotations

from pylvs.lab.compare import compare
from pylvs.lab.proofs import Proof, carry_out, proofs, spare_in_and_out
from pylvs.lab.show import Show
from pylvs.lab.topology import Options, Topology


def play(lab: Topology, telling: Show) -> list[str]:
    """Carry out every proof; return the claims that failed."""
    telling.heading("The experiment: each proof looks, and reports what it saw")
    failed = []
    for proof in proofs(lab):
        seen = carry_out(proof, lab)
        telling.proof(proof.claim, proof.typed, seen)
        failed += [] if seen.ok else [proof.claim]
    return failed + _change(lab, telling)


def _change(lab: Topology, telling: Show) -> list[str]:
    telling.heading(f"A change under traffic: {lab.spare.name} into service and out of it")
    proof = Proof("no request notices", "", lambda lab: spare_in_and_out(lab, telling.step))
    seen = carry_out(proof, lab)
    telling.proof(proof.claim, proof.typed, seen)
    return [] if seen.ok else [proof.claim]


def compared(like: Options, telling: Show) -> list[str]:
    """Measure all forwarding methods side by side; return those that do not work."""
    telling.heading("The forwarding methods side by side, measured now on a small lab of each")
    rows = compare(like)
    telling.comparison(rows)
    return [f"method {row.method}" for row in rows if row.failed]


def closing(lab: Topology, failed: list[str]) -> str:
    """What to say at the end."""
    name = "" if lab.options.name == "lab" else f" --name {lab.options.name}"
    if failed:
        look = f"pylvs lab exec{name} node01 pylvsadm -ln"
        return f"Failed: {'; '.join(failed)}. The lab is still up for a look: {look}"
    return (
        f"Every proof holds. The lab stays up: pylvs lab exec{name} client curl http://{lab.vip}/ · "
        f"pylvs lab status{name} · pylvs lab down{name}"
    )
