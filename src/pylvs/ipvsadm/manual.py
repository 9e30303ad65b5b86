# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages pylvsadm(8) and pylvs(8), and all other generated files that the wheel installs.

`python -m pylvs.ipvsadm.manual DIRECTORY` writes them there (the tree keeps them in share/; a test sees that
they are up to date).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pylvs.commands.main import COMMANDS as SUBCOMMANDS
from pylvs.ipvsadm import completion
from pylvs.ipvsadm.completion import options_of
from pylvs.ipvsadm.grammar import COMMANDS, LEGALITY, NEEDS, OPTIONS, Argument, Option

_OPENING = r"""
.SH NAME
pylvsadm \- administer the virtual servers of pylvs as ipvsadm does those of the kernel
.SH SYNOPSIS
"""
_DESCRIPTION = r"""
.SH DESCRIPTION
.B pylvsadm
sets up, changes and lists virtual services and their real servers in the director of the current network
namespace. It takes the command lines of
.BR ipvsadm (8)
1.31 and prints what that prints. Called by a link named
.B ipvsadm
it calls itself so;
.B pylvs install-ipvsadm
makes such links. The data plane attaches itself when the first service is added.
.PP
The command comes first. Short options may be joined and take their value attached or as the next word. Long
ones are never abbreviated. Options marked
.I [pylvs]
are additions that ipvsadm does not have.
.PP
.B pylvsadm\-save
.RB [ \-n ]
is
.BR "pylvsadm \-S" ;
.B pylvsadm\-restore
clears the table and then reads standard input as
.BR "pylvsadm \-R" ,
without the lines that begin with #.
"""
_NOTES = r"""
.SH SERVICE ADDRESSES
.IR address [ :port ],
where an address is IPv4, a host name or IPv6 in brackets, and a port is a number or a name of
.BR services (5).
Port 0 is all ports of a persistent service. A real server without a port has that of its service; so has,
whatever is typed, one by direct routing or tunnelling, except under a firewall mark. A bare IPv6 address is a
real server without a port.
.SH RESTORING
.B \-R
takes lines one by one: a line that the table refuses is reported and the next one goes on; one that cannot be
understood ends the program there. With
.B \-\-atomic
the lines describe a whole table: either all of them are right, and then they replace the table in one step
that packets do not notice, or the first bad one is named by its number and the table stays as it was.
.B \-\-dry\-run
prints what would change and changes nothing. Only commands that shape the table are taken.
.SH LISTING CONNECTIONS
.B \-L \-c
can be narrowed before it is formatted, by
.BR \-\-service ,
.BR \-\-destination ,
.BR \-\-client ,
.B \-\-state
and
.BR \-\-limit .
.SH EXIT STATUS
.TP
0
done
.TP
1
a listing of a service that is not there; an atomic restore that was refused
.TP
2
a command line that makes no sense, or no data plane (not root, no BPF)
.TP
255
the table refused the change, or an unknown option
"""
_EXAMPLE = r"""
.SH EXAMPLE
.nf
pylvsadm \-A \-t 192.168.247.100:80 \-s rr
pylvsadm \-a \-t 192.168.247.100:80 \-r 192.168.247.135 \-g
pylvsadm \-a \-t 192.168.247.100:80 \-r 192.168.247.136 \-g
pylvsadm \-L \-n
.fi
.SH SEE ALSO
.BR pylvs (8),
.BR ipvsadm (8)
"""


def page(name: str, section: int = 8) -> str:
    """The page `pylvsadm` or `pylvs`."""
    body = {"pylvsadm": pylvsadm_page, "pylvs": pylvs_page}[name]()
    lines = "\n".join(line for line in body.splitlines() if line.strip())
    return f'.\\" generated from the grammar of the command\n.TH {name.upper()} {section} "" pylvs\n{lines}\n'


def pylvsadm_page() -> str:
    """Synopsis, commands and options from the grammar; the rest is prose."""
    synopsis = "\n".join(f"{_synopsis(command)}\n.br" for command in COMMANDS if command.short != "l")
    commands = "\n".join(map(_entry, (command for command in COMMANDS if command.short != "l")))
    options = "\n".join(map(_entry, OPTIONS))
    parts = (
        _OPENING,
        synopsis,
        _DESCRIPTION,
        ".SH COMMANDS",
        commands,
        ".SH OPTIONS",
        options,
        _NOTES,
        _EXAMPLE,
    )
    return "\n".join(parts)


def pylvs_page() -> str:
    """The subcommands and what they are for."""
    rows = "\n".join(f".TP\n.B {_escape(name)}\n{_escape(why)}" for name, (_, why) in SUBCOMMANDS.items())
    return (
        ".SH NAME\npylvs \\- the Linux Virtual Server with eBPF: everything but the table\n"
        ".SH SYNOPSIS\n.B pylvs\n.I command\n.RI [ argument ...]\n"
        ".SH DESCRIPTION\nThe table of virtual services is driven by\n.BR pylvsadm (8).\n"
        f"The rest is here:\n{rows}\n.SH SEE ALSO\n.BR pylvsadm (8)"
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")


def _synopsis(command: Option) -> str:
    word = f"\\-{command.short}" if command.short else f"\\-\\-{_escape(command.long)}"
    metavar = f" {_escape(command.metavar)}" if command.metavar else ""
    return f".B pylvsadm {word}{metavar}\n{' '.join(_usages(command.long))}".rstrip()


def _usages(command: str) -> Iterator[str]:
    """`[\\-w weight]`; options that share a bit exclude each other and stand in one pair of brackets."""
    rule, by_bit = LEGALITY.get(command, {}), dict[str, list[str]]()
    for option in options_of(command):
        by_bit.setdefault(option.bit, []).append(_usage(option))
    for bit, usages in by_bit.items():
        text = "virtual\\-service" if bit == "service-address" else "|".join(usages)
        yield text if bit in rule.get(NEEDS, ()) else f"[{text}]"


def _usage(option: Option) -> str:
    word = f"\\-{option.short}" if option.short else f"\\-\\-{_escape(option.long)}"
    return f"{word} {_escape(option.metavar)}" if option.argument is not Argument.NONE else word


def _entry(option: Option) -> str:
    """A tagged paragraph: spellings, value, meaning."""
    words = ", ".join(f"\\fB{_escape(word)}\\fR" for word in option.spellings())
    value = f" \\fI{_escape(option.metavar)}\\fR" if option.metavar else ""
    mark = " \\fI[pylvs]\\fR" if option.addition else ""
    return f".TP\n{words}{value}{mark}\n{_escape(option.help)}"


def files() -> Iterator[tuple[str, str]]:
    """(path under the prefix, text) of each generated file."""
    for name in ("pylvsadm", "pylvs"):
        yield f"man/man8/{name}.8", page(name)
    yield "bash-completion/completions/pylvsadm", completion.bash()
    yield "zsh/site-functions/_pylvsadm", completion.zsh()
    yield "fish/vendor_completions.d/pylvsadm.fish", completion.fish()


def main(argv: list[str]) -> int:
    """Write all of them under a directory."""
    if len(argv) != 1:
        print("usage: python -m pylvs.ipvsadm.manual DIRECTORY", file=sys.stderr)
        return 2
    for name, text in files():
        path = Path(argv[0]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
