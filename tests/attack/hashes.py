# SPDX-License-Identifier: GPL-2.0-or-later
"""Related inputs of every hash that an outsider feeds: by exclusive or and by addition, over many seeds for a few
differences, and over a few seeds for many. They meet as seldom as any two inputs do, or the hash can be aimed at
without its seed."""

from __future__ import annotations

import ctypes
import mmap
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pylvs
from tests.attack.attack import Attack, Found, Run

SOURCE = Path(__file__).with_name("hashes.c")
HEADERS = Path(pylvs.__file__).parent / "bpf"
SIZE = 40  # bytes of `struct input`
CLIENT, VIRTUAL, CPORT, VPORT = 0, 16, 32, 34
BUCKETS = 4096
SEEDS, FEW_SEEDS = 1 << 20, 4
DIFFERENCES, FEW_DIFFERENCES = 1 << 20, 48
TOO_MANY = 2.0  # times as many meetings as of inputs that have nothing to do with one another
KINDS = ("set", "second set", "tag", "", "address filter")  # in the order of `enum hash_kind`
MODES = ("exclusive or", "addition")
MAPPED = bytes(10) + b"\xff\xff"


class Hashes:
    """hashes.c, compiled from the data plane's headers; its seeds can be written."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory(prefix="pylvs-attack-") as directory:
            path = f"{directory}/hashes.so"
            include = f"-I/usr/include/{platform.machine()}-linux-gnu"
            # what the hashes do not need is left out: it needs a kernel
            small = ["-fvisibility=hidden", "-ffunction-sections", "-Wl,--gc-sections"]
            command = [
                "clang",
                "-O2",
                "-shared",
                "-fPIC",
                "-w",
                *small,
                f"-I{HEADERS}",
                include,
                "-o",
                path,
                str(SOURCE),
            ]
            subprocess.run(command, check=True, capture_output=True, text=True)
            self._library = ctypes.CDLL(path)
            symbols = subprocess.run(["nm", "-S", path], check=True, capture_output=True, text=True).stdout
        rows = [fields for line in symbols.splitlines() if len(fields := line.split()) == 4]
        here = ctypes.cast(self._library.related, ctypes.c_void_p).value or 0
        base = next(here - int(fields[0], 16) for fields in rows if fields[3] == "related")
        seeds = [(base + int(fields[0], 16), int(fields[1], 16)) for fields in rows if "seed" in fields[3]]
        assert seeds, "no secret seed in the data plane's headers: nothing to test"
        self._places = [self._writable(*each) for each in seeds]

    @staticmethod
    def _writable(at: int, size: int) -> tuple[int, int]:
        """Address and size of a constant, which is one no more."""
        start = at // mmap.PAGESIZE * mmap.PAGESIZE
        libc = ctypes.CDLL(None, use_errno=True)
        length = at + size - start
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(length), mmap.PROT_READ | mmap.PROT_WRITE):
            raise OSError(ctypes.get_errno(), "mprotect")
        return at, size

    def met(
        self, kind: int, given: bytes, differences: Sequence[bytes], adding: bool, seeds: int, draw: int
    ) -> list[int]:
        """For each difference, how often the input and the one related to it meet, over so many seeds."""
        (at, size), *others = self._places
        for place, bytes_of in others:
            ctypes.memmove(place, Random(draw).randbytes(bytes_of), bytes_of)
        found = (ctypes.c_uint32 * len(differences))()
        self._library.related(
            kind, ctypes.c_void_p(at), size, ctypes.c_uint64(draw | 1), seeds, given, b"".join(differences),
            len(differences), adding, BUCKETS, found,
        )  # fmt: skip
        return list(found)


def an_input(random: Random, family: int) -> bytes:
    """A client, a service and their ports, and TCP or UDP."""
    client = MAPPED + random.randbytes(4) if family == 4 else b"\x20\x01" + random.randbytes(14)
    virtual = MAPPED + random.randbytes(4) if family == 4 else b"\x20\x01" + random.randbytes(14)
    return client + virtual + random.randbytes(4) + random.choice((6, 17)).to_bytes(4, "little")


def differences(random: Random, family: int, kind: int, count: int) -> list[bytes]:
    """Of the places that an outsider chooses: one byte, two of them, or the same in two, three or four places."""
    addresses = range(CLIENT + 12, CLIENT + 16) if family == 4 else range(CLIENT, CLIENT + 16)
    places = [*addresses] if KINDS[kind] == "address filter" else [*addresses, CPORT, CPORT + 1]
    if KINDS[kind] == "second set":
        places += [VPORT, VPORT + 1, VIRTUAL + 14, VIRTUAL + 15]
    return [_difference(random, places) for _ in range(count)]


def _difference(random: Random, places: Sequence[int]) -> bytes:
    found = bytearray(SIZE)
    value = random.choice((1, 2, 4, 8, 16, 32, 64, 128, 255, random.randrange(1, 256)))
    if random.random() < 0.4:  # the same two bytes, one after another, in two places
        second = random.randrange(256)
        for at in random.sample(places, 2):
            for place, byte in (
                ((at, value), (at + 1, second)) if random.random() < 0.8 else ((at, second), (at + 1, value))
            ):
                if place in places:
                    found[place] = byte
    else:
        for at in random.sample(places, random.randint(1, 4)):
            found[at] = value if random.random() < 0.7 else random.randrange(256)
    return bytes(found) if any(found) else _difference(random, places)


def search(hashes: Hashes, kind: int, family: int, random: Random, scale: int) -> Iterator[str]:
    """Differences that bring inputs together. `scale`: a divisor of how much is tried."""
    for mode, name in enumerate(MODES):
        what = f"{KINDS[kind]} hash, IPv{family}, by {name}"
        given, draw = an_input(random, family), random.getrandbits(63)
        few, seeds = differences(random, family, kind, FEW_DIFFERENCES), SEEDS // scale
        for difference, met in zip(few, hashes.met(kind, given, few, bool(mode), seeds, draw), strict=True):
            if met > TOO_MANY * seeds / BUCKETS:
                yield (
                    f"{what}: inputs that differ in the same way meet for {met} of {seeds} seeds,"
                    f" not {seeds // BUCKETS} (e.g. {difference[:36].hex()})"
                )
                break
        many = list(dict.fromkeys(differences(random, family, kind, DIFFERENCES // scale // 8)))
        for number in range(FEW_SEEDS):
            met = sum(hashes.met(kind, given, many, bool(mode), 1, draw + number))
            if met > TOO_MANY * len(many) / BUCKETS + 20:
                yield f"{what}: {met} of {len(many)} related inputs meet for one seed, not {len(many) // BUCKETS}"
                break


def related(run: Run) -> Found:
    """Every hash and both families."""
    hashes = Hashes()
    cases = [(kind, family) for kind, name in enumerate(KINDS) if name for family in (4, 6)]
    for number, (kind, family), random in run.cases(cases):
        yield from ((number, text) for text in search(hashes, kind, family, random, 16 if run.short else 1))


ATTACKS = (Attack("hashes", "related inputs of the hashes", 25, related, short=8),)
