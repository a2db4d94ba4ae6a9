"""The functions and classes of a module, with the events in them that concern lifetimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outlive.lint.values import UNKNOWN, Definition, Value

if TYPE_CHECKING:
    import libcst as cst


@dataclass(eq=False)
class Argument:
    """One argument of a call, and the name of its parameter, if that is known."""

    node: cst.Arg
    value: Value
    parameter: str | None = None


@dataclass(eq=False)
class Call:
    """A call: the callee and the arguments. `loops`: the loops and comprehensions around it, innermost last."""

    node: cst.Call
    callee: Value
    base: Value  # the value before the last dot
    name: str  # the name behind the last dot
    arguments: list[Argument]
    result: Value
    function: Function
    loops: tuple[Loop, ...]
    tries: int  # `try` statements with handlers around it

    def argument(self, name: str) -> Argument | None:
        """The argument given by this keyword."""
        return next((a for a in self.arguments if a.node.keyword and a.node.keyword.value == name), None)

    def positional(self, index: int) -> Argument | None:
        given = [a for a in self.arguments if a.node.keyword is None and a.node.star == ""]
        return given[index] if index < len(given) else None


@dataclass(eq=False)
class Loop:
    """A for loop, a while loop, or one `for` of a comprehension."""

    node: cst.CSTNode
    target: cst.BaseExpression | None
    iterable: cst.BaseExpression | None
    value: Value  # of the iterable
    tries: int  # the same as in `Call`


@dataclass(eq=False)
class Keeping:
    """A value is stored where it outlives the call: a global, an attribute of a class, module or function."""

    node: cst.CSTNode
    where: str  # as it is written in the source
    value: Value


@dataclass(eq=False)
class Setting:
    """A variable of the process's environment is set. `before`: how many calls of the function come before."""

    node: cst.CSTNode
    name: str
    before: int


@dataclass(eq=False)
class Capture:
    """A function uses a variable of the scope around it."""

    node: cst.Name
    value: Value


@dataclass(eq=False)
class Exit:
    """`return` or `yield`."""

    node: cst.CSTNode
    value: Value


@dataclass(eq=False)
class Function(Definition):
    """A function or method. The module itself counts as one, without a node."""

    name: str
    node: cst.FunctionDef | None
    owner: Class | None = None
    parameters: tuple[str, ...] = ()  # `self` left out
    annotations: dict[str, Value] = field(default_factory=dict)  # parameters that are annotated as refs
    decorators: tuple[Value, ...] = ()
    binds: frozenset[str] = frozenset()  # the names that it binds, without parameters
    is_generator: bool = False
    nested: bool = False  # inside another function
    received: dict[str, list[Value]] = field(default_factory=dict)  # the values that callers pass, by parameter
    returned: Value = UNKNOWN  # all returns merged, as of the last pass
    calls: list[Call] = field(default_factory=list)
    keepings: list[Keeping] = field(default_factory=list)
    captures: list[Capture] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    stored: dict[str, list[tuple[str, cst.CSTNode]]] = field(default_factory=dict)  # parameter -> attributes of self
    kept: set[cst.CSTNode] = field(default_factory=set)  # sites of the refs that it leaves in attributes of self
    runs: dict[Function, None] = field(default_factory=dict)  # plain functions that it calls, in the same process

    @property
    def is_task(self) -> bool:
        return self.options is not None

    @property
    def label(self) -> str:
        return f"{self.owner.name}.{self.name}" if self.owner else self.name

    def extent(self) -> list[Function]:
        """This function, and all plain functions of the module that it calls, directly or not."""
        found = {self: None}
        queue = [self]
        while queue:
            for function in queue.pop().runs:
                if function not in found:
                    found[function] = None
                    queue.append(function)
        return list(found)

    def forget(self) -> None:
        """Make ready for another pass."""
        self.calls, self.keepings, self.captures, self.exits = [], [], [], []
        self.stored, self.runs, self.kept, self.settings = {}, {}, set(), []


@dataclass(eq=False)
class Class(Definition):
    """A class."""

    name: str
    node: cst.ClassDef
    methods: dict[str, Function] = field(default_factory=dict)
    of_class: set[str] = field(default_factory=set)  # bound in the class body
    of_instance: set[str] = field(default_factory=set)  # bound as an attribute of `self`

    def shares(self, name: str) -> bool:
        """Whether all instances share this attribute."""
        return name in self.of_class and name not in self.of_instance

    @property
    def is_actor(self) -> bool:
        return self.options is not None
