# SPDX-License-Identifier: GPL-2.0-or-later
"""Running a command to its end, in the calling thread's network namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from pylvs.errors import PylvsError

PATIENCE = 60.0  # seconds
# Debian's packages of the commands that this project runs, where the two have different names.
PACKAGES = {
    "ip": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
    "iptables-legacy-save": "iptables",
    "ip6tables-legacy-save": "iptables",
    "systemctl": "systemd",
}


class CommandFailed(PylvsError):
    """A command is not there, took too long, or ended with a status other than 0."""


def run(
    argv: Sequence[str],
    stdin: str | None = None,
    *,
    patience: float = PATIENCE,
    keep: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    discard: bool = False,
) -> str:
    """Run a command and return its output; CommandFailed has the last line of its errors.

    `patience` is in seconds, `keep` are file descriptors that it inherits, and `discard` sends its output to
    /dev/null, for a command that prints much and is only to be timed.
    """
    output = subprocess.DEVNULL if discard else subprocess.PIPE
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=keep,
            env=environment,
            timeout=patience,
        )
    except FileNotFoundError:
        raise missing(argv[0]) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"'{' '.join(argv)}' did not end within {patience:.0f} s") from None
    if done.returncode:
        raise CommandFailed(_failure(argv, done))
    return done.stdout or ""


def _failure(argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or (done.stdout or "").strip()).splitlines()
    return f"'{' '.join(argv)}' ended with status {done.returncode}: {lines[-1] if lines else 'no message'}"


def missing(name: str) -> CommandFailed:
    """The error for a command that this machine does not have, with the package that has it."""
    return CommandFailed(f"no command '{name}' on this machine; run: apt-get install {PACKAGES.get(name, name)}")
