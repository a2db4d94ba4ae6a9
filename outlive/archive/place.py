"""Place: where an archive is, a folder or a prefix in object storage. Picklable: each node opens it for itself."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from outlive.archive import manifest
from outlive.archive.manifest import Manifest, parse
from outlive.errors import ArchiveNotFound

Piece = bytes | memoryview


class Reader(Protocol):
    """A file that is being read."""

    size: int  # bytes

    def read_into(self, target: memoryview) -> int:
        """Fill `target` with the next bytes. Returns how many there were: fewer only at the end."""


class Place(abc.ABC):
    """Where an archive is.

    All methods raise ArchiveUnavailable, or OSError for a folder, if it cannot be reached, or refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url

    @abc.abstractmethod
    def mark(self) -> str:
        """Leave a mark by which other processes find out whether they see the same place."""

    @abc.abstractmethod
    def sees(self, mark: str) -> bool:
        """Whether this process sees a mark: a folder may be one machine's alone. "" is no mark, and seen by all."""

    @abc.abstractmethod
    def unmark(self, mark: str) -> None: ...

    @abc.abstractmethod
    def sizes(self) -> dict[str, int]:
        """The bytes of each file below `arrays/`, by its name."""

    @abc.abstractmethod
    def has(self, name: str, nbytes: int) -> bool:
        """Whether there is a file of so many bytes. `sizes` may have it in upper case, where that is the same."""

    @abc.abstractmethod
    def write(self, name: str, pieces: Iterable[Piece], nbytes: int) -> None:
        """Write a file of so many bytes: all of it, or nothing."""

    @abc.abstractmethod
    def read(self, name: str) -> contextlib.AbstractContextManager[Reader]:
        """Read a file. Raises FileNotFoundError."""

    @abc.abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Delete files, as far as they are there."""

    @abc.abstractmethod
    def text(self) -> tuple[bytes, Any] | None:
        """The bytes of the manifest, and what `replace` needs to tell whether it is still the same; None: none."""

    @abc.abstractmethod
    def replace(self, data: bytes, before: Any) -> bool:
        """Replace the manifest in one step, unless it is another one than `before` by now (None: there was none).
        Whether that was done.
        """

    def manifest(self) -> tuple[Manifest, Any] | None:
        """The manifest, and `before` for `replace`; None if there is none. Raises CorruptArchive."""
        found = self.text()
        return None if found is None else (parse(found[0], self.url), found[1])

    def existing(self) -> Manifest:
        """The manifest. Raises ArchiveNotFound, CorruptArchive."""
        found = self.manifest()
        if found is None:
            raise ArchiveNotFound(
                f"{self.url} has no {manifest.NAME}: nothing was saved there, or no save has come to its end yet"
            )
        return found[0]


@contextlib.contextmanager
def marked(place: Place) -> Iterator[str]:
    """A mark for the `with` block; see `Place.mark`."""
    mark = place.mark()
    try:
        yield mark
    finally:
        place.unmark(mark)
