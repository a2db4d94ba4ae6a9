"""Saving: the head remembers which arrays are lost, for catalogs and keepers that come later."""

from __future__ import annotations

import json
import logging

from outlive.catalog import pages
from outlive.catalog.instructions import Conversation, Save, Wait
from outlive.catalog.state import State

# Nanoseconds. A version that is noted is ahead of any by the first and second together, and never by less than the
# second. One that is further ahead of the head's clock than the third is of a damaged shelf.
_AHEAD, _AGAIN, _MOST_AHEAD = 60 * 10**9, 30 * 10**9, 366 * 86400 * 10**9
_log = logging.getLogger(__name__)


def save(state: State) -> Conversation[None]:
    """Have the head remember the changes: which arrays are lost, which dead nodes are settled, and what was deleted.

    An array that may soon be lost no more is left out: a catalog that starts drops what is earlier than a lost one.
    """
    under_way, lost = state.under_way, state.index.lost
    yield Wait(lambda: not under_way.saving)
    if not (lost.changed or state.graves.changed) and state.losses_known is state.saved_losses_known:
        return
    under_way.saving = True
    try:
        yield from _save_graves(state)
        yield from _save_lost(state)
    finally:
        under_way.saving = False


def _save_graves(state: State) -> Conversation[None]:
    graves, strays = state.graves, set(state.graves.strays)
    if graves.saved_strays != strays:
        yield Save(pages.STRAYS, json.dumps(sorted(strays)).encode())
        graves.saved_strays = strays
    changed, numbers = graves.take_changed(), graves.pages
    try:
        for number, some in changed.items():
            yield Save(pages.grave_page(number), json.dumps(some).encode())
        if numbers != graves.saved_pages:
            yield Save(pages.GRAVES, json.dumps(numbers).encode())
            graves.saved_pages = numbers
    except BaseException:
        graves.changed_again(changed)
        raise


def _save_lost(state: State) -> Conversation[None]:
    under_way, lost = state.under_way, state.index.lost
    changed, numbers, losses_known = lost.take_changed(), lost.pages, state.losses_known
    try:
        for number, some in changed.items():
            known = [one for one in some if one.info.id not in under_way.bringing_back]
            yield Save(pages.page(number), pages.pack_lost(known))
        if changed:
            yield Save(pages.LOST, json.dumps(numbers).encode())
        # This is saved last: once a node is settled, only its lost arrays are wanted back.
        if losses_known is not state.saved_losses_known:
            yield Save(pages.LOSSES_KNOWN, json.dumps(losses_known).encode())
            state.saved_losses_known = losses_known
    except BaseException:
        lost.changed_again(changed)
        raise


def foresee(state: State, version: int) -> Conversation[None]:
    """Have the head remember a later version than this one, and than any that comes soon.

    Not all nodes may have told the next catalog what they have. Its puts then get later versions than the arrays there,
    even from a writer whose clock is behind.
    """
    under_way = state.under_way
    yield Wait(lambda: not under_way.foreseeing)
    if not state.foreseen < version <= state.now_ns() + _MOST_AHEAD:
        return
    under_way.foreseeing = True
    try:
        yield Save(pages.VERSIONS, str(version + _AHEAD).encode())
        state.foreseen, under_way.not_foreseen = version + _AHEAD, False
    except Exception as error:  # noqa: BLE001 - whatever it is, arrays can be listed all the same
        if not under_way.not_foreseen:  # this comes each second
            _log.warning("the head has not noted which versions arrays have: %s", error)
        under_way.not_foreseen = True
    finally:
        under_way.foreseeing = False


def foresee_in_time(state: State) -> Conversation[None]:
    """`foresee`, long before what is noted is exceeded."""
    soon = max(state.now_ns(), state.latest) + _AGAIN
    if soon > state.foreseen:
        yield from foresee(state, soon)
