# SPDX-License-Identifier: GPL-2.0-or-later
"""Shell completion for pylvsadm, made from the grammar: bash, zsh, fish."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pylvs.ipvsadm.grammar import COMMANDS, LEGALITY, OPTIONS, Argument, Option
from pylvs.ipvsadm.parse import SCHEDULER_FLAGS
from pylvs.rules import PERSISTENCE_ENGINES, SCHEDULERS

PROGRAMS = ("pylvsadm", "ipvsadm")
# the values of options that take one of a few
CHOICES = {
    "scheduler": SCHEDULERS,
    "pe": PERSISTENCE_ENGINES,
    "sched-flags": tuple(SCHEDULER_FLAGS),
    "tun-type": ("ipip", "gue", "gre"),
    "start-daemon": ("master", "backup"),
    "stop-daemon": ("master", "backup"),
}


def options_of(command: str) -> Iterator[Option]:
    """The options that are legal with a command."""
    legal = {bit for bits in LEGALITY.get(command, {}).values() for bit in bits}
    return (option for option in OPTIONS if option.bit in legal)


def _words(options: Iterator[Option]) -> str:
    return " ".join(word for option in options for word in option.spellings())


def bash() -> str:
    """A script for bash-completion."""
    commands = _words(iter(COMMANDS))
    cases = "\n".join(
        f"        {'|'.join(command.spellings())}) words='{_words(options_of(command.long))}' ;;"
        for command in COMMANDS
    )
    choices = "\n".join(
        f"        {'|'.join(option.spellings())}) words='{' '.join(CHOICES[option.long])}' ;;"
        for option in (*COMMANDS, *OPTIONS)
        if option.long in CHOICES
    )
    return f"""# bash completion for pylvsadm, generated from its grammar
_pylvsadm() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='{commands}'
    else
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    fi
    case $previous in
{choices}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _pylvsadm {" ".join(PROGRAMS)}
"""


def zsh() -> str:
    """A completion function for zsh's compsys."""
    specs = [spec for option in (*COMMANDS, *OPTIONS) for spec in _zsh_specs(option)]
    body = " \\\n".join(specs)
    return f"#compdef {' '.join(PROGRAMS)}\n# generated from pylvsadm's grammar\n_arguments -s \\\n{body}\n"


def _zsh_specs(option: Option) -> Iterator[str]:
    """`'-w[capacity]:weight:'`; brackets, colons and quotes mean something there, so texts are without them."""
    text, metavar = (_plain(part) for part in (option.help, option.metavar))
    choices = f"({' '.join(CHOICES[option.long])})" if option.long in CHOICES else ""
    colon = "::" if option.argument is Argument.OPTIONAL else ":"
    value = "" if option.argument is Argument.NONE else f"{colon}{metavar}:{choices}"
    return (f"  '{word}[{text}]{value}'" for word in option.spellings())


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter not in "[]{}:'")


def fish() -> str:
    """`complete` lines for fish."""
    lines = [_fish_line(program, option) for program in PROGRAMS for option in (*COMMANDS, *OPTIONS)]
    return "# generated from pylvsadm's grammar\n" + "\n".join(lines) + "\n"


def _fish_line(program: str, option: Option) -> str:
    text = option.help.replace("'", "\\'")
    short = f" -s {option.short}" if option.short else ""
    required = " -r" if option.argument is Argument.REQUIRED else ""
    choices = f" -a '{' '.join(CHOICES[option.long])}'" if option.long in CHOICES else ""
    return f"complete -c {program} -f{short} -l {option.long}{required}{choices} -d '{text}'"


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
