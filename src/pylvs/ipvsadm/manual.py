# SPDX-License-Identifier: GPL-2.0-or-later
"""The page pylvsadm(8), made from the grammar of the command, in roff (groff_man(7))."""

from __future__ import annotations

from collections.abc import Iterator

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
namespace. It accepts the command lines of
.BR ipvsadm (8)
1.31 and prints what that prints. Where it is called by a link named
.BR ipvsadm ,
that is its name in what it prints;
.B pylvs install-ipvsadm
makes such links. The data plane attaches itself when the first service is added.
.PP
The command comes first. Short options may be joined, and take their value attached or as the next word. Long
options cannot be abbreviated. Options marked
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
Port 0 is every port, for a persistent service. A real server without a port has the port of its service; with direct
routing and tunnelling it always has, whatever port is given, except under a firewall mark. A bare IPv6 address is a
real server without a port.
.SH RESTORING
.B \-R
carries out lines one by one: a line that the table refuses is reported, and the next one follows; a line that cannot
be parsed ends the program. With
.B \-\-atomic
the lines describe a whole table: if all of them are right, they replace the table in one step that packets do not
notice; otherwise the first bad line is reported with its number, and the table stays as it was.
.B \-\-dry\-run
prints what would change, and changes nothing. Only commands that change services and destinations are accepted.
.SH LISTING CONNECTIONS
.B \-L \-c
lists only some connections with
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
a listing of a service that does not exist; an atomic restore that was refused
.TP
2
an invalid command line, or no data plane (not root, no BPF)
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


def page(name: str, body: str) -> str:
    """A page of section 8 with its heading, and without empty lines."""
    lines = "\n".join(line for line in body.splitlines() if line.strip())
    return f'.\\" generated from the grammar of the command\n.TH {name.upper()} 8 "" pylvs\n{lines}\n'


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
    return page("pylvsadm", "\n".join(parts))


def escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")


def _synopsis(command: Option) -> str:
    word = f"\\-{command.short}" if command.short else f"\\-\\-{escape(command.long)}"
    metavar = f" {escape(command.metavar)}" if command.metavar else ""
    return f".B pylvsadm {word}{metavar}\n{' '.join(_usages(command.long))}".rstrip()


def _usages(command: str) -> Iterator[str]:
    """`[\\-w weight]`; options that share a bit exclude each other and stand in one pair of brackets."""
    rule = LEGALITY.get(command, {})
    by_bit: dict[str, list[str]] = {}
    for option in options_of(command):
        by_bit.setdefault(option.bit, []).append(_usage(option))
    for bit, usages in by_bit.items():
        text = "virtual\\-service" if bit == "service-address" else "|".join(usages)
        yield text if bit in rule.get(NEEDS, ()) else f"[{text}]"


def _usage(option: Option) -> str:
    word = f"\\-{option.short}" if option.short else f"\\-\\-{escape(option.long)}"
    return f"{word} {escape(option.metavar)}" if option.argument is not Argument.NONE else word


def _entry(option: Option) -> str:
    """A tagged paragraph: spellings, value, meaning."""
    words = ", ".join(f"\\fB{escape(word)}\\fR" for word in option.spellings())
    value = f" \\fI{escape(option.metavar)}\\fR" if option.metavar else ""
    mark = " \\fI[pylvs]\\fR" if option.addition else ""
    return f".TP\n{words}{value}{mark}\n{escape(option.help)}"
