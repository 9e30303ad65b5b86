# SPDX-License-Identifier: GPL-2.0-or-later
"""`frozen`: what `dataclasses.dataclass(frozen=True, slots=True)` makes, in a sixth of the time.

A command starts in the time that its imports take. Importing `dataclasses`, which imports `inspect`, and making our
classes with it was a third of that. `dataclasses.replace`, `asdict` and `fields` take values too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class")
_METHODS = """
def __init__(self, {parameters}):
    {assignments}
def __eq__(self, other):
    if other.__class__ is not self.__class__:
        return NotImplemented
    return ({own}) == ({others})
def __hash__(self):
    return hash(({own}))
"""


@dataclass_transform(frozen_default=True)
def frozen(cls: type[_Class]) -> type[_Class]:
    """Make the annotated attributes of a class its fields, in this order: immutable, compared and hashed together.

    A default is the attribute of the class, itself a value. `__post_init__` is called at the end, if there is one; it
    may set a field by `object.__setattr__`. There is no inheritance of fields.
    """
    names = tuple(cls.__annotations__)
    members = {name: member for name, member in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    defaults = {name: members.pop(name) for name in names if name in members}
    members |= _methods(names, defaults, "__post_init__" in members)
    members |= {"__slots__": names, "__match_args__": names, "__qualname__": cls.__qualname__}
    members |= {"__setattr__": _refuse, "__delattr__": _refuse, "__reduce__": _reduce}
    members["__dataclass_fields__"] = _Fields(defaults)
    members.setdefault("__repr__", _repr)
    make: Any = type(cls)
    made: type[_Class] = make(cls.__name__, cls.__bases__, members)
    return made


def _methods(names: tuple[str, ...], defaults: dict[str, Any], has_post_init: bool) -> dict[str, Any]:
    """The methods whose code depends on the fields, as source that is run: twice as fast as loops over fields."""
    parameters = [f"{name}=_{name}" if name in defaults else name for name in names]
    assignments = [f"_set(self, {name!r}, {name})" for name in names]
    if has_post_init:
        assignments.append("self.__post_init__()")
    source = _METHODS.format(
        parameters=", ".join(parameters),
        assignments="\n    ".join(assignments),
        own="".join(f"self.{name}, " for name in names),
        others="".join(f"other.{name}, " for name in names),
    )
    made: dict[str, Any] = {}
    exec(source, {"_set": object.__setattr__} | {f"_{name}": default for name, default in defaults.items()}, made)
    return made


def fields_of(instance: Any) -> dict[str, Any]:
    """The fields of a value by name; values in them stay values."""
    return dict(zip(instance.__match_args__, _fields(instance), strict=True))


if TYPE_CHECKING:  # which knows the fields
    from dataclasses import replace as replace
else:

    def replace(instance, **changes):
        """A value like another but for these fields, as `dataclasses.replace`, but without the time to import it."""
        return instance.__class__(**fields_of(instance) | changes)


def _fields(instance: Any) -> tuple[Any, ...]:
    return tuple(getattr(instance, name) for name in instance.__match_args__)


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={field!r}" for name, field in fields_of(self).items())
    return f"{self.__class__.__qualname__}({shown})"


def _refuse(self: Any, name: str, *_: object) -> None:
    raise AttributeError(f"{self.__class__.__name__} is immutable: its '{name}' cannot be changed")


def _reduce(self: Any) -> tuple[Any, ...]:
    """For copy and pickle."""
    return self.__class__, _fields(self)


class _Fields:
    """`__dataclass_fields__` of one class, by which `dataclasses` knows its own: made when it first asks."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        self._defaults = defaults
        self._fields: dict[str, Any] | None = None

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        if self._fields is None:
            from dataclasses import dataclass

            twin: Any = dataclass(type(owner.__name__, (), {"__annotations__": owner.__annotations__} | self._defaults))
            self._fields = twin.__dataclass_fields__
        return self._fields
