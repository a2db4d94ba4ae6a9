"""Saving: the head remembers which arrays are lost, for catalogs and keepers that come later."""

from __future__ import annotations

import json

from outlive.catalog import pages
from outlive.catalog.instructions import Conversation, Save, Wait
from outlive.catalog.state import State


def save(state: State) -> Conversation[None]:
    """Have the head remember the changes: which arrays are lost, and which dead nodes are settled.

    An array that may soon be lost no more is left out: a catalog that starts drops what is earlier than a lost one.
    """
    under_way, lost = state.under_way, state.index.lost
    yield Wait(lambda: not under_way.saving)
    if not lost.changed and state.losses_known is state.saved_losses_known:
        return
    under_way.saving = True
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
    finally:
        under_way.saving = False
