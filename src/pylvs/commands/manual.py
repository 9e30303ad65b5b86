# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that the wheel installs beside the programs: the pages pylvsadm(8) and pylvs(8), and shell completions.

`python -m pylvs.commands.manual DIRECTORY` writes them there. The tree keeps them in share/; a test checks that they
are up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pylvs.commands.main import COMMANDS
from pylvs.ipvsadm import completion
from pylvs.ipvsadm.manual import escape, page, pylvsadm_page


def pylvs_page() -> str:
    """The page pylvs(8): the subcommands and what they are for."""
    rows = "\n".join(f".TP\n.B {escape(name)}\n{escape(purpose)}" for name, (_, purpose) in COMMANDS.items())
    return page(
        "pylvs",
        ".SH NAME\npylvs \\- the Linux Virtual Server with eBPF: everything but the table\n"
        ".SH SYNOPSIS\n.B pylvs\n.I command\n.RI [ argument ...]\n"
        ".SH DESCRIPTION\nThe table of virtual services is driven by\n.BR pylvsadm (8).\n"
        f"The rest is here:\n{rows}\n.SH SEE ALSO\n.BR pylvsadm (8)",
    )


def files() -> Iterator[tuple[str, str]]:
    """(path under the prefix, text) of each file."""
    yield "man/man8/pylvsadm.8", pylvsadm_page()
    yield "man/man8/pylvs.8", pylvs_page()
    yield "bash-completion/completions/pylvsadm", completion.bash()
    yield "zsh/site-functions/_pylvsadm", completion.zsh()
    yield "fish/vendor_completions.d/pylvsadm.fish", completion.fish()


def main(argv: list[str]) -> int:
    """Write all of them under a directory."""
    if len(argv) != 1:
        print("usage: python -m pylvs.commands.manual DIRECTORY", file=sys.stderr)
        return 2
    for name, text in files():
        path = Path(argv[0]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
