# SPDX-License-Identifier: GPL-2.0-or-later
"""Where pins go: the machine's bpffs, even from inside `ip netns exec`, which hides it by a fresh /sys."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pylvs.errors import NotPermitted, Unsupported

BPF_FS_MAGIC = 0xCAFE4A11
MOUNT_POINT = "sys/fs/bpf"
OVERRIDE = "PYLVS_BPFFS"  # environment: a mounted bpffs to use instead, as in a container that was given one
CLONE_NEWNS = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)


def _mount_namespace(pid: int | str) -> int | None:
    """Inode of a process's mount namespace; None if it is gone or closed to us."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return None


def _ancestors() -> Iterator[int]:
    """Process ids of our parent, its parent and so on, up to 1."""
    pid = os.getppid()
    while pid > 0:
        yield pid
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        pid = int(text.rpartition(")")[2].split()[1])


def outer_process() -> str:
    """The process whose mount namespace holds the machine's bpffs: PID 1, else our oldest open ancestor.

    "self" where that is the same namespace as ours.
    """
    ours = _mount_namespace("self")
    for pid in (1, *reversed(list(_ancestors()))):
        theirs = _mount_namespace(pid)
        if theirs is not None:
            return "self" if theirs == ours else str(pid)
    return "self"


def is_bpffs(path: str) -> bool:
    """Whether `path` lies on a bpffs."""
    answer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), answer) != 0:
        return False
    (magic,) = struct.unpack_from("@l", answer)
    return bool(magic & 0xFFFFFFFF == BPF_FS_MAGIC)


def _mount(pid: str, path: str) -> int:
    """Mount a bpffs at `path` in the mount namespace of `pid`; answer an errno or 0."""
    if pid == "self":
        return _mount_here(path)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        entered = _libc.setns(namespace, CLONE_NEWNS) == 0
        os._exit(_mount_here(path) if entered else ctypes.get_errno())
    os.close(namespace)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _mount_here(path: str) -> int:
    done = _libc.mount(b"bpf", os.fsencode(path), b"bpf", ctypes.c_ulong(0), b"mode=0700") == 0
    return 0 if done else ctypes.get_errno()


def _explain(path: str, number: int) -> NotPermitted | Unsupported:
    if number in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"cannot mount a bpffs at {path}: run it as root, or once: mount -t bpf bpf {path}")
    if number == errno.ENODEV:
        return Unsupported("this kernel has no BPF file system; pylvs needs Linux 6.1 or later with BPF")
    return Unsupported(f"cannot mount a bpffs at {path}: {os.strerror(number)}")


@lru_cache(maxsize=1)
def root() -> str:
    """Path of the machine's bpffs, mounted by this if nobody did; good as long as this process lives."""
    override = os.environ.get(OVERRIDE)
    if override:
        if not is_bpffs(override):
            raise Unsupported(f"{OVERRIDE}={override} is not a bpffs; mount one there: mount -t bpf bpf {override}")
        return override
    pid = outer_process()
    path = f"/{MOUNT_POINT}" if pid == "self" else f"/proc/{pid}/root/{MOUNT_POINT}"
    if not is_bpffs(path):
        number = _mount(pid, f"/{MOUNT_POINT}")
        if number and not is_bpffs(path):
            raise _explain(f"/{MOUNT_POINT}", number)
    if pid == "self":
        return path
    # Through a descriptor: the path stays good when that process ends.
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_CLOEXEC)}"
