"""The layout of a shelf: how its folders and files are named, and what a file's mode says. No other module knows that.

    new/<token>/<id>   drafts; each process writes in a folder of its own, which it keeps locked while it lives
    mem/<id>           sealed arrays
    free/<bytes>.<id>  deleted arrays that are still read, or whose warm pages wait to be written again (see `pool`)
    scopes/<number>    locked by the process whose `with` block it stands for (see `lifetimes`)
    ended              what ended by itself, when and why
    names/<hash>       which array a key stands for (see `names`)
    ledger             bytes used, budget, epoch, generations (see `ledger`)
    checksums          of sealed arrays, written by the keeper (see `tend.checksums`)
    node               whose it is, and so when it may be adopted (see `tend.adopt`)
    keeper             locked by the keeper that tends this shelf
    disk               leads to the folder that this shelf spills to, if there is one (see `disk`, `spill`)
    hot/<id>           arrays on disk that are read often, for the keeper to bring back
    spilling           locked by who spills
    ways/<node>        why no process here asks a node's server, for a while (see `cluster.failures`)
    tally              what the node's processes have done here (see `tally`)
    ../owner           locked by the program that started the cluster for itself, if one did

The folder on disk has new, mem and free of the same kind, and a file `shelf`, which says whose it is: if that is not
there, the disk may not be mounted (see `disk`). There, and in new/, `<id>.copy` is a copy of an array that
is being moved, and `<id>.gate` says that other processes may write parts of a draft (see `parts`). `<name>.new` is
about to take the place of `<name>`.
"""

from __future__ import annotations

import os
import stat

NEW, MEM, FREE = "new", "mem", "free"
NAMES, SCOPES, HOT, WAYS = "names", "scopes", "hot", "ways"
LEDGER, CHECKSUMS, ENDED, NODE, KEEPER, DISK, SPILLING, TALLY = (
    "ledger", "checksums", "ended", "node", "keeper", "disk", "spilling", "tally",
)  # fmt: skip
OWNER = "owner"
SHELF = "shelf"

COPY = ".copy"  # how the name of a copy ends, so that nobody takes it for a draft
NEXT = ".new"  # how the name of a file ends that is about to replace another
MOVED = ".moved"  # how the name of a file ends that comes from another file system
BATCH = ".batch"  # how the name of a batch's marker ends, see `batches`
GATE = ".gate"  # how the name of a draft's gate ends, see `parts`
REMOVED = ".removed"  # how the name of a folder ends that is being removed

OWN_FILES = frozenset({
    NEW, MEM, FREE, NAMES, SCOPES, HOT, WAYS, LEDGER, CHECKSUMS, ENDED, NODE, KEEPER, DISK, SPILLING, TALLY,
    *(f"{name}{NEXT}" for name in (CHECKSUMS, NODE, DISK, TALLY)),
})  # fmt: skip
"""The names that may be in a shelf's folder."""

# --- ids: 88 random bits; two digits of a kind; eight of a number

ID_LENGTH = 32
RANDOM_BYTES = 11
NUMBERS = 1 << 32
LASTING = 0  # the kind of an array that does not end by itself
_HEXADECIMAL = "0123456789abcdef"


def is_id(name: str) -> bool:
    """Whether this is how the file of a sealed array is named: 32 hexadecimal digits."""
    return len(name) == ID_LENGTH and not name.strip(_HEXADECIMAL)


def suffix(kind: int, number: int) -> str:
    """The last ten digits of an id."""
    return f"{kind:02x}{number:08x}"


def kind_of(array_id: str) -> int:
    """The kind of lifetime of an array: see `lifetimes`."""
    return int(array_id[22:24], 16)


def number_of(array_id: str) -> int:
    """The number of the job or scope whose end ends the array."""
    return int(array_id[24:], 16)


def short(array_id: str) -> int:
    """64 random bits of an id, which tell it from others."""
    return int(array_id[:16], 16)


# --- segments


def is_segment(name: str) -> bool:
    """Whether this is how files are named that count: <id>, <id>.copy, <bytes>.<id>."""
    size, _, array_id = name.removesuffix(COPY).rpartition(".")
    return is_id(array_id) and (size.isdigit() or not size)


def in_pool(size: int, array_id: str) -> str:
    """The name of a deleted segment."""
    return f"{size}.{array_id}"


def size_in_pool(name: str) -> int | None:
    """The size of a deleted segment, by its name; None if it is none."""
    size, _, array_id = name.partition(".")
    return int(size) if size.isdigit() and len(array_id) == ID_LENGTH else None


def below_shelf(path: str) -> str:
    """The end of the path of a segment: new/<token>/<id>, mem/<id> or free/<bytes>.<id>."""
    folder = path.rfind("/", 0, path.rfind("/"))
    if path.endswith(f"/{NEW}", 0, folder):
        folder -= len(NEW) + 1
    return path[folder + 1 :]


# --- the folder on disk


def disk_of(shelf: str) -> str | None:
    """The folder that the shelf in the folder `shelf` spills to; None if none was chosen."""
    try:
        return os.readlink(f"{shelf}/{DISK}")
    except OSError:
        return None


# --- scopes


def scope_name(number: int) -> str:
    """The name of a scope's file."""
    return f"{number:08x}"


def mark_name(number: int, node: str) -> str:
    """The name of the mark that says that a scope has arrays on another node."""
    return f"{scope_name(number)}.{node}"


# --- modes: bits in the mode of a segment's file that say how the array is kept

FOLDER_MODE = 0o700
PRIVATE = 0o600
PINNED = PRIVATE | stat.S_ISVTX  # the array stays in memory
CACHED = PRIVATE | stat.S_IXUSR  # a cached copy of an array that other nodes keep: the first to go when room is needed
COPIED = PRIVATE | stat.S_IXGRP  # kept here, and other nodes may have copies
LEAVING = PRIVATE | stat.S_IXOTH  # the shelf is being evacuated: the array is deleted unless this mark is cleared first


def is_pinned(mode: int) -> bool:
    return bool(mode & stat.S_ISVTX)


def is_cached(mode: int) -> bool:
    return bool(mode & stat.S_IXUSR)


def is_copied(mode: int) -> bool:
    return bool(mode & stat.S_IXGRP)


def is_leaving(mode: int) -> bool:
    return bool(mode & stat.S_IXOTH)


def marked(mode: int, *, add: int = 0, remove: int = 0) -> int:
    """A mode with these marks and without those."""
    return (stat.S_IMODE(mode) | add) & ~(remove & ~PRIVATE)
