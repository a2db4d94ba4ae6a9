"""Values of expressions, as far as lifetimes are concerned: an ObjectRef, a collection of them, an actor, ...

Everything else is `UNKNOWN` or `PLAIN`. Rules report nothing for an unknown value.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import libcst as cst

_DEPTH = 4  # levels of refs to refs and lists of lists; a value that is nested deeper is unknown


class Kind(enum.Enum):
    """The kind of a value."""

    UNKNOWN = enum.auto()
    PLAIN = enum.auto()  # certainly neither a ref nor a holder of refs
    NONE = enum.auto()  # the literal None: the variable may get any value later
    REF = enum.auto()  # an ObjectRef; `inner` is the result of ray.get
    COLLECTION = enum.auto()  # list, tuple, set; `inner` is an element
    MAPPING = enum.auto()  # dict; `inner` is a value of it
    SYMBOL = enum.auto()  # an import or an attribute of one; `symbol` is its dotted name
    FUNCTION = enum.auto()
    CLASS = enum.auto()
    INSTANCE = enum.auto()
    REMOTE = enum.auto()  # ray.remote(max_calls=2), which waits for its function or class
    TASK = enum.auto()  # a remote function
    ACTOR_CLASS = enum.auto()
    ACTOR = enum.auto()  # a handle
    ACTOR_METHOD = enum.auto()


@dataclass(eq=False, kw_only=True)
class Definition:
    """The definition of a value: a function or a class of the module (`definitions` has both)."""

    options: Mapping[str, cst.BaseExpression] | None = None  # of ray.remote; None: neither a task nor an actor
    attributes: dict[str, Value] = field(default_factory=dict)  # of a class and of its instances


@dataclass(frozen=True)
class Value:
    """One possible value. `sites` are the calls that made the refs in it, or the parameter that passed them in."""

    kind: Kind
    inner: Value | None = None
    items: tuple[Value, ...] = ()  # of a tuple or list display whose elements are of different kinds
    symbol: str = ""
    definition: Definition | None = None
    options: Mapping[str, cst.BaseExpression] = field(default_factory=dict, hash=False)
    sites: frozenset[cst.CSTNode] = frozenset()
    entries: frozenset[cst.CSTNode] = frozenset()  # the constructor calls of which this may be the object itself
    parameter: str = ""  # the name of the parameter whose unchanged value this is
    keys: frozenset[str] = frozenset()  # of a dict: those that are literals, and whose value is not None
    is_list: bool = False
    awaited: bool = False  # from ray.wait: ready, or known to be not

    @property
    def is_refs(self) -> bool:
        """A collection whose every element is an ObjectRef."""
        return self.kind in {Kind.COLLECTION, Kind.MAPPING} and self.inner is not None and self.inner.kind is Kind.REF

    @property
    def depth(self) -> int:
        return 1 + (self.inner.depth if self.inner else 0)


UNKNOWN = Value(Kind.UNKNOWN)
PLAIN = Value(Kind.PLAIN)
NONE = Value(Kind.NONE)


def symbol(name: str) -> Value:
    return Value(Kind.SYMBOL, symbol=name)


def ref(inner: Value, *sites: cst.CSTNode) -> Value:
    inner = inner if inner.depth < _DEPTH else UNKNOWN
    return Value(Kind.REF, inner=inner, sites=frozenset(sites))


def collection(elements: Iterable[Value], *, is_list: bool = False) -> Value:
    """A list, tuple or set of these elements."""
    elements = tuple(elements)
    inner = merged(elements) if elements else None
    if inner is not None and inner.depth >= _DEPTH:
        inner = UNKNOWN
    same = len({element.kind for element in elements}) <= 1
    return Value(
        Kind.COLLECTION,
        inner=inner,
        items=() if same and len(elements) > 8 else elements[:8],
        sites=frozenset().union(*(element.sites for element in elements)),
        is_list=is_list,
    )


def mapping(values: Iterable[Value]) -> Value:
    return replace(collection(values), kind=Kind.MAPPING, items=())


def merged(values: Iterable[Value]) -> Value:
    """The value that may be any of these. If their kinds differ, it is unknown, but the sites are kept."""
    result: Value | None = None
    for value in values:
        result = value if result is None else _merge(result, value)
    return UNKNOWN if result is None else result


def _merge(a: Value, b: Value) -> Value:
    if a == b or b.kind is Kind.NONE:
        return a
    if a.kind is Kind.NONE:
        return b
    sites, entries = a.sites | b.sites, a.entries | b.entries
    if a.kind is not b.kind:
        return Value(Kind.UNKNOWN, sites=sites, entries=entries)
    inner = merged([part for part in (a.inner, b.inner) if part is not None]) if a.inner or b.inner else None
    items = tuple(map(_merge, a.items, b.items)) if len(a.items) == len(b.items) else ()
    return Value(
        a.kind,
        inner=inner,
        items=items,
        symbol=a.symbol if a.symbol == b.symbol else "",
        definition=a.definition if a.definition is b.definition else None,
        options={**a.options, **b.options},
        sites=sites,
        entries=entries,
        keys=a.keys | b.keys,
        parameter=a.parameter if a.parameter == b.parameter else "",
        is_list=a.is_list and b.is_list,
        awaited=a.awaited or b.awaited,
    )


def element(value: Value) -> Value:
    """The elements that iteration gives."""
    if value.kind is Kind.COLLECTION and value.inner is not None:
        return replace(value.inner, awaited=value.inner.awaited or value.awaited)
    return UNKNOWN


def item(value: Value, index: int | None) -> Value:
    """The value of `value[index]`. `index` is None if it is not a literal."""
    if value.kind is Kind.COLLECTION and index is not None and value.items:
        return value.items[index] if -len(value.items) <= index < len(value.items) else UNKNOWN
    if value.kind in {Kind.COLLECTION, Kind.MAPPING} and value.inner is not None:
        return value.inner
    return UNKNOWN


def fetched(value: Value) -> Value:
    """The result of `ray.get(value)`."""
    if value.kind is Kind.REF:
        return value.inner or UNKNOWN
    if value.kind is Kind.COLLECTION:
        return collection([fetched(value.inner)] if value.inner else [], is_list=True)
    return UNKNOWN


def carried(value: Value, *, _depth: int = 0) -> frozenset[cst.CSTNode]:
    """The sites of all refs that live as long as `value` does."""
    if _depth > _DEPTH:
        return frozenset()
    if value.kind is Kind.REF:
        return value.sites
    found: frozenset[cst.CSTNode] = frozenset()
    if value.kind in {Kind.COLLECTION, Kind.MAPPING}:
        for part in (*value.items, *([value.inner] if value.inner else [])):
            found |= carried(part, _depth=_depth + 1)
    elif value.kind is Kind.INSTANCE and value.definition is not None:
        for attribute in value.definition.attributes.values():
            found |= carried(attribute, _depth=_depth + 1)
    return found
