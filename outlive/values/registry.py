"""Codecs: how values of a type become simpler ones, and back.

    encode(value) -> state     plain data: arrays, dicts, lists, tuples, numbers, text, bytes, values of other codecs
    decode(state) -> value

The state's large buffers are written once, straight from where they are, and come back as views of the segment. So a
codec hands out an array over its bytes, as `numpy.frombuffer(memory, numpy.uint8)`, and not `bytes`, which are copied.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from outlive.errors import UnknownType
from outlive.values.libraries import CODECS, LIBRARIES

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_.+-]{0,63}")
RESERVED = frozenset({"array", "numpy", "pickle", "tree"})
"""Names of what needs no codec."""
BUILT_IN = frozenset({
    type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, OrderedDict, set, frozenset,
    np.ndarray,
})  # fmt: skip
"""Types that need none."""


class Codec(NamedTuple):
    """A codec as it is registered."""

    name: str
    type: type
    encode: Callable[[Any], Any]
    """May return NotImplemented for a value that it cannot keep exactly: that is then pickled."""
    decode: Callable[[Any], Any]
    package: str
    """The package that has the codec or its type, for who lacks it."""
    subclasses: bool = False
    private: bool = False
    """Its values may be written to after reading: they are read over a private, copy-on-write map."""


_by_type: dict[type, Codec] = {}
_by_name: dict[str, Codec] = {}
Planner = Callable[[Any, Any], Callable[[list[Any]], Any] | None]
"""Takes a form and the value that was decoded of it, and gives what makes such values of the parts of such forms. This
keeps nothing of that value's bytes. None: there is no faster way than `decode`."""
_planners: dict[str, Planner] = {}


def register(
    type: type[T],  # noqa: A002 - as a keyword it says the most
    encode: Callable[[T], Any],
    decode: Callable[[Any], T],
    *,
    name: str,
    subclasses: bool = False,
    private: bool = False,
    package: str | None = None,
) -> None:
    """Have values of `type` stored without pickle: as what `encode` makes of them, and `decode` turns back.

    Every process that reads such values has to register the codec too.

    Parameters
    ----------
    encode
        Turns a value into plain data: arrays, dicts, lists, tuples, numbers, text, bytes, or values that outlive knows.
        It may return `NotImplemented` for a value that it cannot keep exactly, which is then pickled.
    decode
        Turns such data into the value. Its arrays are read-only views of the segment: it must not write to them.
    name
        Names the codec in the stored value: lower-case letters, digits, and any of `_.+-`. It has to stay the same for
        as long as values are stored, as the form of the data has.
    subclasses
        It is for subclasses too, which then come back as what `decode` makes.
    private
        The values may be written to after reading. Each reading then has a private map, which is copied on writing.
    package
        The package that registers the codec, for the error where it is missing. By default the type's.

    Raises
    ------
    ValueError
        The name is not valid, or another type's; or outlive stores the type without a codec.

    Examples
    --------
    >>> class Point:
    ...     def __init__(self, x, y):
    ...         self.x, self.y = x, y
    >>> register(Point, lambda p: [p.x, p.y], lambda state: Point(*state), name="point")
    """
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise ValueError(
            f"a codec's name has lower-case letters, digits and any of _.+- and is none of "
            f"{', '.join(sorted(RESERVED))}; not {name!r}"
        )
    if type in BUILT_IN:
        raise ValueError(f"{type.__qualname__} needs no codec, and has none: outlive stores it itself")
    known = _by_name.get(name)
    if known is not None and _full_name(known.type) != _full_name(type):  # the same module may be loaded again
        raise ValueError(f"the codec {name!r} is registered for {_full_name(known.type)}, not {_full_name(type)}")
    home = type.__module__.partition(".")[0] if package is None else package
    codec = Codec(name, type, encode, decode, home, subclasses, private)
    if known is not None:
        _by_type.pop(known.type, None)
    _by_type[type], _by_name[name] = codec, codec


def plan_by(name: str, planner: Planner) -> None:
    """Have values of the codec `name` made by a plan when their structure is read again. See `plans`."""
    _planners[name] = planner


def planner_of(name: str) -> Planner | None:
    return _planners.get(name)


def codec_for(kind: type) -> Codec | None:
    """The codec for values of this type; None if there is none."""
    codec = _by_type.get(kind)
    if codec is not None:
        return codec
    module = LIBRARIES.get(kind.__module__.partition(".")[0])
    if module is not None and module not in sys.modules:
        with contextlib.suppress(ImportError):  # the library itself is loaded, but maybe not all that its codecs need
            importlib.import_module(module)
        codec = _by_type.get(kind)
    if codec is None:  # the nearest base whose codec takes subclasses
        for base in kind.__mro__[1:]:
            found = _by_type.get(base)
            if found is not None and found.subclasses:
                return found
    return codec


def codec_named(name: str, package: str) -> Codec:
    """The codec with this name, which a stored value asks for.

    Raises
    ------
    UnknownType
        There is none in this process. The message names the package.
    """
    codec = _by_name.get(name)
    if codec is None and name in CODECS:
        module, package = CODECS[name]
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UnknownType(
                f"this value was stored by the codec {name!r}, which needs the package {package} ({error}): "
                f"install it here, e.g. pip install {package}"
            ) from None
        codec = _by_name.get(name)
    if codec is None:
        raise UnknownType(
            f"this value was stored by the codec {name!r} of the package {package}: import what registers it by "
            "outlive.codecs.register, and read again"
        )
    return codec


def is_private(name: str) -> bool:
    """Whether the codec with this name is known here, and its values may be written to after reading."""
    codec = _by_name.get(name)
    return codec is not None and codec.private


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
