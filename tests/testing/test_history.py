"""The history checker accepts what a register can do, and nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlive.testing.history import History, Operation, Recorder
from tests.long import few

KEY = "k"


def parse(text: str) -> History:
    """One operation a line: its time as a bar, then what it is. The bar's end is `|`; `~` never returned.

    `put 1`, `del`, `get 1`, `get -`; `?` behind it: an error of the connection, `!`: it failed for certain.
    """
    operations = []
    for number, line in enumerate(filter(str.strip, text.splitlines())):
        start, end = line.index("|"), line.rindex("|") if "~" not in line else line.index("~")
        kind, *rest = line[end + 1 :].split()
        value = int(rest[0]) if rest and rest[0].isdigit() else None
        open_ended = "~" in line
        outcome = "unknown" if open_ended or "?" in rest else "failed" if "!" in rest else "done"
        name = {"del": "delete"}.get(kind, kind)
        returned = None if open_ended else end
        operations.append(Operation(f"c{number}", name, KEY, value, start, returned, outcome))
    return History(operations)


GOOD = {
    "nothing": "",
    "one after the other": """
        |--|                     put 1
             |--|                get 1
                  |--|           put 2
                       |--|      get 2
                            |--| del
                                |--| get -
    """,
    "a read during a put sees the old one or the new one": """
        |--|                     put 1
             |---------------|   put 2
              |--|               get 1
                  |--|           get 2
                       |--|      get 2
    """,
    "two puts at the same time, in either order": """
        |---------------|        put 1
        |---------------|        put 2
                          |--|   get 1
    """,
    "a deletion of nothing": """
        |--|                     del
             |--|                get -
    """,
    "an unknown put is seen late": """
        |--|                     put 1
             |--|                put 2 ?
                  |--|           get 1
                       |--|      get 1
                            |--| get 2
    """,
    "an unknown put is never seen": """
        |--|                     put 1
             |--~                put 2
                  |--|           get 1
    """,
    "an unknown put takes effect after a later put": """
        |--~                     put 1
             |--|                put 2
                  |--|           get 2
                       |--|      get 1
    """,
    "an unknown deletion is seen late": """
        |--|                     put 1
             |--~                del
                  |--|           get 1
                       |--|      get -
    """,
    "two unknown deletions, each seen": """
        |--|                                put 1
             |--~                           del
             |--~                           del
                  |--|                      get -
                       |--|                 put 2
                            |--|            get 2
                                 |--|       get -
    """,
    "a put that failed": """
        |--|                     put 1
             |--|                put 2 !
                  |--|           get 1
    """,
    "an unknown read says nothing": """
        |--|                     put 1
             |--|                get ?
    """,
}

BAD = {
    "a read of what nobody put": """
        |--|                     put 1
             |--|                get 2
    """,
    "a read before the put": """
        |--|                     get 1
             |--|                put 1
    """,
    "a read before an unknown put": """
        |--|                     get 1
             |--~                put 1
    """,
    "a stale read after an overwrite returned": """
        |--|                     put 1
             |--|                put 2
                  |--|           get 1
    """,
    "old after new was seen, though the put goes on": """
        |--|                     put 1
             |---------------|   put 2
              |--|               get 2
                   |--|          get 1
    """,
    "a lost update": """
        |--|                     put 1
             |--|                get 1
                  |--|           put 2
                       |--|      get 1
    """,
    "a put that returned and is not there": """
        |--|                     put 1
             |--|                get -
    """,
    "deleted, and still read": """
        |--|                     put 1
             |--|                del
                  |--|           get 1
    """,
    "deleted, and read again later": """
        |--|                     put 1
             |--|                del
                  |--|           get -
                       |--|      get 1
    """,
    "an unknown put is seen, then the one before it": """
        |--|                     put 1
             |--~                put 2
                  |--|           get 2
                       |--|      get 1
    """,
    "an unknown put is seen, vanishes, and is seen again": """
        |--|                     put 1
             |--~                put 2
                  |--|           get 2
                       |--|      put 3
                            |--| get 2
    """,
    "an unknown put is seen, then nothing": """
        |--~                     put 1
             |--|                get 1
                  |--|           get -
    """,
    "one unknown deletion does not explain two": """
        |--|                                put 1
             |--~                           del
                  |--|                      get -
                       |--|                 put 2
                                 |--|       get -
    """,
    "an unknown deletion comes too late": """
        |--|                     put 1
             |--|                get -
                  |--~           del
    """,
    "a put that failed is seen": """
        |--|                     put 1 !
             |--|                get 1
    """,
    "two readers see two puts in different orders": """
        |---------------------|  put 1
        |---------------------|  put 2
         |--|                    get 1
              |--|               get 2
                   |--|          get 1
    """,
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_good(history):
    assert parse(history).check() == []


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_bad(history):
    (violation,) = parse(history).check()
    assert violation.operation in violation.window
    assert violation.operation.kind == "get"


def test_a_violation_is_told():
    (violation,) = parse(BAD["a stale read after an overwrite returned"]).check()
    assert str(violation).splitlines()[:2] == [
        "cannot be explained: [0.000 0.000] c2: get 'k' -> 1",
        "the key could hold: 2; milliseconds, clients:",
    ]
    assert [operation.client for operation in violation.window] == ["c0", "c1", "c2"]


def test_each_key_is_judged_by_itself():
    operations = parse(BAD["a lost update"]).operations
    others = [operation._replace(key=f"other{number}") for number, operation in enumerate(operations)]
    violations = History([*operations, *others]).check()
    assert [violation.operation.key for violation in violations] == [KEY, "other1", "other3"]


def test_a_value_that_is_put_twice_is_refused():
    history = History([Operation("a", "put", KEY, 1, 0, 1), Operation("b", "put", KEY, 1, 2, 3)])
    with pytest.raises(ValueError, match="1 is put twice"):
        history.check()


def test_what_is_recorded_and_saved_is_read_again(tmp_path: Path):
    one, other = Recorder(tmp_path / "one", "one"), Recorder(tmp_path / "other", "other")
    put = one.invoke("put", "a", 1)
    get = other.invoke("get", "a")
    one.respond(put)
    other.respond(get, 1)
    failed = one.invoke("put", "b", 2)
    one.respond(failed, outcome="failed")
    lost = other.invoke("get", "b")
    other.respond(lost, outcome="unknown")
    one.invoke("delete", "a")  # and is killed
    one.close()
    other.close()
    history = History.load([tmp_path / "one", tmp_path / "other"])
    kinds = [(operation.kind, operation.value, operation.outcome) for operation in history.operations]
    assert kinds == [
        ("put", 1, "done"),
        ("get", 1, "done"),
        ("put", 2, "failed"),
        ("get", None, "unknown"),
        ("delete", None, "unknown"),
    ]
    assert [operation.returned is None for operation in history.operations] == [False] * 4 + [True]
    history.save(tmp_path / "saved")
    assert History.load([tmp_path / "saved"]).operations == history.operations


# --- random ones


def simulated(seed: int, clients: int, count: int, lossy: float) -> list[Operation]:
    """What clients of an atomic register record: each operation takes effect at one moment between its ends.

    Of those whose client hears nothing (`lossy` of them), some take effect much later, and some never.
    """
    rng = random.Random(seed)
    planned: list[tuple[float, Operation]] = []
    for client in range(clients):
        now = rng.randrange(10)
        for number in range(count):
            kind = rng.choice(["put", "put", "get", "get", "get", "delete"])
            invoked, effect = now, now + rng.uniform(0, 20)
            returned = int(effect + rng.uniform(0, 20)) + 1
            value = client * count + number + 1 if kind == "put" else None
            operation = Operation(f"c{client}", kind, rng.choice("ab"), value, invoked, returned)
            if rng.random() < lossy:
                operation = operation._replace(outcome="unknown", returned=rng.choice([None, returned]))
                effect = rng.choice([effect, effect + rng.uniform(0, 300), float("inf")])
            planned.append((effect, operation))
            now = returned + rng.randrange(3)
    held: dict[str, int | None] = {}
    operations = []
    for effect, operation in sorted(planned, key=lambda one: one[0]):
        seen = operation
        if operation.kind == "get":
            seen = operation._replace(value=held.get(operation.key) if operation.outcome == "done" else None)
        elif effect != float("inf"):
            held[operation.key] = operation.value
        operations.append(seen)
    return operations


SIZES = {"seed": st.integers(0, 2**32), "clients": st.integers(1, 6), "lossy": st.sampled_from([0, 0.1, 0.5])}


@settings(max_examples=few(200), deadline=None)
@given(count=st.integers(1, 40), **SIZES)
def test_a_real_register_is_accepted(seed, clients, count, lossy):
    assert History(simulated(seed, clients, count, lossy)).check() == []


def overwritten(operations: list[Operation]) -> Iterator[tuple[Operation, int | None]]:
    """Each read with a value that was overwritten strictly before it was invoked, by puts that are certain."""
    puts = [one for one in operations if one.kind == "put" and one.outcome == "done" and one.returned is not None]
    for read in operations:
        if read.kind == "get" and read.outcome == "done":
            for old, new in itertools.permutations([put for put in puts if put.key == read.key], 2):
                if old.returned < new.invoked and new.returned < read.invoked:
                    yield read, old.value


@settings(max_examples=few(200), deadline=None)
@given(count=st.integers(8, 25), choice=st.randoms(use_true_random=False), **SIZES)
def test_a_read_of_what_was_overwritten_is_rejected(seed, clients, count, lossy, choice):
    operations = simulated(seed, clients, count, lossy)
    candidates = list(overwritten(operations))
    if not candidates:
        return
    read, stale = choice.choice(candidates)
    mutated = [one._replace(value=stale) if one is read else one for one in operations]
    violations = History(mutated).check()
    assert [violation.operation.key for violation in violations] == [read.key]


def by_trying(operations: list[Operation]) -> bool:
    """Whether any order of any choice of the unknown ones explains all: the definition, taken at its word."""
    sure = [one for one in operations if one.outcome == "done"]
    unsure = [one for one in operations if one.outcome == "unknown" and one.kind != "get"]
    ends = {one: one.returned if one.outcome == "done" else float("inf") for one in operations}
    for size in range(len(unsure) + 1):
        for some in itertools.combinations(unsure, size):
            for order in itertools.permutations([*sure, *some]):
                if any(ends[later] < earlier.invoked for earlier, later in itertools.combinations(order, 2)):
                    continue
                value = None
                for one in order:
                    if one.kind == "get" and one.value != value:
                        break
                    value = one.value
                else:
                    return True
    return False


@st.composite
def small_histories(draw: st.DrawFn) -> list[Operation]:
    operations = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["put", "get", "get", "delete"]))
        value = number if kind == "put" else draw(st.sampled_from([None, 0, 1, 2, 3])) if kind == "get" else None
        invoked = draw(st.integers(0, 8))
        outcome = draw(st.sampled_from(["done", "done", "unknown"]))
        returned = None if outcome == "unknown" else invoked + draw(st.integers(0, 4))
        operations.append(Operation(f"c{number}", kind, KEY, value, invoked, returned, outcome))
    return operations


@settings(max_examples=few(1000), deadline=None)
@given(small_histories())
def test_as_by_trying_all_orders(operations):
    assert (History(operations).check() == []) == by_trying(operations)
