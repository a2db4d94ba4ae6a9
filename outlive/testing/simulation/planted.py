"""Planted faults: mutations of the protocol. The simulation has to find each of them, or it would be worthless.

Each puts wrong code in the place of right code, in the process that simulates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from outlive.arrays.info import ArrayInfo
from outlive.arrays.names import Names
from outlive.arrays.segment import read_info_at
from outlive.arrays.shelf import Shelf
from outlive.catalog import asking, keys, replaced, replicas, shelves
from outlive.catalog.index import Index
from outlive.catalog.instructions import Ask, Conversation
from outlive.catalog.state import State
from outlive.cluster.fetches import Fetches
from outlive.cluster.listing import Listing
from outlive.cluster.shelf_calls import ShelfCalls
from outlive.store import commit, reading
from outlive.testing.simulation.adoption_faults import Change
from outlive.testing.simulation.catalog_faults import CATALOG
from outlive.testing.simulation.themed_faults import THEMED


def _seal_in_any_epoch() -> Iterator[Change]:
    """A writer seals its draft under any catalog: the epoch is not compared."""
    seal_many = Shelf.seal_many
    yield Shelf, "seal_many", lambda shelf, drafts, _=None: seal_many(shelf, drafts, None)


def _copy_in_any_epoch() -> Iterator[Change]:
    """A copy is sealed although its shelf was listed again since."""

    def seal_copy(shelf: Shelf, draft: Any) -> None:
        with shelf.ledger.locked():
            draft.settled = shelf._rename(draft.path, draft.info.id)  # noqa: SLF001

    yield Shelf, "seal_copy", seal_copy


def _copy_without_the_catalog() -> Iterator[Change]:
    """A copy is sealed first, and the catalog is told of it afterwards."""

    def seal(fetches: Fetches, draft: Any, node: str, *_: Any, **__: Any) -> None:
        draft.listed_in = fetches._shelf.ledger.epoch  # noqa: SLF001
        fetches._shelf.seal_copy(draft)  # noqa: SLF001
        fetches._join(draft.info, node, fetches._shelf.ledger.epoch, kept=False)  # noqa: SLF001

    yield Fetches, "_seal", seal


def _seal_before_bind() -> Iterator[Change]:
    """A writer seals its draft, and then has the catalog list it."""
    bind = commit._bind  # noqa: SLF001

    def seal_first(session: Any, drafts: list[Any], stale: int) -> Any:
        with session.shelf.ledger.locked():
            for draft in drafts:
                session.shelf._commit(draft.path, draft.info)  # noqa: SLF001
        return bind(session, drafts, stale)

    yield commit, "_bind", seal_first


def _forget_to_forbid() -> Iterator[Change]:
    """A keeper says that it forbade a name, and did not."""
    yield ShelfCalls, "forbid", lambda *_: None


def _do_not_ask_to_forbid() -> Iterator[Change]:
    """The catalog lists a new array before the names of the earlier one are forbidden on other nodes."""
    yield keys, "_named_elsewhere", lambda *_: set()


def _count_cached_copies() -> Iterator[Change]:
    """A cached copy counts as a replica."""
    yield (
        State,
        "kept",
        lambda state, array_id, leaving="": [
            node for node in state.index.holders(array_id) if node != leaving and state.is_alive(node)
        ],
    )


def _drop_before_sealed() -> Iterator[Change]:
    """The earlier array is dropped before the new one is sealed."""

    def drop(state: State, _: str, replacements: list[Any]) -> Conversation[None]:
        yield from asking.drop_for_good(state, [(replacement.old, None) for replacement in replacements])

    yield replaced, "drop_where_sealed", drop


def _unbind_before_files_are_gone() -> Iterator[Change]:
    """A deletion forgets the key first, and drops the files afterwards."""
    drop = asking.drop

    def unbind_first(state: State, holdings: Any) -> Conversation[list[str]]:
        some = list(holdings)
        for holding, name in some:
            if name is not None:
                state.index.unbind(name[0], name[1], holding.array_id)
        return (yield from drop(state, some))

    yield asking, "drop", unbind_first


def _homes_alone() -> Iterator[Change]:
    """A deletion, or an overwrite, drops the home's file and leaves the copies where they are."""
    files = Index.files
    yield Index, "files", lambda index, entry: [*entry.superseded, files(index, entry)[-1]]


def _evacuate_without_looking() -> Iterator[Change]:
    """A node drops evacuated arrays without asking whether another node keeps them."""

    def leave(state: State, infos: list[ArrayInfo], node: str) -> list[bool]:
        for info in infos:
            state.not_there(node, info.id)
        return [True] * len(infos)

    def evacuate(
        state: State, infos: list[ArrayInfo], node: str, epoch: int, *, anywhere: bool
    ) -> Conversation[list[bool]]:
        del state, node, epoch, anywhere
        yield Ask({})
        return [True] * len(infos)

    yield replicas, "leave", leave
    yield replicas, "evacuate", evacuate


def _moved_is_gone() -> Iterator[Change]:
    """A reader reports an array as deleted if it was replaced during the read.

    Holds that are ignored would not show in a history: a reader that misses a held array finds the next one.
    """
    yield reading, "_why", lambda *_: reading.Gone()


def _versions_are_not_compared() -> Iterator[Change]:
    """A writer whose clock is behind is not told so."""
    bind = Index.bind

    def in_the_order_of_calls(index: Index, infos: list[ArrayInfo], node: str) -> Any:
        answer = bind(index, infos, node)
        return [one for info in infos for one in index.admit(info, node)] if isinstance(answer, int) else answer

    yield Index, "bind", in_the_order_of_calls


def _names_turn_back() -> Iterator[Change]:
    """A name is turned to any array, even if that is an earlier one or the name is forbidden."""

    def point(names: Names, info: ArrayInfo, _: Any) -> None:
        path, counter = names._link(info.store, info.key or "")  # noqa: SLF001
        names._turn(path, counter, lambda _: f"{info.version}.{info.id}")  # noqa: SLF001

    yield Names, "point", point


def _older_listing_wins() -> Iterator[Change]:
    """An array that was deleted during a listing is listed again: its id and version are not remembered."""
    yield State, "note_gone", lambda *_: None
    yield State, "is_deleted_since", lambda *_: False
    yield State, "deleted_after", lambda *_: 0


def _no_epoch_for_a_listing() -> Iterator[Change]:
    """A catalog that starts lists a shelf without a new epoch."""
    yield (
        Listing,
        "part",
        lambda listing, _=None: (
            listing._shelf.ledger.epoch,  # noqa: SLF001
            listing._pack(listing._shelf.ids()),  # noqa: SLF001
            None,
        ),
    )


def _killed_copies_are_sealed() -> Iterator[Change]:
    """A copy whose keeper was killed is sealed as if the catalog had listed it there."""

    def finish(shelf: Shelf, array_id: str, epoch: int) -> bool:
        with shelf.ledger.locked():
            if shelf.ledger.epoch == epoch:
                for path in shelf.tiers.drafts(array_id):
                    with contextlib.suppress(FileNotFoundError):
                        shelf._commit(path, read_info_at(path, array_id))  # noqa: SLF001
        return shelf.has(array_id)

    yield Shelf, "finish", finish
    from outlive.arrays.tend import fsck

    yield fsck, "is_copy", lambda _: False


def _late_calls_are_heard() -> Iterator[Change]:
    """A late call lists an array that was taken back: the catalog does not remember that."""
    yield State, "note_erased", lambda *_: None


def _readers_do_not_finish() -> Iterator[Change]:
    """A reader reports an array as gone if it is listed but not sealed."""
    yield Shelf, "finish", lambda shelf, array_id, _: shelf.has(array_id)


def _evicted_while_it_is_kept() -> Iterator[Change]:
    """A copy that was asked to stay is evicted all the same."""
    yield ShelfCalls, "keep", lambda keeper, ids: [keeper._shelf.has(one) for one in ids]  # noqa: SLF001


def _lost_is_forgotten() -> Iterator[Change]:
    """The arrays of a dead node are not recorded as lost."""
    yield shelves, "join", shelves.join
    from outlive.catalog.losses import Losses

    yield Losses, "add", lambda *_: None


PLANTED: dict[str, Callable[[], Iterator[Change]]] = {
    function.__name__.strip("_").replace("_", " "): function
    for function in (
        _seal_in_any_epoch,
        _copy_in_any_epoch,
        _copy_without_the_catalog,
        _seal_before_bind,
        _forget_to_forbid,
        _do_not_ask_to_forbid,
        _count_cached_copies,
        _drop_before_sealed,
        _unbind_before_files_are_gone,
        _homes_alone,
        _evacuate_without_looking,
        _moved_is_gone,
        _versions_are_not_compared,
        _names_turn_back,
        _older_listing_wins,
        _no_epoch_for_a_listing,
        _killed_copies_are_sealed,
        _late_calls_are_heard,
        _readers_do_not_finish,
        _evicted_while_it_is_kept,
        _lost_is_forgotten,
    )
}
PLANTED |= CATALOG | THEMED


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Run a `with` block with this fault in the code."""
    with contextlib.ExitStack() as undo:
        for target, attribute, instead in PLANTED[name]():
            undo.callback(setattr, target, attribute, getattr(target, attribute))
            setattr(target, attribute, instead)
        yield
