# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports go downwards only: within a room, or to one on a lower floor; and never in a circle of files."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
FLOORS = (
    "errors values",
    "model",
    "addresses",
    "rules",
    "host",
    "dataplane",
    "table",
    "realserver sync ha",
    "supervisor doctor trace ipvsadm lab",
    "api commands store",
    "bench",
    "pylvs __main__",  # `from pylvs import …` and `python -m pylvs`
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
FILES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SRC.glob("pylvs/**/*.py")
}


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= members & FILES.keys() or {node.module}
    return found & FILES.keys()


EDGES = {(module, other) for module, path in FILES.items() for other in imports(path)}


def room(module: str) -> str:
    return module.split(".")[:2][-1]


def test_imports_go_downwards() -> None:
    """No room imports one above it, or another one on its own floor."""
    across = [(module, other) for module, other in EDGES if room(module) != room(other)]
    assert [edge for edge in across if FLOOR[room(edge[0])] <= FLOOR[room(edge[1])]] == []


def test_no_circle_of_files() -> None:
    """Or a CycleError names it."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for module, other in EDGES:
        sorter.add(module, other)
    sorter.prepare()
