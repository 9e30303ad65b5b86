# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab as a picture for a terminal: machines as boxes, segments as rails, with what is true now."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from pylvs.lab.facts import Facts
from pylvs.lab.topology import Machine, Role, Topology

WIDTH = 19  # columns of a box: four of them fit into 80
GAP = 1
COLOURS = {
    Role.CLIENT: "cyan",
    Role.DIRECTOR: "bold yellow",
    Role.REAL_SERVER: "green",
    Role.SPARE: "dim green",
    Role.ROUTER: "magenta",
}

Span = tuple[str, str]  # text and its style
Line = list[Span]


def draw(lab: Topology, facts: dict[str, Facts]) -> list[Line]:
    """The picture, line by line, top down: as the layers of the topology lie."""
    layers = _layers(lab)
    width = max(len(layer) for layer in layers) * (WIDTH + GAP) - GAP
    lines: list[Line] = []
    for index, layer in enumerate(layers):
        above, below = index > 0, index < len(lab.segments)
        lines += _row([_box(lab, machine, facts.get(machine.name)) for machine in layer], width, above, below)
        if below:
            lines += _rail(lab, lab.segments[index], width)
    return lines


def _layers(lab: Topology) -> list[list[Machine]]:
    """Machines by the segments that they lie between; with a single segment only the client is above it."""
    if len(lab.segments) == 1:
        return [[lab.client], [machine for machine in lab.machines if machine is not lab.client]]
    between = [machine for machine in lab.machines if len(machine.ports) > 1]
    top = [m for m in lab.machines if m not in between and m.ports[0].segment == lab.segments[0]]
    return [top, between, list(lab.servers)]


def _rail(lab: Topology, segment: str, width: int) -> list[Line]:
    port = next(port for machine in lab.machines for port in machine.ports if port.segment == segment)
    label = f" {segment} {port.address.network} "
    return [[(f"{'═' * 3}{label}".ljust(width, "═"), "blue")]]


def _box(lab: Topology, machine: Machine, facts: Facts | None) -> tuple[list[str], str]:
    """A machine's lines and its colour."""
    role = [machine.role.value] if machine.role.value != machine.name else []
    lines = [machine.name, *role, *(str(port.address.ip) for port in machine.ports)]
    if machine.role is Role.DIRECTOR:
        lines += ["and as the VIP", str(lab.vip)]
    elif machine.serves and lab.holds_vip:
        lines.append("VIP hidden on lo")
    if facts:
        lines += _live(machine, facts)
    return lines, COLOURS[machine.role]


def _live(machine: Machine, facts: Facts) -> list[str]:
    lines = [f"▲ {facts.sent} packets", f"▼ {facts.received} packets"]
    if not machine.serves:
        return lines
    row = facts.destination
    served = f"w {row.weight} · {row.active}+{row.inactive} conn" if row else "not in service"
    return [f"httpd: {'up' if facts.processes else 'DOWN'}", served, *lines]


def _row(boxes: Sequence[tuple[list[str], str]], width: int, above: bool, below: bool) -> list[Line]:
    """Boxes side by side, in the middle of the picture, each with its cable."""
    margin = " " * ((width - len(boxes) * (WIDTH + GAP) + GAP) // 2)
    colours = [colour for _, colour in boxes]
    cable = "║".center(WIDTH)
    rows: list[list[str]] = [[cable] * len(boxes)] if above else []
    rows.append([_edge("╭╮", above)] * len(boxes))
    rows += [
        [f"│{text:^{WIDTH - 2}.{WIDTH - 2}}│" for text in texts]
        for texts in zip_longest(*(lines for lines, _ in boxes), fillvalue="")
    ]
    rows.append([_edge("╰╯", below)] * len(boxes))
    rows += [[cable] * len(boxes)] if below else []
    return [_spans(margin, row, colours) for row in rows]


def _edge(corners: str, cable: bool) -> str:
    middle = ("╨" if corners == "╭╮" else "╥") if cable else "─"
    return corners[0] + middle.center(WIDTH - 2, "─") + corners[1]


def _spans(margin: str, texts: Sequence[str], colours: Sequence[str]) -> Line:
    line: Line = [(margin, "")]
    for text, colour in zip(texts, colours, strict=True):
        line += [(text, "blue" if text.strip() == "║" else colour), (" " * GAP, "")]
    return line[:-1]
