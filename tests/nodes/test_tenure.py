"""What a keeper has adopted: it is readable by name, and stays, as the catalog knows of it."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays import layout, ledger, tally
from outlive.arrays.layout import CACHED
from outlive.arrays.marks import mark
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.adopt import adopt
from outlive.arrays.writer import Writer
from outlive.cluster.tenure import PROTOCOL, Tenure, raylet_process


@pytest.fixture
def two(tmp_path: Path) -> tuple[Shelf, Shelf]:
    """The shelf of a dead node, and that of the next."""
    shelves = Shelf(str(tmp_path / "dead"), budget=1 << 20), Shelf(str(tmp_path / "next"), budget=1 << 20)
    for shelf in shelves:
        Path(shelf.path, "keeper").touch(mode=0o600)
    return shelves


def tenure_of(shelf: Shelf, remembered: dict[str, bytes]) -> Any:
    """A tenure that has begun already. `remembered`: what the head remembers."""
    tenure: Any = object.__new__(Tenure)
    tenure.shelf, tenure._peers = shelf, SimpleNamespace(load=remembered.get)
    tenure._unlisted, tenure._epoch = {}, 0
    return tenure


def test_who_changes_what_a_shelf_has_raises_the_protocol() -> None:
    """Programs of the version before are refused then. Else each that joins would make the others' files anew."""
    others = layout.OWN_FILES - {f"{name}{layout.NEXT}" for name in layout.OWN_FILES}
    assert (ledger._MAGIC, tally._MAGIC, " ".join(sorted(others)), PROTOCOL) == (
        b"ledger 5",
        b"tally 02",
        "checksums disk ended free hot keeper ledger mem names new node scopes spilling tally ways",
        13,
    )


@pytest.mark.parametrize("cached", [False, True])
def test_what_was_cached_before_it_was_adopted_was_not_deleted_because_it_is_not_lost(
    two: tuple[Shelf, Shelf], cached: bool
) -> None:
    """The catalog had the cached copy kept as the node died. So it is neither lost nor deleted."""
    old, new = two
    info = Writer(old).put(np.arange(500), key="k", store="s")
    if cached:
        shutil.copy2(f"{old.mem}/{info.id}", f"{new.mem}/{info.id}")
        new.recount()
        mark(new, info.id, add=CACHED)
    remembered: dict[str, bytes] = {}
    tenure = tenure_of(new, remembered)
    assert adopt(new, old.path, same_cluster=True, came=functools.partial(tenure._came, "dead")) == 1
    remembered["settled"] = json.dumps(["dead"]).encode()
    tenure.review()
    assert new.has(info.id) == cached


def test_no_name_is_turned_to_what_was_adopted_before_the_catalog_knows_of_it(two: tuple[Shelf, Shelf]) -> None:
    """The catalog would not ask this node if the key is deleted or put again."""
    old, new = two
    info = Writer(old).put(np.arange(500), key="k", store="s")
    assert adopt(new, old.path, same_cluster=True) == 1
    new.name(info)
    assert new.named_info("s", "k") is None
    new.ledger.note_adopted(-1)
    new.name(info)
    assert new.named_info("s", "k") == info


@pytest.mark.parametrize(("parent", "told", "raylet"), [(7, "7", 7), (1, "7", 7), (7, "", 7), (0, "7", 0)])
def test_a_raylet_that_has_ended_is_not_mistaken_for_the_process_that_took_its_workers(
    monkeypatch: pytest.MonkeyPatch, parent: int, told: str, raylet: int
) -> None:
    """A parent of the number 0 is in another namespace, where the number that was told means nothing."""
    monkeypatch.setattr("os.getppid", lambda: parent)
    monkeypatch.setenv("RAY_RAYLET_PID", told)
    assert raylet_process() == raylet
