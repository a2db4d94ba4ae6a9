"""Plans: a value is made again of a structure that was read before, without another look at what that has shown.

A structure says all of a value but its bytes. Once a value was made of it, the place, dtype and shape of each array are
known to be right, and so is what refers to what. A structure that is read again and again is short, and most of its
time would go into finding that out once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from outlive.values import arrays
from outlive.values.parts import Form
from outlive.values.wire import Node, kind_of

Array = np.ndarray[Any, Any]
Again = Callable[[list[Any]], Any]
"""Makes a codec's value anew of the parts of its form, in which the parts of other forms are lists."""
_Step = Callable[[list[Any]], Any]
"""Makes the object of a node of the objects of those before it."""


class _Place(NamedTuple):
    """An array: the arguments of `numpy.ndarray`, whose buffer is the whole value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    order: Any


class Plan:
    """How the value of these nodes is made, all of which the last one needs, and which were read without an error.

    Parameters
    ----------
    again
        For each node of a codec, by its number, what makes its value again.

    Raises
    ------
    KeyError
        There is no plan for them.
    """

    def __init__(self, nodes: Sequence[Node], buffers: list[tuple[int, int]], again: Mapping[int, Again]) -> None:
        self._steps = [_step(number, node, buffers, again) for number, node in enumerate(nodes)]
        self.has_codec = bool(again)

    def follow(self, whole: Array) -> Any:
        """The value, over all of its bytes."""
        made: list[Any] = []
        add = made.append
        for step in self._steps:
            if type(step) is _Place:
                shape, dtype, offset, order = step
                add(np.ndarray(shape, dtype, whole, offset, None, order))
            else:
                add(step(made))  # type: ignore[operator]
        return made[-1]


def tried(planner: Callable[[Any, Any], Again | None], state: Any, value: Any) -> Again | None:
    """A function that makes such values again, tried with these parts; None if this version of a library has no way."""
    if type(state) is not Form:
        return None
    try:
        again = planner(state, value)
        works = again is not None and type(again(_parts(state))) is type(value)
    except Exception:  # noqa: BLE001 - any of the library's: it reads as before
        return None
    return again if works else None


def _parts(form: Form) -> list[Any]:
    return [_parts(part) if type(part) is Form else part for part in form.parts]


def _step(number: int, node: Node, buffers: list[tuple[int, int]], again: Mapping[int, Again]) -> _Step | _Place:
    kind = kind_of(node)
    if kind == "array":
        dtype, shape = arrays.layout(node)
        return _Place(shape, dtype, buffers[node["array"]][0], "F" if node.get("fortran") else "C")
    if kind == "codec":
        make = again[number]  # first: a codec of a user's has none, and its state may be plain data
        of = node["state"][0]
        return lambda made: make(made[of])
    return _KINDS[kind](node)


def _items(entries: Iterable[Any]) -> Callable[[list[Any]], list[Any]]:
    """Gives the objects of these entries: of nodes, or plain data."""
    found = [(entry[0], None) if type(entry) is list else (-1, entry) for entry in entries]
    return lambda made: [made[number] if number >= 0 else plain for number, plain in found]


def _dict(node: Node) -> _Step:
    items, keys = _items(node["dict"].values()), list(node["dict"])
    return lambda made: dict(zip(keys, items(made), strict=True))


def _tuple(node: Node) -> _Step:
    items = _items(node["tuple"])
    return lambda made: tuple(items(made))


_KINDS: dict[str, Callable[[Node], _Step]] = {
    "dict": _dict,
    "tuple": _tuple,
    "list": lambda node: _items(node["list"]),
    "form": lambda node: _items(node["of"]),
}
