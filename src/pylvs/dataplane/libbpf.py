# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading a compiled object by libbpf (1.0 or later), by ctypes; imported only when something is loaded."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pylvs.dataplane.btf import Layouts
from pylvs.dataplane.kernel import Map, Program, SyscallProgram
from pylvs.errors import PRIVILEGES, DataPlaneError, NotPermitted, Unsupported

LOG_MAX = (16 << 20) + 4096  # libbpf's own limit for a verifier log is 16 MiB; untouched pages cost nothing
DEBUG = 2  # enum libbpf_print_level

_PrintFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

# function: (result, arguments)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_set_print": (ctypes.c_void_p, [_PrintFunction]),
    "bpf_object__open_file": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_void_p]),
    "bpf_object__load": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_object__close": (None, [ctypes.c_void_p]),
    "bpf_object__next_map": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
    "bpf_object__next_program": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
    "bpf_map__name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "bpf_map__fd": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_map__set_max_entries": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]),
    "bpf_map__inner_map": (ctypes.c_void_p, [ctypes.c_void_p]),
    "bpf_map__set_value_size": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]),
    "bpf_map__reuse_fd": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "bpf_map__initial_value": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]),
    "bpf_program__name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "bpf_program__fd": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_program__set_autoload": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_bool]),
}


class LoadError(DataPlaneError):
    """libbpf or the verifier refused an object; `log` is all that was printed, `tail` its last lines."""

    def __init__(self, message: str, number: int, log: str) -> None:
        super().__init__(message)
        self.errno, self.log = number, log

    @property
    def tail(self) -> str:
        return "\n".join(self.log.rstrip().splitlines()[-20:])


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise Unsupported("libbpf.so.1 is missing: apt install libbpf1 (or dnf install libbpf)") from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@contextmanager
def _captured() -> Iterator[list[str]]:
    """The lines that libbpf prints meanwhile, debugging output excepted."""
    printed: list[str] = []
    format_text = ctypes.CDLL(None).vsnprintf
    format_text.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]

    def hear(level: int, pattern: bytes, arguments: int) -> int:
        if level < DEBUG:
            with mmap.mmap(-1, LOG_MAX) as room:
                text = (ctypes.c_char * LOG_MAX).from_buffer(room)
                format_text(ctypes.addressof(text), LOG_MAX, pattern, arguments)
                printed.append(ctypes.string_at(text).decode(errors="replace"))
                del text  # or the mapping cannot be closed
        return 0

    callback = _PrintFunction(hear)
    before = _library().libbpf_set_print(callback)
    try:
        yield printed
    finally:
        _library().libbpf_set_print(ctypes.cast(before or 0, _PrintFunction))


def _reason(log: str, number: int) -> str:
    """The one line of a load's log that says most: the verifier's last words before its statistics."""
    noise = ("processed ", "-- ", "libbpf: ", "verification time", "stack depth")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(noise)]
    last = (telling or lines or [""])[-1]
    return f"{os.strerror(number)} ({last})" if last else os.strerror(number)


def _load_failure(name: str, number: int, log: str) -> DataPlaneError | NotPermitted:
    if number == errno.EPERM:
        return NotPermitted(f"loading the data plane is not permitted; run it as root, or with {PRIVILEGES}")
    return LoadError(f"the kernel refused the data plane {name}: {_reason(log, number)}", number, log)


class ObjectFile:
    """One compiled object: open, size its maps, set its constants, load, take maps and programs."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.lib = _library()
        if not self.path.is_file():
            raise DataPlaneError(f"{self.path}: the compiled data plane is not there; run: make bpf")
        with _captured() as printed:
            self.pointer: int | None = self.lib.bpf_object__open_file(os.fsencode(self.path), None)
        if not self.pointer:
            raise LoadError(f"{self.path}: not an object that libbpf can read", ctypes.get_errno(), "".join(printed))
        self._maps = dict(self._walk(self.lib.bpf_object__next_map, self.lib.bpf_map__name))
        self._programs = dict(self._walk(self.lib.bpf_object__next_program, self.lib.bpf_program__name))

    def _walk(self, step: Callable[..., int | None], name: Callable[[int], bytes]) -> Iterator[tuple[str, int]]:
        here = step(self.pointer, None)
        while here:
            yield name(here).decode(), here
            here = step(self.pointer, here)

    @property
    def map_names(self) -> list[str]:
        """Names as in C; sections of variables appear as '.rodata', '.bss', '.data'."""
        return [_plain(name) for name in self._maps]

    @property
    def program_names(self) -> list[str]:
        return list(self._programs)

    def set_max_entries(self, map: str, entries: int) -> None:
        """Size a map, before `load`."""
        self._checked(self.lib.bpf_map__set_max_entries(self._map(map), entries), f"cannot size the map {map}")

    def set_inner_value_size(self, map: str, size: int) -> None:
        """Size the values of the maps that are in a map, before `load`."""
        inner = self.lib.bpf_map__inner_map(self._map(map))
        self._checked(self.lib.bpf_map__set_value_size(inner, size), f"cannot size the values of the maps in {map}")

    def reuse(self, map: str, present: Map) -> None:
        """Let the object use a map that exists, before `load`; the descriptor is duplicated."""
        self._checked(self.lib.bpf_map__reuse_fd(self._map(map), present.fd), f"cannot reuse the map {map}")

    def skip_program(self, program: str) -> None:
        """Leave a program out of `load`."""
        result = self.lib.bpf_program__set_autoload(self._program(program), False)
        self._checked(result, f"cannot leave out {program}")

    def set_variables(self, values: Mapping[str, int | tuple[int, ...]], section: str = ".rodata") -> None:
        """Set global variables (`const volatile` ones by default) by name, before `load`."""
        layouts = Layouts.of_file(self.path)
        size = ctypes.c_size_t()
        start = self.lib.bpf_map__initial_value(self._map(section), ctypes.byref(size))
        if not start:
            raise DataPlaneError(f"{self.path.name} has no variables in {section}")
        memory = (ctypes.c_char * size.value).from_address(start)
        for name, value in values.items():
            field = layouts.variable(name, section)
            field.pack_into(memory, 0, value)

    def load(self) -> None:
        """Create the maps and have the programs verified; LoadError carries the verifier's log."""
        with _captured() as printed:
            result = self.lib.bpf_object__load(self.pointer)
        if result:
            raise _load_failure(self.path.name, -result, "".join(printed))

    def map(self, name: str) -> Map:
        """A loaded map, as a descriptor of its own that outlives this object."""
        return Map(os.dup(self.lib.bpf_map__fd(self._map(name))))

    def program(self, name: str) -> Program:
        """A loaded program, as a descriptor of its own that outlives this object."""
        return Program(os.dup(self.lib.bpf_program__fd(self._program(name))))

    def syscall_program(self, name: str, context_size: int) -> SyscallProgram:
        """A loaded SEC("syscall") program with a context of `context_size` bytes, as a descriptor of its own."""
        return SyscallProgram(os.dup(self.lib.bpf_program__fd(self._program(name))), context_size)

    def maps(self) -> dict[str, Map]:
        """Every loaded map by name."""
        return {name: self.map(name) for name in self.map_names}

    def programs(self) -> dict[str, Program]:
        """Every loaded program by name."""
        return {name: self.program(name) for name in self.program_names}

    def close(self) -> None:
        pointer, self.pointer = self.pointer, None
        if pointer:
            self.lib.bpf_object__close(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _map(self, name: str) -> int:
        for full, pointer in self._maps.items():
            if name in (full, _plain(full)):
                return pointer
        raise DataPlaneError(f"{self.path.name} has no map {name}; it has: {', '.join(self.map_names)}")

    def _program(self, name: str) -> int:
        try:
            return self._programs[name]
        except KeyError:
            names = ", ".join(self._programs)
            raise DataPlaneError(f"{self.path.name} has no program {name}; it has: {names}") from None

    def _checked(self, result: int, what: str) -> None:
        if result < 0:
            raise DataPlaneError(f"{what}: {os.strerror(-result)}")


def _plain(name: str) -> str:
    """A section's map is named 'object.bss' or '.bss'; either way answer '.bss'."""
    return name[name.index(".") :] if "." in name else name
