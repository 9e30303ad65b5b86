# SPDX-License-Identifier: GPL-2.0-or-later
"""The data of a run: for each suite when and where it was measured, and its rows with the samples of every round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pylvs.errors import PylvsError

Key = tuple[str, str, int]  # name, hook (or scenario), number of flows (or destinations, services …)
Samples = Mapping[Key, Sequence[float]]
Result = dict[str, Any]  # {"suites": {name: {"machine": …, "rows": [{"name", "hook", "count", "unit", "samples"}]}}}


def key_of(row: Mapping[str, Any]) -> Key:
    return (row["name"], row["hook"], row["count"])


def samples_of(rows: Sequence[Mapping[str, Any]]) -> Samples:
    """Samples of rows as they are in a result."""
    return {key_of(row): row["samples"] for row in rows}


def load(path: Path) -> Result:
    """A result; PylvsError if the file holds none."""
    try:
        result = json.loads(path.read_text())
        for suite in result["suites"].values():
            samples_of(suite["rows"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PylvsError(
            f"{path}: no result of a benchmark ({error}); give a file written by: pylvs bench --save FILE.json"
        ) from None
    return dict(result)


def save(path: Path, result: Result) -> None:
    """Write a result, one row a line, in one step."""
    suites = []
    for name, suite in result["suites"].items():
        head = json.dumps({key: value for key, value in suite.items() if key != "rows"}, ensure_ascii=False)
        rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in suite["rows"])
        suites.append(f'"{name}": {head[:-1]}, "rows": [\n  {rows}\n]}}')
    part = path.with_name(path.name + ".part")
    part.write_text('{"suites": {\n' + ",\n".join(suites) + "\n}}\n")
    part.replace(path)


def merged(old: Result | None, new: Result, order: Sequence[str]) -> Result:
    """The suites of both, the newer of each, in this order."""
    suites = {**(old["suites"] if old else {}), **new["suites"]}
    return {"suites": {name: suites[name] for name in order if name in suites}}
