"""Histories: decides whether a history of reads and writes is linearizable, with each key as a register of its own.

A history is linearizable if each operation can be given one moment between its invocation and its response, so that the
operations, one after the other in that order, read what they did read (Herlihy and Wing, "Linearizability: a
correctness condition for concurrent objects", TOPLAS 12(3), 1990). Keys are judged one by one, as the condition is
local (ibid.).

The search is that of Wing and Gong ("Testing and verifying concurrent objects", JPDC 17, 1993), just in time and with a
memory of known configurations, as in Lowe ("Testing for linearizability", CCPE 29(4), 2017). It walks through the
responses in the order of time, and keeps all configurations that explain everything so far. A configuration says which
open operations have taken effect, and what the key holds. A response that leaves no configuration cannot be explained.

An operation of unknown outcome (its process was killed, or its answer was an error of the connection) may have taken
effect at any moment after its invocation, or never. Every put of a key has a value of its own. So:

- A put of unknown outcome whose value nobody read explains nothing, and is left out. If its value was read, it took
  effect before the first such read returned.
- A deletion of unknown outcome explains only reads that find no array. It is tried right before such a read, beginning
  with the deletion that was invoked first.

A client records each operation before it begins, so that a client that is killed leaves a whole history:

    recorder = Recorder(folder / "client-1.jsonl", "client-1")
    number = recorder.invoke("put", "k", 7)
    store["k"] = np.full(1000, 7)
    recorder.respond(number)
    violations = History.load(folder.glob("*.jsonl")).check()
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["put", "delete", "get"]
Outcome = Literal["done", "failed", "unknown"]
_SHOWN = 12  # operations of a violation


class Operation(NamedTuple):
    """An operation of one client with one key."""

    client: str
    kind: Kind
    key: str
    value: int | None  # the value that was put, or that a get returned; None: no array
    invoked: int  # nanoseconds of time.monotonic_ns, which all processes of a machine share
    returned: int | None = None  # None: it never returned
    outcome: Outcome = "done"  # "failed": it certainly had no effect

    def __str__(self) -> str:
        end = "     ..." if self.returned is None else f"{self.returned / 1e6:.3f}"
        return f"[{self.invoked / 1e6:.3f} {end}] {self.client}: {self._what()}"

    def _what(self) -> str:
        unknown = "" if self.outcome == "done" else f" ({self.outcome})"
        if self.kind == "get":
            return f"get {self.key!r} -> {self.value}{unknown}"
        return f"{self.kind} {self.key!r}{f' = {self.value}' if self.kind == 'put' else ''}{unknown}"


class Violation(NamedTuple):
    """A get whose value no order of the operations explains."""

    operation: Operation
    possible: list[int | None]  # the values that the key may have held when it returned
    window: list[Operation]  # the last few operations of this key, and the put of the value that was read

    def __str__(self) -> str:
        held = ", ".join(sorted(map(str, self.possible)))
        window = "".join(f"\n  {operation}" for operation in self.window)
        return f"cannot be explained: {self.operation}\nthe key could hold: {held}; milliseconds, clients:{window}"


class Recorder:
    """Appends one client's invocations and responses to a file of its own, each before the client goes on."""

    def __init__(self, path: str | os.PathLike[str], client: str) -> None:
        self.client, self._last = client, 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def invoke(self, kind: Kind, key: str, value: int | None = None) -> int:
        """Record an invocation; returns its number, for `respond`."""
        self._last += 1
        what = {"client": self.client, "number": self._last, "kind": kind, "key": key, "value": value}
        self._write(what | {"invoked": time.monotonic_ns()})
        return self._last

    def respond(self, number: int, value: int | None = None, outcome: Outcome = "done") -> None:
        """Record how an operation ended; `value` is the value that a get returned."""
        ended = {"returned": time.monotonic_ns(), "value": value, "outcome": outcome}
        self._write({"client": self.client, "number": number} | ended)

    def _write(self, event: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(event).encode() + b"\n")

    def close(self) -> None:
        os.close(self._fd)


class History:
    """The operations of many clients."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = sorted(operations, key=lambda operation: operation.invoked)

    @classmethod
    def load(cls, paths: Iterable[str | os.PathLike[str]]) -> History:
        """Read files of JSON lines, by `Recorder` or by `save`."""
        operations: dict[tuple[str, int], Operation] = {}
        for path in paths:
            for line in Path(path).read_text().splitlines():
                event = json.loads(line)
                name = event["client"], event["number"]
                if "invoked" in event:
                    what = event["kind"], event["key"], event["value"], event["invoked"]
                    operations[name] = Operation(event["client"], *what, returned=None, outcome="unknown")
                if event.get("returned") is not None:
                    ended = operations[name]._replace(returned=event["returned"], outcome=event["outcome"])
                    operations[name] = ended._replace(value=event["value"]) if ended.kind == "get" else ended
        return cls(operations.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON lines, one an operation, for `load`."""
        events = [{"number": number, **operation._asdict()} for number, operation in enumerate(self.operations)]
        Path(path).write_text("".join(json.dumps(event) + "\n" for event in events))

    def check(self) -> list[Violation]:
        """The first read of each key that cannot be explained; empty if the history is linearizable.

        Before the first operation, no key has an array.

        Raises
        ------
        ValueError
            Two puts of a key have the same value: a read could not tell them apart.
        """
        by_key = defaultdict(list)
        for operation in self.operations:
            by_key[operation.key].append(operation)
        return [violation for operations in by_key.values() for violation in _check_key(operations)]


class _Config(NamedTuple):  # a configuration: one way to explain everything so far
    done: frozenset[int]  # the open operations that have taken effect
    value: int | None
    deleted: int  # how many deletions of unknown outcome have taken effect


def _check_key(operations: list[Operation]) -> Iterator[Violation]:
    """Yields at most one violation."""
    certain, deletions = _settle(operations)
    # At the same nanosecond the invocation comes first: the two may have overlapped.
    events = [(operation.invoked, 0, index) for index, operation in enumerate(certain)]
    events += [(operation.returned or 0, 1, index) for index, operation in enumerate(certain)]
    search = _Search(certain)
    for moment, returns, index in sorted(events):
        while search.deletions < len(deletions) and deletions[search.deletions] <= moment:
            search.deletions += 1
        if not returns:
            search.open[index] = certain[index]
            continue
        before = search.configs
        if not search.responds(index):
            possible = list({config.value for config in search.explore(before)})
            yield Violation(certain[index], possible, _window(operations, certain[index]))
            return


def _settle(operations: list[Operation]) -> tuple[list[Operation], list[int]]:
    """The operations that took effect, each with its end; and when deletions were invoked that may have."""
    first_read: dict[int | None, int] = {}
    values: set[int | None] = set()
    for operation in operations:
        if operation.kind == "get" and operation.outcome == "done" and operation.returned is not None:
            first_read[operation.value] = min(operation.returned, first_read.get(operation.value, operation.returned))
        if operation.kind == "put":
            if operation.value in values:
                raise ValueError(f"key {operation.key!r}: {operation.value} is put twice; use a new value for each put")
            values.add(operation.value)
    certain, deletions = [], []
    for operation in operations:
        if operation.outcome == "done" and operation.returned is not None:
            certain.append(operation)
        elif operation.outcome == "unknown" and operation.kind == "put" and operation.value in first_read:
            end = max(first_read[operation.value], operation.invoked)  # it may have been read before it was invoked
            certain.append(operation._replace(returned=end))
        elif operation.outcome != "failed" and operation.kind == "delete":
            deletions.append(operation.invoked)
    return certain, sorted(deletions)


class _Search:
    """All configurations that explain one key's operations so far."""

    def __init__(self, operations: list[Operation]) -> None:
        self.operations, self.configs = operations, {_Config(frozenset(), None, 0)}
        self.read = {operation.value for operation in operations if operation.kind == "get"} - {None}
        self.open: dict[int, Operation] = {}  # operations that were invoked and have not returned
        self.deletions = 0  # how many deletions of unknown outcome were invoked so far

    def responds(self, index: int) -> bool:
        """Keep the configurations that explain that an open operation returns now; False if none does."""
        fewest: dict[tuple[frozenset[int], int | None], int] = {}
        for done, value, deleted in self.explore(self.configs, index):
            if index in done:
                kept = done - {index}, value
                fewest[kept] = min(deleted, fewest.get(kept, deleted))  # an unused deletion can be used later
        self.configs = {_Config(*kept, deleted) for kept, deleted in fewest.items()}
        del self.open[index]
        return bool(self.configs)

    def explore(self, configs: set[_Config], until: int | None = None) -> set[_Config]:
        """These configurations, and all that follow from them as open operations take effect now, up to `until`."""
        seen: set[_Config] = set()
        stack = [self._read(config) for config in configs]
        while stack:
            config = stack.pop()
            if config not in seen:
                seen.add(config)
                if until not in config.done:
                    stack += [self._read(after) for after in self._steps(config, until)]
        return seen

    def _steps(self, config: _Config, until: int | None) -> Iterator[_Config]:
        wanted = {one.value for index, one in self.open.items() if one.kind == "get" and index not in config.done}
        for index, operation in self.open.items():
            if index in config.done or operation.kind == "get":
                continue
            # A put whose value is read takes effect just before its first reader, or at its response.
            if index == until or operation.value in wanted or operation.value not in self.read:
                yield config._replace(done=config.done | {index}, value=operation.value)
        if None in wanted and config.value is not None and config.deleted < self.deletions:
            yield config._replace(value=None, deleted=config.deleted + 1)

    def _read(self, config: _Config) -> _Config:
        """The configuration after every open get that may read this value has read it: a later read is no better."""
        reads = {i for i, one in self.open.items() if one.kind == "get" and one.value == config.value}
        return config._replace(done=config.done | reads)


def _window(operations: list[Operation], culprit: Operation) -> list[Operation]:
    """The operations that led to it, by invocation: the put of the value that was read, and the last few."""
    before = [one for one in operations if one.invoked <= (culprit.returned or 0)]
    source = [one for one in before[:-_SHOWN] if one.kind == "put" and one.value == culprit.value]
    return source + before[-_SHOWN:]
