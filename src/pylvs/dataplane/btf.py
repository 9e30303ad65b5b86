# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts of C structs, values of enums and places of variables, read from the BTF of what is loaded.

A pure reader of the sections `.BTF` and `.symtab` of a 64-bit little-endian ELF file. Nothing is typed
twice: the C headers say what a struct is, and this says it to Python.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pylvs.errors import DataPlaneError
from pylvs.values import frozen

BTF_MAGIC = 0xEB9F
SECTION_SYMBOLS = 2  # SHT_SYMTAB
BIG_ENDIAN_NAMES = frozenset({"__be16", "__be32", "__be64"})


class LayoutError(DataPlaneError):
    """A struct is not in the object, or is not laid out so that both sides can share it."""


class Kind(IntEnum):
    """`BTF_KIND_*` of linux/btf.h."""

    INT = 1
    POINTER = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FORWARD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNCTION = 12
    PROTOTYPE = 13
    VARIABLE = 14
    SECTION = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_TRANSPARENT = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_NAMED = frozenset({Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.VARIABLE})
# kind: bytes after the 12 common ones: (fixed, for each of vlen)
_EXTRA = {
    Kind.INT: (4, 0),
    Kind.ARRAY: (12, 0),
    Kind.STRUCT: (0, 12),
    Kind.UNION: (0, 12),
    Kind.ENUM: (0, 8),
    Kind.PROTOTYPE: (0, 8),
    Kind.VARIABLE: (4, 0),
    Kind.SECTION: (0, 12),
    Kind.DECL_TAG: (4, 0),
    Kind.ENUM64: (0, 12),
}
_EXTRA_BY_NUMBER = [_EXTRA.get(kind, (0, 0)) for kind in range(32)]  # type: ignore[call-overload]
_INTEGER = {1: "B", 2: "H", 4: "I", 8: "Q"}
OPAQUE = frozenset({"addr"})  # structs given as bytes: an address as it is on the wire


@frozen
class _Elf:
    """The two things wanted of an ELF file: sections by name, and (section, offset) of symbols by name."""

    sections: Mapping[str, bytes]
    symbols: Mapping[str, tuple[str, int]]


def _text(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()


def _read_elf(path: Path) -> _Elf:
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise LayoutError(f"{path}: not a little-endian 64-bit ELF file")
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count, names_index = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    bodies = [data[header[4] : header[4] + header[5]] for header in headers]
    names = [_text(bodies[names_index], header[0]) for header in headers]
    symbols: dict[str, tuple[str, int]] = {}
    for header, body in zip(headers, bodies, strict=True):
        if header[1] == SECTION_SYMBOLS:
            symbols.update(_symbols(body, bodies[header[6]], names))
    return _Elf(dict(zip(names, bodies, strict=True)), symbols)


def _symbols(table: bytes, texts: bytes, sections: list[str]) -> Iterator[tuple[str, tuple[str, int]]]:
    for name, _, _, section, value, _ in struct.iter_unpack("<IBBHQQ", table):
        if name and section < len(sections):
            yield _text(texts, name), (sections[section], value)


class Field:
    """One member: byte offset and size within its struct, and how it is packed.

    An integer is packed as an int in host order (members of type __be16, __be32, __be64 are swapped on the
    way), an array of bytes, a union or a struct of OPAQUE as bytes, another array as a tuple, a struct as a
    record of its own.
    """

    __slots__ = ("_coder", "count", "format", "name", "nested", "offset", "order", "size")

    def __init__(
        self, name: str, offset: int, size: int, format: str = "", order: str = "<", count: int = 0,
        nested: Layout | None = None,
    ) -> None:  # fmt: skip
        self.name, self.offset, self.size = name, offset, size
        self.format, self.order, self.count, self.nested = format, order, count, nested
        self._coder = struct.Struct(order + format) if format else struct.Struct(f"{size}s")

    def moved(self, name: str, offset: int) -> Field:
        """The same field under another name, `offset` bytes further on."""
        return Field(name, self.offset + offset, self.size, self.format, self.order, self.count, self.nested)

    def unpack_from(self, buffer: Any, base: int = 0) -> Any:
        """Value of the member of the struct that starts at `base`."""
        return self.decode(self._coder.unpack_from(buffer, base + self.offset))

    def decode(self, raw: tuple[Any, ...]) -> Any:
        if self.nested is None:
            return raw if self.count and self.format else raw[0]
        if not self.count:
            return self.nested.unpack_from(raw[0])
        return tuple(self.nested.unpack_from(raw[0], i * self.nested.size) for i in range(self.count))

    def pack_into(self, buffer: Any, base: int, value: Any) -> None:
        """Write the member of the struct that starts at `base`; struct.error if it does not fit."""
        if self.nested is not None:
            self._pack_nested(buffer, base + self.offset, value)
        elif not self.format:
            self._coder.pack_into(buffer, base + self.offset, self._exact(value))
        elif self.count:
            self._coder.pack_into(buffer, base + self.offset, *value)
        else:
            self._coder.pack_into(buffer, base + self.offset, value)

    def _exact(self, value: bytes) -> bytes:
        if len(value) > self.size:
            raise ValueError(f"{self.name} has {self.size} bytes, not {len(value)}")
        return value

    def _pack_nested(self, buffer: Any, start: int, value: Any) -> None:
        assert self.nested is not None
        if isinstance(value, bytes | bytearray | memoryview):
            self._coder.pack_into(buffer, start, self._exact(bytes(value)))
            return
        for place, item in enumerate(value if self.count else [value]):
            fields = item if isinstance(item, Mapping) else item._asdict()
            self.nested.pack_into(buffer, start + place * self.nested.size, **fields)


class Layout:
    """How one C struct lies in memory. Records are named tuples in the order of the members."""

    def __init__(self, name: str, size: int, fields: list[Field]) -> None:
        self.name, self.size = name, size
        self.fields = {field.name: field for field in fields}

    def __repr__(self) -> str:
        places = ", ".join(f"{field.name}@{field.offset}" for field in self.fields.values())
        return f"struct {self.name} ({self.size} bytes: {places})"

    def __getitem__(self, member: str) -> Field:
        try:
            return self.fields[member]
        except KeyError:
            raise LayoutError(f"struct {self.name} has no member {member}; it has: {', '.join(self.fields)}") from None

    def offset(self, member: str) -> int:
        """Byte offset of a member."""
        return self[member].offset

    def pack_into(self, buffer: Any, base: int = 0, /, **members: Any) -> None:
        """Write the members named, and no others, of the struct that starts at `base`."""
        for name, value in members.items():
            self[name].pack_into(buffer, base, value)

    def pack(self, /, **members: Any) -> bytes:
        """A struct with the members named and zero elsewhere."""
        buffer = bytearray(self.size)
        self.pack_into(buffer, 0, **members)
        return bytes(buffer)

    def unpack_from(self, buffer: Any, base: int = 0) -> Any:
        """The struct that starts at `base` as a named tuple (of a union's members the first only)."""
        raw = self._coder.unpack_from(buffer, base)
        if self._plain:
            return self._record(*raw)
        return self._record._make(field.decode(raw[start:end]) for field, start, end in self._slices)

    @cached_property
    def shown(self) -> list[Field]:
        """Fields that do not overlap an earlier one, in the order of their offsets."""
        shown: list[Field] = []
        for field in sorted(self.fields.values(), key=lambda field: field.offset):
            if not shown or field.offset >= shown[-1].offset + shown[-1].size:
                shown.append(field)
        return shown

    @cached_property
    def _record(self) -> Any:
        return namedtuple(self.name or "anonymous", [field.name for field in self.shown])

    @cached_property
    def _coder(self) -> _Coder:
        return _Coder(self.shown, self.size)

    @cached_property
    def _plain(self) -> bool:
        """Whether every field is one value that needs no decoding."""
        return all(field.nested is None and not (field.count and field.format) for field in self.shown)

    @cached_property
    def _slices(self) -> list[tuple[Field, int, int]]:
        slices, start = [], 0
        for field in self.shown:
            end = start + (field.count if field.format and field.count else 1)
            slices.append((field, start, end))
            start = end
        return slices


class _Coder:
    """A whole struct in one unpacking, then the big-endian members swapped."""

    def __init__(self, fields: list[Field], size: int) -> None:
        text, here, place = "<", 0, 0
        self.swaps: list[tuple[int, struct.Struct, struct.Struct]] = []
        for field in fields:
            text += f"{field.offset - here}x" if field.offset > here else ""
            text += field.format or f"{field.size}s"
            here = field.offset + field.size
            if field.order == ">":
                big, little = struct.Struct(">" + field.format[-1]), struct.Struct("<" + field.format[-1])
                self.swaps += [(place + i, little, big) for i in range(field.count or 1)]
            place += field.count if field.format and field.count else 1
        self.struct = struct.Struct(text + (f"{size - here}x" if size > here else ""))

    def unpack_from(self, buffer: Any, base: int = 0) -> tuple[Any, ...]:
        raw = self.struct.unpack_from(buffer, base)
        if not self.swaps:
            return raw
        values = list(raw)
        for place, little, big in self.swaps:
            values[place] = big.unpack(little.pack(values[place]))[0]
        return tuple(values)


class Layouts:
    """The structs, enums and variables of one object: `Layouts.of_file(path)["dest"].offset("weight")`."""

    def __init__(
        self, btf: bytes, name: str = "the loaded data plane", symbols: Mapping[str, tuple[str, int]] | None = None
    ) -> None:
        self.name = name
        self._symbols = symbols or {}
        self._cache: dict[str, Layout] = {}
        self._index(btf)

    @classmethod
    def of_file(cls, path: Path | str) -> Self:
        """Read a compiled object."""
        elf = _read_elf(Path(path))
        if ".BTF" not in elf.sections:
            raise LayoutError(f"{path}: no BTF; compile it with clang -g")
        return cls(elf.sections[".BTF"], Path(path).name, elf.symbols)

    def __getitem__(self, name: str) -> Layout:
        """Layout of `struct name`; LayoutError if it is missing, or has a hole or a bitfield."""
        if name not in self._cache:
            self._cache[name] = self._layout(self._find(Kind.STRUCT, name))
        return self._cache[name]

    def text(self, offset: int) -> str:
        """The string at this offset of the BTF's strings."""
        return _text(self._texts, offset)

    def __contains__(self, name: str) -> bool:
        return (Kind.STRUCT, name) in self._named

    def enum(self, name: str) -> dict[str, int]:
        """Names and values of `enum name`, in C's order."""
        kind = Kind.ENUM if (Kind.ENUM, name) in self._named else Kind.ENUM64
        return dict(self._enumerators(self._find(kind, name)))

    @cached_property
    def constants(self) -> dict[str, int]:
        """Names and values of all enums together, the nameless ones too."""
        kinds = (Kind.ENUM, Kind.ENUM64)
        return {n: v for id in range(1, len(self._at)) if self._kind(id) in kinds for n, v in self._enumerators(id)}

    def variable(self, name: str, section: str) -> Field:
        """The global variable `name`; its offset is within `section`, such as '.rodata' or '.bss'."""
        where, offset = self._symbols.get(name, ("", 0))
        if where != section:
            raise LayoutError(f"{self.name} has no variable {name} in {section}")
        (type_,) = struct.unpack_from("<I", self._data, self._at[self._find(Kind.VARIABLE, name)] + 8)
        return self._field(name, offset, type_)

    def variables(self, section: str) -> dict[str, Field]:
        """Every global variable of `section`, by name."""
        named = [name for kind, name in self._named if kind == Kind.VARIABLE]
        return {name: self.variable(name, section) for name in named if self._symbols.get(name, ("",))[0] == section}

    def _index(self, data: bytes) -> None:
        magic, _, _, header = struct.unpack_from("<HBBI", data)
        if magic != BTF_MAGIC:
            raise LayoutError(f"{self.name}: BTF of an unknown kind or byte order")
        types, types_length, texts, texts_length = struct.unpack_from("<IIII", data, 8)
        # 4 bytes more, so that a last 8-byte enumerator can be read as if it were a 12-byte one
        self._data = data[header + types : header + types + types_length] + bytes(4)
        self._texts = data[header + texts : header + texts + texts_length]
        self._at = [0]  # where type number i starts; number 0 is void
        self._named: dict[tuple[int, str], int] = {}
        here, end, data = 0, types_length, self._data
        common = struct.Struct("<II")
        while here < end:
            name, info = common.unpack_from(data, here)
            kind = info >> 24 & 31
            if name and kind in _NAMED:
                self._named[kind, _text(self._texts, name)] = len(self._at)
            self._at.append(here)
            fixed, each = _EXTRA_BY_NUMBER[kind]
            here += 12 + fixed + each * (info & 0xFFFF)

    def _find(self, kind: Kind, name: str) -> int:
        try:
            return self._named[kind, name]
        except KeyError:
            raise LayoutError(f"{self.name} has no {kind.name.lower()} {name}") from None

    def _kind(self, id: int) -> int:
        return self._data[self._at[id] + 7] & 31

    def _header(self, id: int) -> tuple[str, int, int]:
        """(name, info, size or type) of a type."""
        name, info, size = struct.unpack_from("<III", self._data, self._at[id])
        return _text(self._texts, name), info, size

    def _enumerators(self, id: int) -> Iterator[tuple[str, int]]:
        _, info, _ = self._header(id)
        signed, wide = info >> 31, self._kind(id) == Kind.ENUM64
        for place in range(info & 0xFFFF):
            start = self._at[id] + 12 + place * (12 if wide else 8)
            name, low, high = struct.unpack_from("<III", self._data, start)
            value, bits = (low | high << 32, 64) if wide else (low, 32)
            yield _text(self._texts, name), value - (1 << bits) if signed and value >> (bits - 1) else value

    def _members(self, id: int) -> Iterator[tuple[str, int, int]]:
        """(name, type, offset in bytes) of the members of a struct or union."""
        owner, info, _ = self._header(id)
        for place in range(info & 0xFFFF):
            name, type_, bits = struct.unpack_from("<III", self._data, self._at[id] + 12 + place * 12)
            member = _text(self._texts, name)
            if (info >> 31 and bits >> 24) or bits & 7:
                raise LayoutError(f"struct {owner}: {member} is a bitfield, which Python cannot share")
            yield member, type_, (bits & 0xFFFFFF) // 8

    def _resolve(self, id: int) -> tuple[int, bool]:
        """Type number behind typedefs and qualifiers, and whether one of their names says big-endian."""
        big = False
        while id and self._kind(id) in _TRANSPARENT:
            name, _, behind = self._header(id)
            big, id = big or name in BIG_ENDIAN_NAMES, behind
        return id, big

    def _layout(self, id: int) -> Layout:
        name, _, size = self._header(id)
        fields = list(self._flat(id))
        self._refuse_holes(name, size, fields)
        return Layout(name, size, fields)

    def _flat(self, id: int) -> Iterator[Field]:
        """Fields of a struct, with those of nameless structs and unions in it lifted up to it."""
        for name, type_, offset in self._members(id):
            target, _ = self._resolve(type_)
            if name or self._kind(target) not in (Kind.STRUCT, Kind.UNION):
                yield self._field(name, offset, type_)
            else:
                yield from (field.moved(field.name, offset) for field in self._flat(target))

    def _field(self, name: str, offset: int, type_: int) -> Field:
        id, big = self._resolve(type_)
        kind = self._kind(id)
        if kind == Kind.ARRAY:
            return self._array(name, offset, id)
        if kind == Kind.STRUCT:
            return self._struct_field(name, offset, id)
        size = self._size(id)
        if kind == Kind.UNION:
            return Field(name, offset, size)
        return Field(name, offset, size, self._format(id, size), ">" if big else "<")

    def _struct_field(self, name: str, offset: int, id: int) -> Field:
        """A member struct; one that holds a single member is taken for that."""
        if self._header(id)[0] in OPAQUE:
            return Field(name, offset, self._size(id))
        nested = self._layout(id)
        if len(nested.shown) == 1 and nested.shown[0].size == nested.size:
            return nested.shown[0].moved(name, offset)
        return Field(name, offset, nested.size, nested=nested)

    def _array(self, name: str, offset: int, id: int) -> Field:
        element, count = self._element(id)
        one = self._field(name, 0, element)
        if one.nested is not None and not one.count:
            return Field(name, offset, one.size * count, count=count, nested=one.nested)
        if one.format and not one.count and one.size > 1:
            return Field(name, offset, one.size * count, f"{count}{one.format}", one.order, count)
        return Field(name, offset, one.size * count)  # bytes, or an array of arrays: raw

    def _element(self, id: int) -> tuple[int, int]:
        """(type, count) of an array's elements."""
        element, _, count = struct.unpack_from("<III", self._data, self._at[id] + 12)
        return element, count

    def _size(self, id: int) -> int:
        kind = self._kind(id)
        if kind == Kind.POINTER:
            return 8
        if kind == Kind.ARRAY:
            element, count = self._element(id)
            return self._size(self._resolve(element)[0]) * count
        return self._header(id)[2]

    def _format(self, id: int, size: int) -> str:
        letter = _INTEGER.get(size)
        if letter is None:
            return ""
        return letter.lower() if self._is_signed(id) else letter

    def _is_signed(self, id: int) -> bool:
        if self._kind(id) == Kind.INT:
            return bool(self._data[self._at[id] + 15] & 1)
        return self._kind(id) in (Kind.ENUM, Kind.ENUM64) and bool(self._header(id)[1] >> 31)

    def _refuse_holes(self, name: str, size: int, fields: list[Field]) -> None:
        here = 0
        for field in sorted(fields, key=lambda field: field.offset):
            if field.offset > here:
                raise LayoutError(f"struct {name} has a hole of {field.offset - here} bytes before {field.name}")
            here = max(here, field.offset + field.size)
        if here < size:
            raise LayoutError(f"struct {name} has a hole of {size - here} bytes at its end")
