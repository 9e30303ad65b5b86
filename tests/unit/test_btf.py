# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts, enums and variables come out of BTF as the compiler put them in."""

from __future__ import annotations

import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from pylvs.dataplane.btf import LayoutError, Layouts

HERE = Path(__file__).parent
CLANG = ["clang", "-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", "-Wall", "-Werror", "-c"]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Layouts:
    target = tmp_path_factory.mktemp("btf") / "tiny.bpf.o"
    subprocess.run([*CLANG, str(HERE / "tiny.bpf.c"), "-o", str(target)], check=True)
    return Layouts.of_file(target)


def test_offsets_are_those_of_the_compiler(layouts: Layouts) -> None:
    """Members of nameless unions and structs count as the outer struct's."""
    sample = layouts["sample"]
    assert sample.size == 96
    assert {name: sample.offset(name) for name in sample.fields} == {
        "address": 0, "port": 16, "kind": 18, "sign": 19, "weight": 20, "word": 24, "first": 24, "second": 28,
        "mark": 32, "colour": 36, "mac": 40, "ports": 46, "numbers": 52, "pair": 68, "pairs": 76, "spare": 92,
    }  # fmt: skip


def test_a_record_is_packed_byte_for_byte(layouts: Layouts) -> None:
    """Big-endian members are swapped, the others are the machine's, and what is not named stays zero."""
    packed = layouts["sample"].pack(
        address=bytes(range(16)), port=80, sign=-1, weight=-3, mark=1, mac=b"\2\0\0\0\0\1", ports=(1, 2, 3),
        numbers=(9, 8, 7, 6), pair={"a": 1, "b": 2}, pairs=[{"a": 3, "b": 4}, {"a": 5, "b": 6}], second=5,
    )  # fmt: skip
    assert packed == bytes(range(16)) + struct.pack(">H", 80) + b"\0\xff" + struct.pack("<iIII", -3, 0, 5, 1 << 24) + (
        bytes(4) + b"\2\0\0\0\0\1" + struct.pack(">3H", 1, 2, 3) + struct.pack("<11I", 9, 8, 7, 6, 1, 2, 3, 4, 5, 6, 0)
    )


def test_a_record_comes_back_as_it_went(layouts: Layouts) -> None:
    """Unpacking answers a named tuple; one that was unpacked can be packed again."""
    sample = layouts["sample"]
    buffer = bytearray(b"\xaa" * 200)
    sample.pack_into(buffer, 100, **sample.unpack_from(bytes(96))._asdict())
    assert buffer == b"\xaa" * 100 + bytes(96) + b"\xaa" * 4
    sample.pack_into(buffer, 100, port=0x1234, ports=(1, 2, 0xFF00), pairs=[{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    record = sample.unpack_from(buffer, 100)
    assert (record.port, record.ports, record.pairs) == (0x1234, (1, 2, 0xFF00), ((1, 2), (3, 4)))
    assert sample["port"].unpack_from(buffer, 100) == 0x1234
    assert sample.pack(**record._asdict()) == buffer[100:196]


def test_a_value_that_does_not_fit_is_refused(layouts: Layouts) -> None:
    with pytest.raises(struct.error):
        layouts["sample"].pack(port=65536)
    with pytest.raises(ValueError, match="mac has 6 bytes, not 7"):
        layouts["sample"].pack(mac=bytes(7))
    with pytest.raises(LayoutError, match="struct sample has no member prot; it has: address, port"):
        layouts["sample"].pack(prot=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holed", "struct holed has a hole of 3 bytes before big"),
        ("tailed", "struct tailed has a hole of 7 bytes at its end"),
        ("bits", "struct bits: low is a bitfield"),
        ("absent", "tiny.bpf.o has no struct absent"),
    ],
)
def test_a_struct_that_cannot_be_shared_is_refused(layouts: Layouts, name: str, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        layouts[name]


def test_enums_and_variables(layouts: Layouts) -> None:
    assert layouts.enum("colour") == {"RED": 0, "GREEN": 7, "BLUE": 8}
    assert layouts.constants["BLUE"] == 8
    sizes = {name: field.size for name, field in layouts.variables(".rodata").items()}
    assert sizes == {"answer": 4, "seed": 8, "flag": 1}
    spans = sorted((field.offset, field.size) for field in layouts.variables(".rodata").values())
    assert all(a + size <= b for (a, size), (b, _) in pairwise(spans))
    with pytest.raises(LayoutError, match=r"no variable absent in \.rodata"):
        layouts.variable("absent", ".rodata")


def _btf(types: bytes, texts: bytes) -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(texts)) + types + texts


def test_wide_and_signed_enums_as_newer_compilers_write_them() -> None:
    """ENUM64 has its value in two words; the flag of a type says that its values are signed."""
    texts = b"\0wide\0BIG\0signed\0LOW\0"
    wide = struct.pack("<III", 1, 19 << 24 | 1, 8) + struct.pack("<III", 6, 2, 1)
    signed = struct.pack("<III", 10, 1 << 31 | 6 << 24 | 1, 4) + struct.pack("<Ii", 17, -5)
    layouts = Layouts(_btf(wide + signed, texts), "handmade")
    assert layouts.enum("wide") == {"BIG": 1 << 32 | 2}
    assert layouts.enum("signed") == {"LOW": -5}


def test_a_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"hello, world")
    with pytest.raises(LayoutError, match="not a little-endian 64-bit ELF file"):
        Layouts.of_file(tmp_path / "text")
