"""The fsck of a shelf: finds defects that a crash, a disk or another program caused, and mends what can be mended."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator

from outlive.arrays import batches
from outlive.arrays.defect import Defect
from outlive.arrays.disk import NOT_MOUNTED
from outlive.arrays.ended import Why
from outlive.arrays.layout import BATCH, CHECKSUMS, COPY, GATE, OWN_FILES, SHELF, is_id
from outlive.arrays.root import names_in
from outlive.arrays.segment import is_copy, read_info_at
from outlive.arrays.shelf import Shelf
from outlive.arrays.spill.move import mend_double
from outlive.arrays.staging import orphans
from outlive.arrays.tend.checksums import Checksums, checksum_of
from outlive.errors import CorruptArray
from outlive.units import format_size

Listed = Callable[[list[str]], set[str]]  # asks the catalog which of these ids it has listed


def none_listed(_: list[str]) -> set[str]:
    """Stands for the catalog of a shelf that has none."""
    return set()


def clear_orphans(shelf: Shelf, listed: Listed = none_listed) -> Iterator[Defect]:
    """Remove the drafts of dead writers in new/, or seal those that the catalog has listed already.

    A copy of another node's array is always removed: the catalog lists the array, but may not know of this copy.
    """
    for folder in itertools.chain.from_iterable(orphans(tier.new) for tier in shelf.tiers.all()):
        names = sorted(os.listdir(folder))
        epoch = shelf.ledger.epoch
        complete = listed([name for name in names if is_id(name)]) if names else set[str]()
        for name in names:
            if name.endswith((BATCH, GATE)):
                continue
            path = f"{folder}/{name}"
            if name in complete and not is_copy(path) and shelf.finish(name, epoch):
                shelf.delete_draft(path)  # left if it is incomplete, and the array has come to the shelf as well
                yield Defect("unfinished", name, "sealed: its writer died after the catalog had listed it", True)
            elif is_id(name.removesuffix(COPY)):
                if not _discard(shelf, path, name, epoch):
                    break  # another catalog has come, and may have listed it: it is asked in the next round
                yield Defect("abandoned", name, "discarded: its writer died before sealing it", True)
            else:
                yield foreign(path)
        else:
            for name in names:  # the listed arrays of the batch are sealed by now, and drafts with a gate are gone
                if name.endswith((BATCH, GATE)):
                    with contextlib.suppress(OSError):  # another program's folder has the name
                        os.unlink(f"{folder}/{name}")
            with contextlib.suppress(OSError):
                os.rmdir(folder)
    batches.recount(shelf)


def _discard(shelf: Shelf, path: str, name: str, epoch: int) -> bool:
    """Remove a dead writer's draft, and record that it was never put: the writer's call may still reach the catalog.

    Only a complete draft can be listed. False if the epoch is over. A catalog that comes meanwhile waits for the lock.
    """
    with shelf.ledger.locked():
        if shelf.ledger.epoch != epoch:
            return False
        # the draft is not complete, or the disk is full: see `store.commit`
        with contextlib.suppress(OSError, CorruptArray):
            info = read_info_at(path, name)
            if info.key is not None and not is_copy(path):
                shelf.ended.add([info], Why.NOT_PUT, time.time_ns())
        shelf.delete_draft(path)
        return True


def mend_doubles(shelf: Shelf) -> Iterator[Defect]:
    """Mend arrays that are in both tiers, because the process that moved them was killed. One of the two files goes."""
    disk = shelf.disk
    if disk is None:
        return
    for array_id in set(os.listdir(shelf.mem)).intersection(names_in(disk.mem)):
        with shelf.ledger.locked():
            if mend_double(shelf, disk, array_id):
                yield Defect(
                    "double", array_id, "its copy on disk removed: the process that moved it died in between", True
                )
    disk.pool.trim()


def unmounted(shelf: Shelf) -> Iterator[Defect]:
    """Say so if the file system that the shelf spills to is not mounted."""
    disk = shelf.disk
    if disk is not None and not disk.is_mounted():
        yield Defect(
            "unmounted",
            disk.path,
            f"nothing is spilled: {NOT_MOUNTED}. Mount it; or, if it is gone for good with all arrays that are there, "
            f"make that folder (mode 0700) with an empty file `{SHELF}` in it",
            False,
        )


def check(shelf: Shelf, listed: Listed = none_listed) -> list[Defect]:
    """Go through a whole shelf and mend what can be mended. `check_shelf` and `check_arrays` are its two parts."""
    findings, sizes = check_shelf(shelf, listed)
    return findings + check_arrays(shelf, list(sizes))


def check_shelf(shelf: Shelf, listed: Listed = none_listed) -> tuple[list[Defect], dict[str, int]]:
    """Check all but the bytes of the arrays. Returns the defects, and each array with the bytes of its file.

    Parameters
    ----------
    listed
        Returns the drafts of dead writers that the catalog has listed: these are complete.
    """
    if shelf.disk is not None:
        shelf.disk.make_again()
    findings = [*unmounted(shelf), *clear_orphans(shelf, listed)]
    strangers = sorted(set(os.listdir(shelf.path)) - OWN_FILES)
    findings += [foreign(f"{shelf.path}/{name}") for name in strangers]
    sizes = {}
    findings += mend_doubles(shelf)
    for tier in shelf.tiers.all():
        for name in sorted(names_in(tier.mem)):
            path = f"{tier.mem}/{name}"
            if is_id(name):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    sizes[name] = os.lstat(path).st_size
            else:
                findings.append(foreign(path))
        tier.pool.trim()
    shelf.names.sweep(shelf.has)
    if off := shelf.recount():
        findings.append(Defect("miscounted", shelf.path, f"recounted: the ledger was off by {format_size(off)}", True))
    return findings, sizes


def check_arrays(shelf: Shelf, array_ids: list[str]) -> list[Defect]:
    """Read these arrays in full: headers, footers and checksums. Arrays that are gone are skipped."""
    checksums = Checksums(f"{shelf.path}/{CHECKSUMS}")
    known, fresh, findings = checksums.load(array_ids), dict[str, int](), []
    for array_id in array_ids:
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # deleted meanwhile
            path = shelf.locate(array_id) or f"{shelf.mem}/{array_id}"
            try:
                shelf.info(array_id)
            except CorruptArray as error:
                findings.append(Defect("damaged", path, f"left for you to look at; remove the file ({error})", False))
                continue
            checksum = shelf.somewhere(array_id, checksum_of)
            if known.get(array_id, checksum) != checksum:
                hint = "left for you to look at: its bytes changed since it was sealed"
                findings.append(Defect("flipped", path, hint, False))
            elif array_id not in known:
                fresh[array_id] = checksum
    with contextlib.suppress(OSError):  # no room for them: the next check computes them again
        checksums.append(fresh)
    return findings


def foreign(path: str) -> Defect:
    return Defect("foreign", path, "ignored: outlive did not put it here; remove it if you did not either", True)
