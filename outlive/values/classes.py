"""Dataclasses, named tuples and enums: their class is named by its module and qualified name, and they are made again
without running any of its code. Classes that have a say in how they are pickled are pickled.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import importlib
import inspect
import sys
import types
from typing import Any

from outlive.errors import PickleRefused, UnknownType

_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")


def name_of(kind: type, *, main: bool) -> str | None:
    """A class as text; None if another process could not find it by that name.

    Parameters
    ----------
    main
        Whether a class of the program itself (`__main__`) counts: other processes run other programs.
    """
    module, name = kind.__module__, kind.__qualname__
    if (module == "__main__" and not main) or _find(sys.modules.get(module), name) is not kind:
        return None
    return f"{module}:{name}"


def class_named(text: object, *, load: bool) -> type:
    """The class that `name_of` wrote. Its module is imported only if `load`: this runs the module's code.

    Raises
    ------
    PickleRefused
        Its module is not imported, and may not be.
    UnknownType
        There is no such class.
    """
    if not isinstance(text, str) or ":" not in text:
        raise TypeError("no class")
    module, _, name = text.partition(":")
    if module not in sys.modules:
        if not load:
            raise PickleRefused(
                f"this value has a {module}.{name}, whose module is not imported here, and this store refuses pickle, "
                f"so it does not import modules that data name either: import {module} first, or allow pickle"
            )
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UnknownType(
                f"this value has a {module}.{name}, and {module} cannot be imported here: {error}"
            ) from error
    found = _find(sys.modules.get(module), name)
    if not isinstance(found, type):
        raise UnknownType(f"this value has a {module}.{name}, which is not there: another version of {module}?")
    return found


def _find(module: object, name: str) -> object:
    found = module
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, type | types.ModuleType) else None
    return found


# --- dataclasses


def fields_of(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass whose values are nothing but their fields; None if it is no such class."""
    if not dataclasses.is_dataclass(kind) or kind.__new__ is not object.__new__ or _has_hooks(kind):
        return None
    names = tuple(field.name for field in dataclasses.fields(kind))
    plain = all(_is_plain(inspect.getattr_static(kind, name, None)) for name in names)
    slots: list[str] = copyreg._slotnames(kind)  # type: ignore[attr-defined]  # noqa: SLF001
    return names if plain and set(slots) <= set(names) else None


def _is_plain(attribute: object) -> bool:
    """Whether setting this attribute of a class's values runs no code of the class."""
    return type(attribute) is types.MemberDescriptorType or not hasattr(type(attribute), "__set__")


def _has_hooks(kind: type) -> bool:
    for name in _HOOKS:
        found = getattr(kind, name, None)
        if found is not getattr(object, name, None) and getattr(found, "__module__", None) != "dataclasses":
            return True
    return False


def state_of(value: object, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The fields that are set; None if the value has more than these."""
    own = getattr(value, "__dict__", {})
    if not own.keys() <= set(names):
        return None
    state = {}
    for name in names:
        if name in own:
            state[name] = own[name]
        elif type(inspect.getattr_static(type(value), name, None)) is types.MemberDescriptorType:
            try:
                state[name] = object.__getattribute__(value, name)
            except AttributeError:
                continue
    return state


def dataclass_of(kind: type, state: dict[str, Any]) -> Any:
    """A dataclass's value with these fields."""
    names = fields_of(kind)
    if names is None or not state.keys() <= set(names):
        raise TypeError(f"{kind.__qualname__} has other fields now")
    value: Any = object.__new__(kind)
    for name, one in state.items():
        object.__setattr__(value, name, one)
    return value


# --- named tuples


def is_namedtuple(kind: type, length: int) -> bool:
    """Whether it is a class of named tuples that have this many fields, and nothing else."""
    fields = getattr(kind, "_fields", None)
    hooks = (name for name in _HOOKS if name != "__getnewargs__")
    return (
        issubclass(kind, tuple)
        and isinstance(fields, tuple)
        and len(fields) == length
        and all(isinstance(name, str) for name in fields)
        and all(getattr(kind, name, None) is getattr(tuple, name, None) for name in hooks)
    )


def namedtuple_of(kind: type, state: dict[str, Any]) -> Any:
    if not is_namedtuple(kind, len(state)) or tuple(state) != kind._fields:  # type: ignore[attr-defined]
        raise TypeError(f"{kind.__qualname__} has other fields now")
    return tuple.__new__(kind, state.values())


# --- enums

_OF_PYTHON = ("enum", "builtins", None)  # modules of the hooks that an enum has anyway


def member_name(value: enum.Enum) -> str | None:
    """The name of an enum's member; None for a combination of flags, and if its class says how it is pickled."""
    name, kind = value._name_, type(value)
    if any(getattr(getattr(kind, hook), "__module__", "enum") not in _OF_PYTHON for hook in _HOOKS[:2]):
        return None
    return name if isinstance(name, str) and type(value).__members__.get(name) is value else None


def member_of(kind: type, name: object) -> Any:
    members = kind.__members__ if issubclass(kind, enum.Enum) else {}
    if name not in members:
        raise UnknownType(f"this value has {kind.__module__}.{kind.__qualname__}.{name}, which is not there")
    return members[str(name)]
