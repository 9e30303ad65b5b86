# SPDX-License-Identifier: GPL-2.0-or-later
"""The hashes of the data plane, compiled for this machine's own processor (hashes.c)."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = HERE.parents[1] / "src" / "pylvs" / "bpf"
KINDS = {"client": 0, "next": 1, "tuple": 2, "filter": 3}
INPUT = 40  # bytes: two addresses, two ports, and 4 bytes more


@cache
def library() -> ctypes.CDLL:
    """The compiled hashes."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/hashes.so"
        flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{HEADERS}"]
        subprocess.run(["clang", *flags, "-o", path, str(HERE / "hashes.c")], check=True)
        loaded = ctypes.CDLL(path)
    loaded.hash_of.restype = ctypes.c_uint64
    return loaded


def hash_of(kind: str, data: bytes, keys: Sequence[int]) -> int:
    """The hash of an input with these keys."""
    storage = (ctypes.c_uint64 * 27).in_dll(library(), "key_storage")
    storage[: len(keys)] = keys
    hashed: int = library().hash_of(KINDS[kind], data)
    return hashed
