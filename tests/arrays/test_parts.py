"""Several processes fill one draft: killed, stopped, forked, late, and beside an owner that seals or discards it."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays import parts, segment
from outlive.arrays.draft import Draft
from outlive.arrays.dtypes import encode_dtype
from outlive.arrays.info import ArrayInfo, new_version
from outlive.arrays.layout import GATE
from outlive.arrays.parts import Region
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check, clear_orphans
from outlive.arrays.writer import Writer, mapped
from outlive.catalog.wire import pack, unpack
from outlive.cluster.checksum import checksum
from outlive.cluster.filling import Some, fill, send_part
from outlive.cluster.keeper import Keeper
from outlive.cluster.port import Call, Left, NoAnswer, Nobody
from outlive.errors import CorruptArray, CreationEnded, StoreFull, StoreUnavailable, UnsupportedArray
from outlive.node import Node
from outlive.store import session
from outlive.store.parts import Parts, part_of
from tests.arrays.local_store import assert_counted
from tests.conftest import eventually
from tests.forking import exit_code

MIB = 1 << 20
COUNT = 2 * MIB  # items of one byte: a segment that is recycled
HALF = COUNT // 2
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def described(shape: tuple[int, ...], dtype: Any, order: str = "C") -> ArrayInfo:
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape)) * dtype.itemsize
    kind: Any = {"fortran": order == "F", "store": "default", "key": None, "version": new_version()}
    return segment.describe(encode_dtype(dtype), shape, nbytes, **kind)


def begin(shelf: Shelf, shape: tuple[int, ...] = (COUNT,), dtype: Any = "u1", order: str = "C") -> tuple[Draft, Bytes]:
    """What entering the block of `create` does."""
    draft = Draft.make(shelf, described(shape, dtype, order))
    out = mapped(draft)
    draft.open_gate()
    return draft, out


def end(draft: Draft) -> None:
    """What leaving the block does."""
    try:
        draft.detach()
        draft.seal()
    except BaseException:
        draft.discard()
        raise


def write(shelf: Shelf, info: ArrayInfo, index: Any, value: Any) -> None:
    """What `creation[index] = value` does on the creation's node."""
    region, source = part_of(info, index, value)
    parts.write(shelf, info, region, [memoryview(np.ascontiguousarray(source).reshape(-1).view("u1"))])


def write_in_two(shelf: Shelf, info: ArrayInfo, value: int, between: Callable[[], object]) -> None:
    """Fill the first half in two pieces, and call `between` while the part is being written."""

    def pieces() -> Iterator[memoryview]:
        for number in range(2):
            yield memoryview(np.full(HALF // 2, value, "u1"))
            if not number:
                between()

    parts.write(shelf, info, Region(0, HALF), pieces())


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def forked(work: Callable[[], object]) -> int:
    """A child that does `work` on a shelf of its own. It exits with 0, 3 if the creation had ended, or 1."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    with contextlib.suppress(BaseException):
        try:
            work()
            code = 0
        except CreationEnded:
            code = 3
    os._exit(code)


def wait_until_stopped(pid: int) -> None:
    eventually(lambda: os.waitpid(pid, os.WNOHANG | os.WUNTRACED)[0])


def left(shelf: Shelf) -> list[str]:
    """Drafts and gates."""
    return [path.name for path in Path(shelf.new).rglob("*") if path.is_file()]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(parts, "PATIENCE", 0.05)


def test_processes_fill_one_array(shelf: Shelf) -> None:
    draft, out = begin(shelf)
    steps = range(0, COUNT, COUNT // 4)
    pids = [
        forked(lambda n=n, at=at: write(Shelf(shelf.path), draft.info, slice(at, at + COUNT // 4), n + 1))
        for n, at in enumerate(steps)
    ]
    assert [exit_code(pid) for pid in pids] == [0, 0, 0, 0]
    expected = np.repeat(np.arange(1, 5, dtype="u1"), COUNT // 4)
    assert np.array_equal(out, expected)  # the owner sees them, and may write too
    out[0] = 9
    end(draft)
    expected[0] = 9
    assert np.array_equal(Reader(shelf).view(draft.info), expected)
    assert left(shelf) == []
    assert_counted(shelf)
    assert check(shelf) == []


def test_a_part_that_comes_too_late(shelf: Shelf) -> None:
    draft, out = begin(shelf)
    out[:] = 1
    end(draft)
    with pytest.raises(CreationEnded, match="stored already"):
        write(shelf, draft.info, ..., 2)
    assert Reader(shelf).view(draft.info).max() == 1
    discarded, _ = begin(shelf)
    discarded.discard()
    with pytest.raises(CreationEnded, match="not being created any more"):
        write(shelf, discarded.info, ..., 2)
    assert left(shelf) == []
    assert_counted(shelf)
    shelf.remove()
    with pytest.raises(StoreUnavailable, match="shut down"):
        write(shelf, discarded.info, ..., 2)


def test_one_that_has_opened_the_gate_before_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner closes the gate between the two steps of a writer: opening the gate, and locking it."""
    draft, out = begin(shelf)
    out[:] = 1
    try_lock = parts.try_lock

    def sealed_first(*args: Any) -> bool:
        monkeypatch.setattr(parts, "try_lock", try_lock)
        draft.detach()  # the draft is still there, and about to be sealed
        return try_lock(*args)

    monkeypatch.setattr(parts, "try_lock", sealed_first)
    with pytest.raises(CreationEnded):
        write(shelf, draft.info, ..., 2)
    draft.seal()
    assert Reader(shelf).view(draft.info).max() == 1


def test_the_seal_waits_for_a_part(shelf: Shelf) -> None:
    draft, out = begin(shelf)
    out[:] = 1
    pid = forked(lambda: write_in_two(Shelf(shelf.path), draft.info, 5, stop))
    wait_until_stopped(pid)
    assert sorted(set(out[:HALF])) == [1, 5]
    owner = threading.Thread(target=end, args=(draft,))
    owner.start()
    eventually(lambda: not any(name.endswith(GATE) for name in left(shelf)))
    with pytest.raises(CreationEnded):  # it waits already: no other part begins
        write(shelf, draft.info, ..., 7)
    assert owner.is_alive() and not shelf.has(draft.info.id)
    os.kill(pid, signal.SIGCONT)
    assert exit_code(pid) == 0
    owner.join()
    view = Reader(shelf).view(draft.info)
    assert set(view[:HALF]) == {5} and set(view[HALF:]) == {1}


def test_a_writer_that_is_killed(shelf: Shelf) -> None:
    draft, out = begin(shelf)
    out[:] = 1
    pid = forked(lambda: write_in_two(Shelf(shelf.path), draft.info, 5, stop))
    wait_until_stopped(pid)
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
    write(shelf, draft.info, slice(HALF), 6)  # another task writes the part again
    end(draft)
    assert set(Reader(shelf).view(draft.info)) == {1, 6}
    assert left(shelf) == []
    assert_counted(shelf)


@pytest.mark.usefixtures("soon")
def test_a_writer_that_is_stopped(shelf: Shelf) -> None:
    """The seal fails, and no other array ever has its bytes, though it goes on later."""
    draft, _ = begin(shelf)
    pid = forked(lambda: write_in_two(Shelf(shelf.path), draft.info, 5, stop))
    wait_until_stopped(pid)
    with pytest.raises(StoreUnavailable, match=rf"process {pid} \(.*\) is still writing a part"):
        end(draft)
    assert left(shelf) == []
    assert_counted(shelf)
    assert shelf.ledger.used == 0
    others = [Writer(shelf).put(np.full(COUNT, 9, "u1")) for _ in range(4)]
    os.kill(pid, signal.SIGCONT)
    assert exit_code(pid) == 3
    assert all((Reader(shelf).view(one) == 9).all() for one in others)
    assert_counted(shelf)


def test_the_block_raises_while_a_part_is_written(shelf: Shelf) -> None:
    recycled = Writer(shelf).put(np.full(COUNT, 8, "u1"))
    shelf.delete(recycled.id)
    draft, _ = begin(shelf)  # a segment that was written before
    pid = forked(lambda: write_in_two(Shelf(shelf.path), draft.info, 5, stop))
    wait_until_stopped(pid)
    draft.discard()
    assert_counted(shelf)
    others = [Writer(shelf).put(np.full(COUNT, 9, "u1")) for _ in range(4)]
    os.kill(pid, signal.SIGCONT)
    assert exit_code(pid) == 3
    assert all((Reader(shelf).view(one) == 9).all() for one in others)


@pytest.mark.parametrize("when", ["filling", "sealing"])
def test_the_owner_is_killed(shelf: Shelf, root: Path, when: str) -> None:
    told = root / "told"

    def own() -> None:
        draft, _ = begin(Shelf(shelf.path))
        told.write_bytes(pack([draft.info]))
        if when == "sealing":
            os.unlink(draft.path + GATE)
        stop()

    owner = forked(own)
    wait_until_stopped(owner)
    (info,) = unpack(told.read_bytes())
    writer = forked(lambda: write_in_two(Shelf(shelf.path), info, 5, stop)) if when == "filling" else 0
    if writer:
        wait_until_stopped(writer)
    os.kill(owner, signal.SIGKILL)
    exit_code(owner)
    assert [one.problem for one in clear_orphans(shelf)] == ["abandoned"]
    assert list(Path(shelf.new).iterdir()) == []
    assert_counted(shelf)
    with pytest.raises(CreationEnded, match="process that ran it died"):
        write(shelf, info, ..., 5)
    if writer:
        os.kill(writer, signal.SIGCONT)
        assert exit_code(writer) == 3
    assert_counted(shelf)


def test_a_writer_that_forks(shelf: Shelf) -> None:
    """The child holds no lock, and writes nothing: it has neither file."""
    draft, out = begin(shelf)
    out[:] = 1
    go, gone = os.pipe()
    children = list[int]()

    def fork() -> None:
        pid = os.fork()
        if not pid:
            os.close(gone)
            os.read(go, 1)  # until the parent closes it; then it goes on as the parent does
        children.append(pid)

    code = 5
    try:
        write_in_two(shelf, draft.info, 5, fork)
    except ValueError:
        code = 4
    finally:
        if children == [0]:
            os._exit(code)
    assert code == 5
    end(draft)  # which waits for nobody
    os.close(gone)
    assert exit_code(children[0]) == 4
    os.close(go)
    assert set(Reader(shelf).view(draft.info)[:HALF]) == {5}


def test_a_handler_that_raises_lets_go_of_the_lock(shelf: Shelf) -> None:
    draft, _ = begin(shelf)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as kept:
        write_in_two(shelf, draft.info, 5, interrupt)
    end(draft)
    assert shelf.has(draft.info.id) and kept


def test_the_wait_of_the_seal_can_be_interrupted(shelf: Shelf) -> None:
    draft, _ = begin(shelf)
    pid = forked(lambda: write_in_two(Shelf(shelf.path), draft.info, 5, stop))
    wait_until_stopped(pid)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            end(draft)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
    draft.discard()
    assert left(shelf) == []
    assert_counted(shelf)


def test_a_forgotten_draft_takes_its_gate_along(shelf: Shelf) -> None:
    draft, out = begin(shelf)
    del draft, out
    Writer(shelf).put(np.ones(3))
    assert left(shelf) == []


def test_somebody_removes_the_gate(shelf: Shelf) -> None:
    draft, _ = begin(shelf)
    os.unlink(draft.path + GATE)
    with pytest.raises(StoreUnavailable, match="somebody removed"):
        end(draft)
    assert left(shelf) == []


def test_no_room_for_a_gate(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    draft = Draft.make(shelf, described((COUNT,), "u1"))
    mapped(draft)
    monkeypatch.setattr(parts.Gate, "open", refuse)
    with pytest.raises(StoreFull):
        draft.open_gate()
    draft.discard()
    assert_counted(shelf)


def test_a_draft_on_disk(shelf: Shelf, root: Path) -> None:
    shelf.ledger.disk.budget = 64 * MIB
    shelf.spill_to(str(root / "disk"))
    shelf.ledger.budget = MIB
    draft, out = begin(shelf)
    out[:] = 1
    assert shelf.tiers.is_on_disk(draft.path)
    assert exit_code(forked(lambda: write(Shelf(shelf.path), draft.info, slice(HALF), 6))) == 0
    end(draft)
    view = Reader(shelf).view(draft.info)
    assert set(view[:HALF]) == {6} and set(view[HALF:]) == {1}
    assert_counted(shelf)


# --- which bytes are a part


INDICES: list[Any] = [
    ..., 0, -1, (), slice(2, 4), (slice(None), 1), (..., 2), (slice(None, None, -1), slice(None), slice(1, None)),
    (slice(None, None, 2), None, 1), (0, slice(3, 0, -2)), (1, 1, 1), slice(3, 3), np.int64(2),
]  # fmt: skip


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", ">i4", "f8", "U3", [("a", "i1"), ("b", "f8")]])
def test_parts_are_what_numpy_takes_them_for(shelf: Shelf, order: Any, dtype: Any) -> None:
    draft, out = begin(shelf, (4, 5, 6), dtype, order)
    expected = np.zeros((4, 5, 6), dtype, order)
    out[...] = expected
    random_items = np.random.default_rng(7)
    for index in INDICES:
        shape = expected[(index if isinstance(index, tuple) else (index,))].shape
        value = random_items.integers(0, 99, shape).astype("u1").astype(dtype)
        for one in (value, value[..., :1] if shape else value, np.asarray(value, order="F")):
            expected[index] = one
            write(shelf, draft.info, index, one)
            assert np.array_equal(out, expected), index
    draft.discard()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (1, 4, 1), (300, 40)])
def test_any_shape(shelf: Shelf, shape: tuple[int, ...]) -> None:
    for order in "CF":
        draft, out = begin(shelf, shape, "i4", order)
        write(shelf, draft.info, ..., 7)
        assert (out == 7).all()
        end(draft)
        with pytest.raises(CreationEnded):  # even where there is nothing to write
            write(shelf, draft.info, ..., 7)


def test_what_does_not_fit(shelf: Shelf) -> None:
    draft, out = begin(shelf, (4, 6), "i2")
    out[:] = 1
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (0, np.zeros(6), TypeError, "dtype float64 does not go into .* int16"),
        (0, 1.5, TypeError, "Cannot cast"),
        (0, np.zeros(5, "i2"), ValueError, r"\(5,\) does not go into a part of shape \(6,\)"),
        (slice(2), np.zeros((3, 6), "i2"), ValueError, "nothing was written"),
        (4, 0, IndexError, "out of bounds"),
        ((0, 0, 0), 0, IndexError, "too many indices"),
        ([0, 1], 0, TypeError, "not by list"),
        (True, 0, TypeError, "not by bool"),
        (out > 0, 0, TypeError, "not by ndarray"),
        ("a", 0, TypeError, "not by str"),
        (0, object(), TypeError, "Cannot cast"),
        (0, [1, 2, 3, 4, 5, 70_000], OverflowError, "70000"),
        (0, np.ma.masked_array(np.zeros(6, "i2")), UnsupportedArray, "mask"),
    ]
    for index, value, error, said in wrong:
        with pytest.raises(error, match=said):
            write(shelf, draft.info, index, value)
    assert (out == 1).all()
    write(shelf, draft.info, 0, [2, 3, 4, 5, 6, 7])
    write(shelf, draft.info, 1, np.arange(6, dtype="i8"))  # the same kind of number
    assert out[:2].tolist() == [[2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5]]
    draft.discard()


# --- parts from another node: what its keeper does


def test_pieces_that_are_sent(shelf: Shelf) -> None:
    draft, out = begin(shelf, (5, 9_000), "u1", "F")
    out[:] = 1
    rng = random.Random(5)
    value = np.random.default_rng(5).integers(0, 255, (3, 9_000), "u1")
    region, source = part_of(draft.info, slice(1, 4), value)
    data, at = memoryview(np.ascontiguousarray(source).reshape(-1)), 0
    packed, plain = pack([draft.info]), (region.begin, region.run, region.steps)
    while at < len(data):
        some = data[at : at + rng.randrange(1, 5_000)]
        for _ in range(2):  # Ray repeats a call whose keeper died
            fill(shelf, packed, plain, Some(at, checksum(some), some))
        at += len(some)
    assert np.array_equal(out[1:4], value) and out[0].max() == out[4].max() == 1
    with pytest.raises(CorruptArray, match="write it again"):
        fill(shelf, packed, plain, Some(0, checksum(data) + 1, data))
    for wrong in ((-1, 5, ()), (draft.info.nbytes, 1, ()), (0, draft.info.nbytes, ((2, 1),)), (5, 1, ((2, -6),))):
        with pytest.raises(ValueError, match="not within"):
            fill(shelf, packed, wrong, Some(0, checksum(data), data))
    end(draft)
    with pytest.raises(CreationEnded):
        fill(shelf, packed, plain, Some(0, checksum(data), data))
    with pytest.raises(CreationEnded):
        fill(shelf, packed, (0, 0, ()), None)


class Sent:
    """Peers of which the one keeper tends `shelf`. What travels is pickled, as Ray does it."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self.calls = shelf, 0

    def ask_keeper(self, node: str, call: Call, patience: float | None) -> None:
        assert node == "there"
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(call.args, protocol=5, buffer_callback=buffers.append)
        args = pickle.loads(head, buffers=[bytes(buffer.raw()) for buffer in buffers])
        keeper: Any = SimpleNamespace(_shelf=self._shelf)
        getattr(Keeper, call.method)(keeper, *args)
        self.calls += 1


def test_a_creation_in_a_task_on_another_node(shelf: Shelf, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft, out = begin(shelf, (100, 6000), "i4")
    peers = Sent(shelf)
    task: Any = SimpleNamespace(
        connection=SimpleNamespace(cluster="c"), node="here", shelf=Shelf(str(root / "here")), peers=peers,
        chunk_size=100_000,
    )  # fmt: skip
    monkeypatch.setattr(session, "current", lambda: task)
    creation = pickle.loads(pickle.dumps(Parts(draft.info, "there", "c")))
    assert (creation.shape, creation.dtype, creation.key) == ((100, 6000), np.dtype("i4"), None)
    expected = np.random.default_rng(3).integers(0, 1 << 30, (100, 6000), "i4")
    creation[:50] = expected[:50]
    assert peers.calls == 12  # pieces of at most 100,000 bytes
    creation[50:, ::-1] = expected[50:, ::-1]
    creation[:, 7] = expected[:, 7] = 8
    assert np.array_equal(out, expected)
    with pytest.raises(TypeError):
        creation[0] = 1.5
    task.node = "there"  # a task on the node of the creation asks nobody
    task.shelf, calls = Shelf(shelf.path), peers.calls
    creation[0] = expected[0] = 9
    assert peers.calls == calls and np.array_equal(out, expected)
    task.connection.cluster = "d"
    with pytest.raises(StoreUnavailable, match="created in cluster c, and this process is connected to cluster d"):
        creation[0] = 9
    task.connection.cluster = "c"
    end(draft)
    for task.node in ("here", "there"):
        for part in (slice(0, 50), slice(0, 0)):
            with pytest.raises(CreationEnded, match="stored already"):
                creation[part] = 1
    assert np.array_equal(Reader(shelf).view(draft.info), expected)


class Played:
    """Peers of which the keeper of one node is asked."""

    def __init__(self, *answers: Exception | None, alive: bool | None = True) -> None:
        self.answers, self.alive, self.asked = list(answers), alive, list[Call]()

    def ask_keeper(self, node: str, call: Call, patience: float | None) -> None:
        self.asked.append(call)
        if (answer := self.answers.pop(0)) is not None:
            raise answer

    def node(self, node: str) -> Node | None:
        return None if self.alive is None else Node(node, "", "", False, self.alive, None, None, None, 0, None)

    def find_keeper(self, node: str, *, start: bool) -> None:
        assert start


@pytest.mark.parametrize(
    ("peers", "error", "said"),
    [
        (Played(None), None, ""),
        (Played(Nobody("no keeper"), None), None, ""),  # another is started
        (Played(Nobody("no keeper"), alive=False), CreationEnded, "node away, where it was, is dead"),
        (Played(Left("gone"), alive=False), CreationEnded, "node away, where it was, is dead"),
        (Played(Left("gone"), Nobody("unknown"), alive=None), StoreUnavailable, "unknown"),
        (Played(NoAnswer("no answer"), alive=False), CreationEnded, "node away, where it was, is dead"),
        (Played(NoAnswer("no answer")), StoreUnavailable, r"node away, whose keeper does not answer \(no answer\)"),
        (Played(Nobody("none"), Nobody("none again")), StoreUnavailable, "none again"),
        (Played(AttributeError("fill")), StoreUnavailable, "an earlier version of outlive"),
        (Played(CreationEnded("over")), CreationEnded, "over"),
    ],
)
def test_a_keeper_that_is_asked(peers: Any, error: type[Exception] | None, said: str) -> None:
    info = described((4,), "u1")
    with contextlib.nullcontext() if error is None else pytest.raises(error, match=said):
        send_part(peers, "away", info, Region(0, 4), [memoryview(b"1234")])
    assert peers.answers == []
    assert {call.method for call in peers.asked} == {"fill"}
    for call in peers.asked:
        with pytest.raises(ValueError, match="released"):  # Python's collector may meet it
            memoryview(call.args[2].data)
