# SPDX-License-Identifier: GPL-2.0-or-later
"""What the lab needs of a machine, looked at before anything is made."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys

from pylvs.errors import PRIVILEGES, NotPermitted, PylvsError, Unsupported
from pylvs.lab import httpd

BPF_MAP_CREATE, BPF_MAP_TYPE_ARRAY = 0, 2  # linux/bpf.h
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
COMMANDS = ("ip", "ss", "sysctl", "ethtool")


def check() -> None:
    """Raise the first thing that is missing, with what to do about it."""
    if os.geteuid():
        raise NotPermitted("the lab makes network namespaces and loads BPF, so it needs root; run: sudo pylvs lab …")
    for name in COMMANDS:
        if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            raise Unsupported(f"no command '{name}' on this machine; run: make setup")
    httpd.binary()
    _check_bpf()


def _check_bpf() -> None:
    """Make the smallest map there is: whether that works shows whether this kernel has BPF, and lets us use it."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint32 * 32)(BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    number = SYS_BPF.get(platform.machine())
    if number is None:
        raise Unsupported(f"pylvs does not know the bpf system call of {platform.machine()}; use x86_64 or aarch64")
    descriptor = libc.syscall(number, BPF_MAP_CREATE, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if descriptor < 0:
        why = os.strerror(ctypes.get_errno())
        raise Unsupported(
            f"no BPF here ({why}); use a kernel 6.1 or newer with CONFIG_BPF_SYSCALL, "
            f"and in a container give it {PRIVILEGES}"
        )
    os.close(descriptor)


def main() -> int:
    """`python -m pylvs.lab.preflight`: silent and 0, or one line and 1."""
    try:
        check()
    except PylvsError as error:
        print(f"pylvs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
