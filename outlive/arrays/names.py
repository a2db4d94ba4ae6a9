"""Names: how a process finds an array by key without asking another process.

A name is a symbolic link whose name is the hash of store and key, and whose target is `<version>.<id>`. It is read, and
never followed. A link changes under the ledger's lock: in the step that seals an array, or before the step that deletes
it. It turns only to later versions, unless its array is gone. Around each change, one of the ledger's generation
counters is raised; it is odd during the change. A process that remembers a name trusts it while the counter stays the
same. A name that is missing or leads nowhere says nothing: only the catalog knows then.

A link to `<version>.-` forbids earlier versions of the key: another node is about to replace or delete them, and no
reader here may turn the name back to one of them. The arrays that replace them follow the `-`, with commas in between:
`<version>+<id>+<home>`. See `catalog.successors`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from outlive.arrays.clock import uptime
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import NEXT
from outlive.arrays.ledger import Ledger

_REMEMBERED = 100_000  # names that a process remembers, about 50 MB
_FORBIDDEN = "-"  # the id in the target of a link that forbids versions begins so
_AT_A_TIME = 512  # names that are changed under one lock, so that writers get their turn
_MOST_SUCCESSORS = 8  # the most that a link names; the latest stay
_IN_FORCE = 600 * 10**9  # nanoseconds for which a version stays forbidden: longer than any overwrite takes

_Target = tuple[int, str]  # version and id


class Remembered(NamedTuple):
    """The meaning of a name when its counter had this value."""

    counter: int
    generation: int
    info: ArrayInfo


class Names:
    """The names in `folder`. A caller that changes one holds the ledger's lock."""

    def __init__(self, folder: str, ledger: Ledger) -> None:
        self.folder, self._ledger = folder, ledger
        self._rest: Iterator[os.DirEntry[str]] | None = None  # names that are still to be swept
        self._memory: dict[tuple[str, str], Remembered] = {}

    def remembered(self, store: str, key: str) -> ArrayInfo | None:
        """The array that a key stood for when this process last looked, if that is still so."""
        known = self._memory.get((store, key))
        if known is not None and self._ledger.generation(known.counter) == known.generation:
            return known.info
        return None

    def look_up(self, store: str, key: str) -> tuple[str, int, int] | None:
        """The id of the array that a key leads to, the number of its generation counter, and the counter's value before
        the look; None if the key leads nowhere.
        """
        path, counter = self._link(store, key)
        generation = self._ledger.generation(counter)
        target = _read(path)
        return None if target is None or _forbids(target) else (target[1], counter, generation)

    def knows_later(self, info: ArrayInfo) -> bool:
        """Whether the key of `info` leads to a later version, or may not lead to this one."""
        target = None if info.key is None else _read(self._link(info.store, info.key)[0])
        return target is not None and target[0] > info.version

    def successors(self, info: ArrayInfo) -> list[tuple[int, str, str]]:
        """The arrays by which other nodes were about to replace `info` lately: version, id and home of each."""
        target = None if info.key is None else _read(self._link(info.store, info.key)[0])
        return [one for one in _successors(target) if one[0] > info.version]

    def generation(self, store: str, key: str) -> int:
        """The value of a key's generation counter. While it is even and the same, the name leads where it led."""
        return self._ledger.generation(self._link(store, key)[1])

    def remember(self, info: ArrayInfo, counter: int, generation: int) -> None:
        if generation % 2 == 0:  # odd: the name is being changed
            if len(self._memory) >= _REMEMBERED:
                self._memory.clear()
            self._memory[info.store, info.key or ""] = Remembered(counter, generation, info)

    def point(self, info: ArrayInfo, has: Callable[[str], bool]) -> None:
        """Turn the key's name to `info`, unless it leads to a later array. `has` tells whether that one is there."""
        path, counter = self._link(info.store, info.key or "")

        def to(before: _Target | None) -> str | None:
            if before is not None and (
                before[1] == info.id
                or (before[0] > info.version and _forbids(before))
                or (before[0] >= info.version and not _forbids(before) and has(before[1]))
            ):
                return None
            return f"{info.version}.{info.id}"

        try:
            with contextlib.suppress(FileExistsError):  # most keys are new
                os.symlink(f"{info.version}.{info.id}", path)
                return
            self._turn(path, counter, to)
        except OSError:  # no room, not even for a name: without the old one, readers ask the catalog
            self._unlink(path, counter)

    def _unlink(self, path: str, counter: int) -> None:
        self._ledger.change(counter)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._ledger.changed(counter)

    def _turn(self, path: str, counter: int, to: Callable[[_Target | None], str | None]) -> bool:
        """Turn a name from its target to what `to` makes of that; None leaves it. Returns whether it was turned.

        A signal handler may turn the same name meanwhile. Then `to` is asked again, about what the handler left.
        """
        while True:
            before = _text(path)
            after = to(_parsed(before))
            if after is None:
                return False
            if self._replace(path, before, after, counter):
                return True

    def _replace(self, path: str, before: str | None, after: str, counter: int) -> bool:
        """Turn a name that leads to `before`; False if it does not any more."""
        if before is None:
            with contextlib.suppress(FileExistsError):
                os.symlink(after, path)
                return True
            if _text(path) is not None:
                return False
        following = f"{path}{NEXT}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(following)  # left by a process that was killed here
        os.symlink(after, following)
        self._ledger.change(counter)
        done = _rename_if(following, path, before)
        self._ledger.changed(counter)
        return done

    def forbid(self, store: str, key: str, version: int, by: tuple[int, str, str] | None = None) -> None:
        """Forbid versions of a key before `version` on this shelf. A name that leads to one leads nowhere then.

        Parameters
        ----------
        by
            The array that replaces them: its version, id and home. Arrays that were to replace them before stay noted,
            as all puts but one may come to nothing.
        """
        path, counter = self._link(store, key)

        def to(before: _Target | None) -> str | None:
            forbidden, known = version, False
            if before is not None and before[0] >= version:  # a later one is forbidden, maybe by a put that fails
                forbidden = before[0]
                known = by is None or not _forbids(before) or any(_is_of(one, by) for one in _successors(before))
            others = [one for one in _successors(before) if by is None or one[1] != by[1]]
            some = [*others, *([] if by is None else [by])][-_MOST_SUCCESSORS:]
            return None if known else f"{forbidden}.{_FORBIDDEN}{_marks(some)}"

        if self._turn(path, counter, to):
            _stamp(path, uptime())

    def hide(self, info: ArrayInfo) -> None:
        """Make the key of `info` lead nowhere until `point`, unless to a later array: readers ask the catalog."""
        try:
            self.forbid(info.store, info.key or "", info.version)
        except OSError:  # no room, not even for a name
            self._unlink(*self._link(info.store, info.key or ""))

    def forbid_all(self, names: Iterable[tuple[str, str, int, tuple[int, str, str] | None]]) -> None:
        """`forbid` for several names in one step. It takes the lock itself.

        Raises
        ------
        OSError
            There is no room, not even for a name. Some may be forbidden all the same.
        """
        with self._ledger.locked():
            for store, key, version, by in names:
                self.forbid(store, key, version, by)

    def forget_successors(self, names: Sequence[tuple[str, str, str]]) -> None:
        """Forget arrays that were to replace others: store, key and id of each. It takes the lock itself.

        The versions that were forbidden because of them stay forbidden as long as before.

        Raises
        ------
        OSError
            There is no room, not even for a name. Some may be forgotten all the same.
        """
        for start in range(0, len(names), _AT_A_TIME):
            with self._ledger.locked():
                for store, key, array_id in names[start : start + _AT_A_TIME]:
                    self._forget_successor(store, key, array_id)

    def _forget_successor(self, store: str, key: str, array_id: str) -> None:
        path, counter = self._link(store, key)

        def to(before: _Target | None) -> str | None:
            known = _successors(before)
            others = [one for one in known if one[1] != array_id]
            return None if before is None or others == known else f"{before[0]}.{_FORBIDDEN}{_marks(others)}"

        with contextlib.suppress(FileNotFoundError):
            since = os.lstat(path).st_mtime_ns
            if self._turn(path, counter, to):
                _stamp(path, since)

    def withdraw(self, store: str, key: str, array_id: str) -> None:
        """Make a key lead nowhere, if it leads to this array, and forbid earlier versions."""
        path, counter = self._link(store, key)

        def to(before: _Target | None) -> str | None:
            return None if before is None or before[1] != array_id else f"{before[0]}.{_FORBIDDEN}"

        if self._turn(path, counter, to):
            _stamp(path, uptime())

    def remove(self, store: str, key: str, array_id: str) -> None:
        """Make a key lead nowhere, if it leads to this array."""
        path, counter = self._link(store, key)
        before = _read(path)
        if before is not None and before[1] == array_id:
            self._unlink(path, counter)

    def sweep(self, has: Callable[[str], bool], some: int | None = None) -> int:
        """Remove the names that lead to no array; returns how many.

        Parameters
        ----------
        some
            How many names to look at: the next ones at each call, round and round. None: all.
        """
        if some is None:
            return sum(self._sweep(name, has) for name in os.listdir(self.folder))
        if self._rest is None:
            self._rest = os.scandir(self.folder)
        names = [entry.name for entry in itertools.islice(self._rest, some)]
        if len(names) < some:
            self._rest = None
        return sum(self._sweep(name, has) for name in names)

    def _sweep(self, name: str, has: Callable[[str], bool]) -> bool:
        path = f"{self.folder}/{name}"
        if not _leads_nowhere(path, has):
            return False
        with self._ledger.locked():  # and look again
            if _leads_nowhere(path, has):
                with contextlib.suppress(OSError, ValueError):
                    self._unlink(path, self._ledger.counter(name))
                    return True
        return False

    def _link(self, store: str, key: str) -> tuple[str, int]:
        name = name_of(store, key)
        return f"{self.folder}/{name}", self._ledger.counter(name)


def name_of(store: str, key: str) -> str:
    """32 hexadecimal digits for a store and a key."""
    return blake2b(f"{len(store)}:{store}{key}".encode(), digest_size=16).hexdigest()


def _leads_nowhere(path: str, has: Callable[[str], bool]) -> bool:
    try:
        target = _read(path)
        return target is None or not (_is_fresh(path) if _forbids(target) else has(target[1]))
    except FileNotFoundError:  # another process removed it
        return False


def _stamp(path: str, since: int) -> None:
    """Note since when a link forbids versions, for `_is_fresh`."""
    os.utime(path, ns=(since, since), follow_symlinks=False)


def _is_fresh(path: str) -> bool:
    """Whether this link, which forbids versions, was made recently."""
    return uptime() - os.lstat(path).st_mtime_ns < _IN_FORCE


def _forbids(target: _Target) -> bool:
    return target[1].startswith(_FORBIDDEN)


def _successors(target: _Target | None) -> list[tuple[int, str, str]]:
    """The arrays that replace the earlier versions, as a link names them: version, id and home of each."""
    if target is None or not _forbids(target):
        return []
    marks = [mark.split("+") for mark in target[1].removeprefix(_FORBIDDEN).split(",")]
    return [(int(mark[0]), mark[1], mark[2]) for mark in marks if len(mark) == 3 and mark[0].isdecimal()]


def _marks(successors: Iterable[tuple[int, str, str]]) -> str:
    return ",".join("+".join(map(str, one)) for one in successors)


def _is_of(mark: tuple[int, str, str], by: tuple[int, str, str]) -> bool:
    """Whether a link says by this array, or by what it was restamped to since."""
    return mark[1] == by[1] and mark[0] >= by[0]


def _read(path: str) -> _Target | None:
    """The version and id that a link leads to; None if there is no link, or something else has its name."""
    return _parsed(_text(path))


def _text(path: str) -> str | None:
    """The target of a link as it stands; None if there is no link."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def _parsed(text: str | None) -> _Target | None:
    if text is None:
        return None
    version, _, array_id = text.partition(".")
    try:
        return int(version), array_id
    except ValueError:
        return None


def _rename_if(path: str, to: str, target: str | None) -> bool:
    """Rename `path` to `to`, if the link there leads to `target` still. None: whatever is there.

    C code does both steps, so no signal handler comes in between.
    """
    if target is None:
        os.rename(path, to)
        return True
    is_same = map(target.__eq__, map(os.readlink, (to,)))
    try:
        return bool(list(map(os.rename, itertools.compress((path,), is_same), (to,))))
    except FileNotFoundError:  # the name was removed
        return False
