"""Settings of a node's shelf, which a program gives when it opens a store. The shelf keeps them, for all processes."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NamedTuple

from outlive.arrays.disk import SETTING
from outlive.arrays.limits import default_disk_budget, default_spill_folder
from outlive.arrays.root import shelf_folder
from outlive.errors import UnsafeRoot
from outlive.units import parse_size

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf

_log = logging.getLogger(__name__)


class Settings(NamedTuple):
    """A setting that is None stays as it is; the first time, its default is computed."""

    memory: int | None = None  # bytes
    disk: int | None = None  # bytes; 0 spills nothing
    spill_to: str | None = None  # a folder

    @classmethod
    def of(cls, memory: int | str | None, disk: int | str | None, spill_to: str | os.PathLike[str] | None) -> Settings:
        """The settings that a user wrote, as numbers.

        Raises
        ------
        BadSetting
            The text is not a size.
        """
        return cls(
            None if memory is None else parse_size(memory, "memory"),
            None if disk is None else parse_size(disk, "disk", least=0),
            None if spill_to is None else os.path.abspath(spill_to),
        )


def apply(settings: Settings, shelf: Shelf, root: str, cluster: str, node: str) -> None:
    """Apply `settings` to a shelf. For a setting that was never given, the default is computed.

    Raises
    ------
    ValueError
        The folder cannot be used, or arrays are spilled to another.
    UnsafeRoot
        The folder belongs to another user, or is open to others.
    """
    if settings.memory is not None:
        with shelf.ledger.locked():
            shelf.ledger.budget = settings.memory
    asked = settings.spill_to is not None or settings.disk is not None
    with shelf.ledger.locked():
        # several programs may start at once, and a keeper may have adopted a disk before
        if asked or not shelf.ledger.settings or not (shelf.disk is None or shelf.ledger.disk.is_set):
            _apply_to_disk(settings, shelf, root, (cluster, node), asked=asked)


def _apply_to_disk(settings: Settings, shelf: Shelf, root: str, owner: tuple[str, str], *, asked: bool) -> None:
    before, account = shelf.disk, shelf.ledger.disk
    folder = settings.spill_to or (None if before is not None else default_spill_folder(root))
    if folder is None and before is None and settings.disk:
        raise ValueError("there is no disk to spill to here; name a folder on one: spill_to=...")
    try:
        same = before is not None and before.path == f"{folder}/{'/'.join(owner)}"
        if folder is not None and settings.disk != 0 and not (same and before is not None and not before.is_mounted()):
            _choose(shelf, shelf_folder(folder, *owner, SETTING), folder, settings.disk)
    except (OSError, UnsafeRoot) as error:
        if not asked:
            _log.warning("outlive spills nothing to disk: %s", error)
        elif isinstance(error, UnsafeRoot):
            raise
        else:
            raise ValueError(f"cannot spill to {folder}: {error.strerror or error}") from None
    else:
        if settings.disk is not None:
            account.budget = settings.disk
        elif before is not None and not account.is_set:  # a keeper adopted it, or the ledger was made anew
            account.budget = default_disk_budget(before.path)
    if not shelf.ledger.settings:
        shelf.ledger.settings_changed()


def _choose(shelf: Shelf, path: str, folder: str, asked: int | None) -> None:
    """Spill to `path`, which is below `folder`. The budget is set first, to the bytes that were asked for if any.

    So a process that is killed in between leaves a choice that the next one completes.
    """
    before, account = shelf.disk, shelf.ledger.disk
    budget, was_set = account.budget, account.is_set
    if asked is not None:
        account.budget = asked
    elif before is None or before.path != path or not budget:
        account.budget = default_disk_budget(folder)
    try:
        shelf.spill_to(path)
    except Exception:
        if (chosen := shelf.disk) is None or chosen.path != path:  # else all processes spill there already
            if was_set:
                account.budget = budget
            else:
                account.unset()
        raise
