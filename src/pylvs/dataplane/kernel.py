# SPDX-License-Identifier: GPL-2.0-or-later
"""bpf(2) without a library: maps, programs, links and pins as objects that own their descriptor.

Listing needs only this (no libbpf), so a command that finds everything pinned starts fast.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Self

from pylvs.errors import PRIVILEGES, DataPlaneError, NotPermitted, Unsupported

SYSCALL_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
    "s390x": 351,
}
FRAME_MAX = 65536  # the longest frame that a test run gives back


class Command(IntEnum):
    """`enum bpf_cmd` of linux/bpf.h, as far as used."""

    MAP_CREATE = 0
    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    MAP_NEXT_KEY = 4
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_FD_BY_ID = 13
    MAP_FD_BY_ID = 14
    OBJ_INFO = 15
    BTF_FD_BY_ID = 19
    MAP_LOOKUP_AND_DELETE = 21
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class MapType(IntEnum):
    """`enum bpf_map_type`, as far as used."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13


PER_CPU = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
OF_MAPS = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})

F_MMAPABLE = 1 << 10

ANY, NOEXIST, EXIST = 0, 1, 2  # flags of Map.update

ATTACH_XDP = 37
ATTACH_TCX_INGRESS = 46
XDP_DRIVER_MODE = 1 << 2


class BpfError(DataPlaneError):
    """The kernel answered a bpf(2) call with `errno`."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.errno = number


class _MapCreate(ctypes.Structure):
    _fields_ = [
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * 16),
        ("map_ifindex", ctypes.c_uint32),
    ]


class _Element(ctypes.Structure):
    _fields_ = [
        ("map_fd", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    ]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("in_batch", ctypes.c_uint64),
        ("out_batch", ctypes.c_uint64),
        ("keys", ctypes.c_uint64),
        ("values", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("map_fd", ctypes.c_uint32),
        ("elem_flags", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
    ]


class _Path(ctypes.Structure):
    _fields_ = [("pathname", ctypes.c_uint64), ("bpf_fd", ctypes.c_uint32), ("file_flags", ctypes.c_uint32)]


class _TestRun(ctypes.Structure):
    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_int32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    ]


class _Info(ctypes.Structure):
    _fields_ = [("bpf_fd", ctypes.c_uint32), ("info_len", ctypes.c_uint32), ("info", ctypes.c_uint64)]


class _Id(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint32), ("next_id", ctypes.c_uint32), ("open_flags", ctypes.c_uint32)]


class _LinkCreate(ctypes.Structure):
    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("target", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("relative", ctypes.c_uint64),
        ("expected_revision", ctypes.c_uint64),
    ]


class _LinkUpdate(ctypes.Structure):
    _fields_ = [
        ("link_fd", ctypes.c_uint32),
        ("new_prog_fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("old_prog_fd", ctypes.c_uint32),
    ]


class _MapInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    ]


class _LinkInfo(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("ifindex", ctypes.c_uint32),  # of XDP and TCX links; 0 once the device is gone
        ("attach_type", ctypes.c_uint32),  # of TCX links
    ]


class _ProgramInfo(ctypes.Structure):
    """`struct bpf_prog_info`: tables are asked for by their address and the number of their records."""

    _fields_ = [
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("unused", ctypes.c_uint8 * 96),
        ("nr_jited_ksyms", ctypes.c_uint32),  # at offset 104
        ("nr_jited_func_lens", ctypes.c_uint32),
        ("jited_ksyms", ctypes.c_uint64),
        ("jited_func_lens", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("nr_func_info", ctypes.c_uint32),
        ("nr_line_info", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("jited_line_info", ctypes.c_uint64),
        ("nr_jited_line_info", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("jited_line_info_rec_size", ctypes.c_uint32),
    ]


class _BtfInfo(ctypes.Structure):
    _fields_ = [("btf", ctypes.c_uint64), ("btf_size", ctypes.c_uint32), ("id", ctypes.c_uint32)]


def _syscall_number() -> int:
    machine = os.uname().machine
    try:
        return SYSCALL_NUMBERS[machine]
    except KeyError:
        raise Unsupported(f"pylvs does not know the bpf system call of {machine} machines") from None


_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_BPF = ctypes.c_long(_syscall_number())


def _call(command: Command, attr: ctypes.Structure) -> int:
    """Make one bpf(2) call; answer its result, or minus the errno."""
    result: int = _syscall(_BPF, command, ctypes.byref(attr), ctypes.sizeof(attr))
    return result if result >= 0 else -ctypes.get_errno()


def failure(what: str, number: int) -> DataPlaneError | NotPermitted | Unsupported:
    """Turn an errno of bpf(2) into the exception that says what to do."""
    if number in (errno.EPERM, errno.EACCES):
        return NotPermitted(f"{what}: not permitted; run it as root, or with {PRIVILEGES}")
    if number == errno.ENOSYS:
        return Unsupported(f"{what}: this kernel is built without BPF; pylvs needs Linux 6.1 or later with BPF")
    return BpfError(f"{what}: {os.strerror(number)}", number)


def _checked(command: Command, attr: ctypes.Structure, what: str) -> int:
    result = _call(command, attr)
    if result < 0:
        raise failure(what, -result)
    return result


def _address(buffer: object) -> int:
    return ctypes.addressof(buffer)  # type: ignore[arg-type]


def _bytes_address(data: bytes) -> int:
    """Address of a bytes object's contents, good as long as the object lives."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


@lru_cache(maxsize=1)
def possible_cpus() -> int:
    """Number of possible CPUs, which is how many values a per-CPU map gives for each key."""
    with open("/sys/devices/system/cpu/possible") as file:
        last = file.read().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1


class Descriptor:
    """Owner of one file descriptor: closed by `close`, by `with`, or when forgotten."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def pinned(cls, path: str) -> Self:
        """Open the pin at `path`; FileNotFoundError if there is none."""
        name = os.fsencode(path)
        result = _call(Command.OBJ_GET, _Path(_bytes_address(name)))
        if result == -errno.ENOENT:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if result < 0:
            raise failure(f"cannot open the pin {path}", -result)
        return cls(result)

    def pin(self, path: str) -> None:
        """Pin at `path` on a bpffs, where nothing may be yet."""
        name = os.fsencode(path)
        _checked(Command.OBJ_PIN, _Path(_bytes_address(name), self.fd), f"cannot pin {path}")

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()

    def _fill(self, info: ctypes.Structure) -> None:
        attr = _Info(self.fd, ctypes.sizeof(info), _address(info))
        _checked(Command.OBJ_INFO, attr, "cannot read about a BPF object")


class MapInfo(NamedTuple):
    """What the kernel says of a map (`struct bpf_map_info`); sizes in bytes."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


class Map(Descriptor):
    """One BPF map. Keys and values are bytes of exactly the map's sizes."""

    @classmethod
    def create(
        cls, type: MapType, key_size: int, value_size: int, max_entries: int, flags: int = 0, name: str = ""
    ) -> Self:
        """Make a new map, such as an inner array for an array of maps."""
        attr = _MapCreate(type, key_size, value_size, max_entries, flags)
        attr.map_name = name.encode()[:15]
        return cls(_checked(Command.MAP_CREATE, attr, f"cannot make the map {name}"))

    @classmethod
    def by_id(cls, id: int) -> Self:
        """Open the map with the kernel's number `id`, such as a lookup in an array of maps gives."""
        return cls(_checked(Command.MAP_FD_BY_ID, _Id(id), f"cannot open map {id}"))

    @cached_property
    def info(self) -> MapInfo:
        raw = _MapInfo()
        self._fill(raw)
        numbers = (raw.type, raw.id, raw.key_size, raw.value_size, raw.max_entries, raw.map_flags)
        return MapInfo(*numbers, raw.name.decode())

    @cached_property
    def value_bytes(self) -> int:
        """Bytes that one lookup gives: for a per-CPU map every possible CPU's value, each padded to 8."""
        size = self.info.value_size
        return (size + 7) // 8 * 8 * possible_cpus() if self.info.type in PER_CPU else size

    @cached_property
    def _scratch(self) -> _Scratch:
        return _Scratch(self.fd, self.info.key_size, self.value_bytes)

    def lookup(self, key: bytes) -> bytes | None:
        """Value at `key`, or None."""
        return self._read(Command.MAP_LOOKUP, key)

    def pop(self, key: bytes) -> bytes | None:
        """Value at `key` of a hash map, which is deleted; or None."""
        return self._read(Command.MAP_LOOKUP_AND_DELETE, key)

    def _read(self, command: Command, key: bytes) -> bytes | None:
        scratch = self._scratch
        scratch.key.raw, scratch.attr.flags = self._fit(key), 0
        if _syscall(_BPF, command.value, *scratch.args) >= 0:
            return scratch.value.raw
        number = ctypes.get_errno()
        if number == errno.ENOENT:
            return None
        raise failure(f"cannot read the map {self.info.name}", number)

    def update(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Set the value at `key`; with NOEXIST or EXIST a BpfError says EEXIST or ENOENT."""
        scratch = self._scratch
        if len(value) != self.value_bytes:
            raise ValueError(f"a value of the map {self.info.name} has {self.value_bytes} bytes, not {len(value)}")
        scratch.key.raw, scratch.value.raw, scratch.attr.flags = self._fit(key), value, flags
        if _syscall(_BPF, Command.MAP_UPDATE.value, *scratch.args) < 0:
            raise failure(f"cannot write the map {self.info.name}", ctypes.get_errno())

    def delete(self, key: bytes) -> bool:
        """Delete `key`; False if it was not there."""
        scratch = self._scratch
        scratch.key.raw = self._fit(key)
        if _syscall(_BPF, Command.MAP_DELETE.value, *scratch.deletion) >= 0:
            return True
        number = ctypes.get_errno()
        if number != errno.ENOENT:
            raise failure(f"cannot delete from the map {self.info.name}", number)
        return False

    def keys(self) -> Iterator[bytes]:
        """Every key, in the kernel's order; keys deleted meanwhile may start a hash over again."""
        here = ctypes.create_string_buffer(self.info.key_size)
        attr = _Element(self.fd, 0, 0, _address(here))
        while (result := _call(Command.MAP_NEXT_KEY, attr)) >= 0:
            yield here.raw
            attr.key = _address(here)
        if result != -errno.ENOENT:
            raise failure(f"cannot walk the map {self.info.name}", -result)

    def items(self, chunk: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value by batches of `chunk`, a system call each."""
        batch = _BatchBuffers(self, chunk)
        while True:
            count, more = batch.read()
            yield from batch.pairs(count)
            if not more:
                return

    def update_many(self, keys: bytes, values: bytes) -> None:
        """Set many elements in one system call; `keys` and `values` are those of each joined."""
        count = len(keys) // self.info.key_size
        if len(keys) != count * self.info.key_size or len(values) != count * self.value_bytes:
            raise ValueError(f"keys and values do not fit the map {self.info.name}")
        attr = _Batch(0, 0, _bytes_address(keys), _bytes_address(values), count, self.fd)
        _checked(Command.MAP_UPDATE_BATCH, attr, f"cannot write the map {self.info.name}")

    def set_inner(self, index: int, inner: Map) -> None:
        """Put `inner` at `index` of this array of maps."""
        self.update(index.to_bytes(4, "little"), inner.fd.to_bytes(4, "little"))

    def inner(self, index: int) -> Map | None:
        """The map at `index` of this array of maps, newly opened, or None."""
        id = self.lookup(index.to_bytes(4, "little"))
        return Map.by_id(int.from_bytes(id, "little")) if id else None

    def _fit(self, key: bytes) -> bytes:
        if len(key) != self._scratch.key_size:
            raise ValueError(f"a key of the map {self.info.name} has {self.info.key_size} bytes, not {len(key)}")
        return key


class _Scratch:
    """Room for one key and one value, and bpf(2)'s arguments about them, made once: commands come by the 100,000."""

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.key_size = key_size
        self.key = ctypes.create_string_buffer(key_size)
        self.value = ctypes.create_string_buffer(value_size)
        self.attr = _Element(fd, 0, _address(self.key), _address(self.value))
        self.args = (ctypes.byref(self.attr), ctypes.sizeof(self.attr))
        # the kernel refuses a deletion with a value
        self._deletion = _Element(fd, 0, _address(self.key))
        self.deletion = (ctypes.byref(self._deletion), ctypes.sizeof(self._deletion))


class _BatchBuffers:
    """Buffers and cursor of one walk over a map by BPF_MAP_LOOKUP_BATCH."""

    def __init__(self, map: Map, chunk: int) -> None:
        self.map = map
        self.key_size, self.value_size = map.info.key_size, map.value_bytes
        self.cursor = ctypes.create_string_buffer(max(8, self.key_size))
        self.attr = _Batch(0, _address(self.cursor), 0, 0, 0, map.fd)
        self._make_room(chunk)

    def _make_room(self, chunk: int) -> None:
        self.chunk = chunk
        self.keys = ctypes.create_string_buffer(self.key_size * chunk)
        self.values = ctypes.create_string_buffer(self.value_size * chunk)
        self.attr.keys, self.attr.values = _address(self.keys), _address(self.values)

    def read(self) -> tuple[int, bool]:
        """Read the next elements; answer how many, and whether there are more. A hash map gives whole buckets, and says
        ENOSPC where there is no room for one."""
        self.attr.count = self.chunk
        while (result := _call(Command.MAP_LOOKUP_BATCH, self.attr)) == -errno.ENOSPC:
            self._make_room(2 * self.chunk)
            self.attr.count = self.chunk
        if result < 0 and result != -errno.ENOENT:
            raise failure(f"cannot walk the map {self.map.info.name}", -result)
        self.attr.in_batch = self.attr.out_batch
        return self.attr.count, result >= 0

    def pairs(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        keys, values = memoryview(self.keys), memoryview(self.values)
        k, v = self.key_size, self.value_size
        return ((bytes(keys[i * k : i * k + k]), bytes(values[i * v : i * v + v])) for i in range(count))


class RunResult(NamedTuple):
    """Outcome of a test run: return value, packet and context afterwards, mean duration of a repeat in ns."""

    retval: int
    data: bytes
    ctx: bytes
    duration_ns: int


def xdp_context(size: int, ifindex: int = 0, queue: int = 0) -> bytes:
    """A `struct xdp_md` for a frame of `size` bytes that came in by interface `ifindex`."""
    words = (0, size, 0, ifindex, queue, 0)
    return b"".join(word.to_bytes(4, "little") for word in words)


def skb_context(ifindex: int = 0, mark: int = 0, priority: int = 0) -> bytes:
    """A `struct __sk_buff` (192 bytes) with the fields that a test run takes."""
    context = bytearray(192)
    for offset, value in ((8, mark), (32, priority), (36, ifindex), (40, ifindex)):
        context[offset : offset + 4] = value.to_bytes(4, "little")
    return bytes(context)


class Line(NamedTuple):
    """From this address on the machine code is of this line of C."""

    address: int
    file: str
    number: int
    text: str


class Program(Descriptor):
    """One loaded BPF program."""

    @cached_property
    def _info(self) -> _ProgramInfo:
        raw = _ProgramInfo()
        self._fill(raw)
        return raw

    @property
    def id(self) -> int:
        """The kernel's number of the program."""
        return int(self._info.id)

    def btf(self) -> bytes:
        """The BTF that the program was loaded with, as the kernel keeps it."""
        number = _checked(Command.BTF_FD_BY_ID, _Id(self._info.btf_id), "cannot open a program's BTF")
        with Descriptor(number) as handle:
            raw = _BtfInfo()
            handle._fill(raw)
            text = ctypes.create_string_buffer(raw.btf_size)
            raw = _BtfInfo(_address(text), len(text))
            handle._fill(raw)
        return text.raw

    def _table(self, name: str, record: str, count: str, size: str = "") -> list[tuple[Any, ...]]:
        """One of the program's tables; `count` and `size`: the fields that say how many records, of how many bytes."""
        known = self._info
        number, bytes_each = getattr(known, count), getattr(known, size) if size else struct.calcsize(record)
        table = ctypes.create_string_buffer(max(1, number * bytes_each))
        raw = _ProgramInfo()
        setattr(raw, name, _address(table))
        setattr(raw, count, number)
        if size:
            setattr(raw, size, bytes_each)
        self._fill(raw)
        return [struct.unpack_from(record, table, at) for at in range(0, number * bytes_each, bytes_each)]

    def functions(self) -> list[tuple[int, int]]:
        """Where the machine code of the program and of its functions is: first address and bytes of each; as root."""
        starts = self._table("jited_ksyms", "=Q", "nr_jited_ksyms")
        sizes = self._table("jited_func_lens", "=I", "nr_jited_func_lens")
        return [(start, size) for (start,), (size,) in zip(starts, sizes, strict=True)]

    def lines(self, text: Callable[[int], str]) -> list[Line]:
        """The lines of C that the machine code came from, by address; as root. Empty without a line table. `text` gives
        the string at an offset of the program's BTF (`Layouts.text`)."""
        places = self._table("jited_line_info", "=Q", "nr_jited_line_info", "jited_line_info_rec_size")
        lines = self._table("line_info", "=4I", "nr_line_info", "line_info_rec_size")

        return sorted(
            Line(address, text(file), column >> 10, text(line).strip())
            for (address,), (_, file, line, column) in zip(places, lines, strict=True)
        )

    @cached_property
    def _frame(self) -> ctypes.Array[ctypes.c_char]:
        return ctypes.create_string_buffer(FRAME_MAX)

    def test_run(self, data: bytes, ctx: bytes = b"", repeat: int = 1) -> RunResult:
        """Run the program over the frame `data` and context `ctx` (see `xdp_context`, `skb_context`)."""
        out = ctypes.create_string_buffer(max(1, len(ctx)))
        attr = _TestRun(prog_fd=self.fd, repeat=repeat, data_size_in=len(data), data_in=_bytes_address(data))
        attr.data_out, attr.data_size_out = _address(self._frame), FRAME_MAX
        if ctx:
            attr.ctx_in, attr.ctx_size_in = _bytes_address(ctx), len(ctx)
            attr.ctx_out, attr.ctx_size_out = _address(out), len(ctx)
        _checked(Command.PROG_TEST_RUN, attr, "the kernel refused a test run")
        frame = ctypes.string_at(self._frame, attr.data_size_out)
        return RunResult(attr.retval, frame, out.raw[: attr.ctx_size_out], attr.duration)


class SyscallProgram(Program):
    """A SEC("syscall") program and its context: fill `context` (a bytearray), call it, read `context`.

    The context is the same memory in every call; the program reads and writes it in place.
    """

    def __init__(self, fd: int, context_size: int = 0) -> None:
        super().__init__(fd)
        self.resize(context_size)

    def resize(self, size: int) -> None:
        """Start a new context of `size` zero bytes."""
        self.context = bytearray(size)
        self._hold = (ctypes.c_char * size).from_buffer(self.context) if size else None
        start = _address(self._hold) if self._hold is not None else 0
        self._attr = _TestRun(prog_fd=self.fd, ctx_in=start, ctx_size_in=size)
        self._args = (_BPF, Command.PROG_TEST_RUN.value, ctypes.byref(self._attr), ctypes.sizeof(self._attr))

    def __call__(self) -> int:
        """Run once; answer the program's return value (signed)."""
        if _syscall(*self._args) < 0:
            raise failure("the data plane refused a call", ctypes.get_errno())
        return self._attr.retval  # type: ignore[no-any-return]


class LinkInfo(NamedTuple):
    """What the kernel says of a link; `ifindex` is 0 once its interface is gone or it is detached."""

    id: int
    program_id: int
    ifindex: int


class Link(Descriptor):
    """An attachment of a program to an interface; it ends when no descriptor and no pin is left."""

    @classmethod
    def create(cls, program: Program, ifindex: int, attach_type: int, flags: int = 0) -> Self:
        """Attach `program` to interface `ifindex` of the caller's network namespace."""
        attr = _LinkCreate(program.fd, ifindex, attach_type, flags)
        return cls(_checked(Command.LINK_CREATE, attr, f"cannot attach to interface {ifindex}"))

    @property
    def info(self) -> LinkInfo:
        raw = _LinkInfo()
        self._fill(raw)
        return LinkInfo(raw.id, raw.prog_id, raw.ifindex)

    def replace(self, program: Program) -> None:
        """Put `program` in the place of the present one, between two packets."""
        _checked(Command.LINK_UPDATE, _LinkUpdate(self.fd, program.fd), "cannot replace an attached program")

    def detach(self) -> None:
        """Detach now, even while pinned."""
        _checked(Command.LINK_DETACH, _Id(self.fd), "cannot detach")
