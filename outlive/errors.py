"""Every exception that outlive raises: one class for each decision a caller can take.

All derive from `OutliveError` and from the builtin that a caller would expect. The message says what happened, to which
array, where, and what to do about it.
"""

from __future__ import annotations


class OutliveError(Exception):
    """Base of all errors of this package."""

    def __str__(self) -> str:  # KeyError would show the repr of its message, OSError its number too
        return str(self.args[-1]) if self.args else ""


class ArrayNotFound(OutliveError, KeyError):
    """No array has this key or id: never stored, deleted, or overwritten. Check the key, or store it again."""


class ArrayLost(OutliveError, LookupError):
    """The array was stored and nobody deleted it, yet no copy is left. Make it again."""


class StoreFull(OutliveError, MemoryError):
    """The array does not fit. Delete arrays, or raise the budget (`outlive.open(memory=...)`). Nothing was stored."""


class CreationEnded(OutliveError, ValueError):
    """The array is not being created any more: it is stored, or discarded. Write all parts before the block ends."""


class UnsupportedArray(OutliveError, TypeError):
    """This value cannot be stored without losing something. The message names a form that can."""


class PickleRefused(OutliveError, TypeError):
    """This value needs pickle, and its store was opened with `pickle=False`. Register a codec, or allow pickle."""


class UnknownType(OutliveError, LookupError):
    """The stored value is of a type or a codec that this process lacks. Install or import what the message names."""


class CorruptArray(OutliveError, ValueError):
    """The array's file is damaged: truncated, overwritten, or not written by outlive. Run `outlive check`."""


class ArchiveNotFound(OutliveError, FileNotFoundError):
    """No manifest is there: nothing was saved, or a save did not come to its end. Check the URL, or save again."""


class CorruptArchive(OutliveError, ValueError):
    """A saved file is not what its manifest says, or the manifest cannot be. Nothing was loaded from it."""


class ArchiveUnavailable(OutliveError, ConnectionError):
    """The folder or the object storage cannot be reached or refuses. The message has its own words. Try again."""


class StoreUnavailable(OutliveError, ConnectionError):
    """No Ray cluster is connected, or its keeper or catalog cannot be reached. Connect, or start it again."""


class OutsideCluster(StoreUnavailable):
    """This process is a Ray Client: calls that need a shelf have to run in the cluster, by way of `store.gateway`."""


class InvalidKey(OutliveError, ValueError):
    """A key is a `str` of 1 to 1024 bytes in UTF-8; this string is not."""


class InvalidKeyType(OutliveError, TypeError):
    """A key is a `str`; this is something else."""


class UnsafeRoot(OutliveError, PermissionError):
    """The folder for the segments belongs to another user, or others may enter it. Choose another, or repair it."""


class TooManyViews(OutliveError, OSError):
    """This process maps more arrays than the system allows. Drop views, or raise the limit that the message names."""


class GpuUnavailable(OutliveError, RuntimeError):
    """No GPU can be used here: there is none, or no driver, or the driver refuses. Use `handle.get()` without it."""


class UnsupportedPlatform(OutliveError, ImportError):
    """outlive needs POSIX file locks and memory maps: Linux (macOS untested). On Windows, use WSL 2."""


class MissingPackage(OutliveError, ModuleNotFoundError):
    """A package that this needs is not installed. Install it: the message has the command, and `name` the package."""


class UnsupportedRay(OutliveError, NotImplementedError):
    """This version of Ray does something in a way that outlive does not know. Nothing was done."""


class BadSetting(OutliveError, ValueError):
    """A bound, a limit or a setting cannot be: contradictory, out of range, or below what a bare worker needs."""


class TuneRefused(OutliveError, PermissionError):
    """The system does not let this process change or measure its shared memory. The message says what was refused."""


class BadTrace(OutliveError, ValueError):
    """The file is not a trace of tasks. Record one with `outlive workers record`."""


class BadClusterFile(OutliveError, ValueError):
    """The file is not the cluster file it was given as. The message says where."""
