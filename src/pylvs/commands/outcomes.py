# SPDX-License-Identifier: GPL-2.0-or-later
"""`pylvs outcomes`: what became of the packets, by name."""

from __future__ import annotations

import argparse
import json

from pylvs.dataplane.instance import Instance
from pylvs.table.outcomes import MEANINGS, counts


def run(argv: list[str]) -> int:
    """`pylvs outcomes [--json] [--all]`."""
    parser = argparse.ArgumentParser(prog="pylvs outcomes", description=__doc__)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--all", action="store_true", help="also those that did not happen")
    options = parser.parse_args(argv)
    counted = counts(Instance.open())
    if options.json:
        print(json.dumps(counted, indent=2))
        return 0
    for name, count in counted.items():
        if count or options.all:
            print(f"{count:>16}  {MEANINGS.get(name, name)}")
    return 0
