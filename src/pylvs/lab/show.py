# SPDX-License-Identifier: GPL-2.0-or-later
"""How the lab reports what it does: to a person as it happens, or as one JSON document at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol, TextIO

from pylvs.lab import facts
from pylvs.lab.build import Done
from pylvs.lab.compare import Row
from pylvs.lab.proofs import Seen
from pylvs.lab.topology import Topology


class Show(Protocol):
    """What the commands tell."""

    def heading(self, text: str) -> None: ...
    def step(self, done: Done) -> None: ...
    def proof(self, claim: str, typed: str, seen: Seen) -> None: ...
    def picture(self, lab: Topology) -> None: ...
    def comparison(self, rows: Sequence[Row]) -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self, **result: object) -> None: ...


class Data:
    """Collects everything and prints it once."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"steps": [], "proofs": []}

    def heading(self, text: str) -> None:
        pass

    def step(self, done: Done) -> None:
        step = done.step
        row = {"machine": step.machine, "reason": step.reason, "command": step.typed}
        self.document["steps"].append({**row, "seconds": round(done.seconds, 4)})

    def proof(self, claim: str, typed: str, seen: Seen) -> None:
        row = {"claim": claim, "command": typed, "ok": seen.ok, "saw": seen.saw, "rows": seen.rows}
        self.document["proofs"].append({**row, "why": seen.why, "facts": seen.facts})

    def picture(self, lab: Topology) -> None:
        self.document["lab"] = facts.as_json(lab)

    def comparison(self, rows: Sequence[Row]) -> None:
        self.document["methods"] = [asdict(row) for row in rows]

    def note(self, text: str) -> None:
        pass

    def finish(self, **result: object) -> None:
        json.dump({**self.document, **result}, sys.stdout, indent=2)
        print()


class Person:
    """Prints each line as it happens; colours where the terminal has them."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, soft_wrap=True)

    def _line(self, *spans: tuple[str, str]) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(*spans))

    def heading(self, text: str) -> None:
        self._line(("\n" + text, "bold"))

    def step(self, done: Done) -> None:
        step = done.step
        self._line((f"  ✓ {step.machine:<7} ", "green"), (step.reason, ""))
        if step.typed:
            self._line((f"            # {step.typed}", "cyan"))

    def proof(self, claim: str, typed: str, seen: Seen) -> None:
        mark, style = ("✓", "bold green") if seen.ok else ("✗", "bold red")
        self._line((f"  {mark} {claim}", style), (f": {seen.saw}", ""))
        if typed:
            self._line((f"            $ {typed}", "cyan"))
        for row in seen.rows:
            self._line((f"            {row}", "dim"))
        if not seen.ok:
            self._line((f"    failed: {claim}: {seen.why}", "bold red"))

    def picture(self, lab: Topology) -> None:
        from pylvs.lab.picture import draw

        self._line(("", ""))
        for line in draw(lab, facts.observe(lab)):
            self._line(*line)
        self._line(("", ""))

    def comparison(self, rows: Sequence[Row]) -> None:
        from rich.table import Table

        through = "bytes through\nnode01 per\nbyte served"
        table = Table("method", "replies\ncome from", through, "because", box=None, pad_edge=True)
        for row in rows:
            carried = "failed" if row.failed else f"{row.per_byte:.3f}"
            table.add_row(row.method, "\n".join(row.carriers), carried, row.why)
        self._console.print(table, soft_wrap=False)
        for row in rows:
            if row.failed:
                self._line((f"    failed: {row.method}: {row.failed}", "bold red"))

    def note(self, text: str) -> None:
        self._line((text, ""))

    def finish(self, **result: object) -> None:
        pass


def show(as_json: bool) -> Show:
    """JSON at the end, or lines as it happens."""
    return Data() if as_json else Person()
