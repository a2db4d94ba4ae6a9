"""An archive in object storage, by obstore: S3, Google Cloud Storage, Azure, and what speaks like one of them.

A put is whole or nothing there. If it is killed, the parts of a large file that were sent are no object; a rule of the
bucket removes them (`AbortIncompleteMultipartUpload`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

from outlive.archive import manifest
from outlive.archive.names import FOLDER
from outlive.archive.place import Piece, Place
from outlive.errors import ArchiveUnavailable, CorruptArchive
from outlive.extras import named

_PART = 16 << 20  # bytes of a large file that travel at a time
_PARTS_AT_ONCE = 4  # of one file
_RETRIES = {"max_retries": 5}
_RETRY_SECONDS = 60
_CLIENT = frozenset({
    "allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "proxy_ca_certificate", "timeout",
    "user_agent",
})  # fmt: skip
"""Options of the connection, which obstore takes apart from those of the storage."""


class Bucket(Place):
    """A prefix in object storage. `options` are those of obstore's stores, such as `endpoint` and `region`."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        super().__init__(url)
        self._options = options
        try:
            _ = self._store
        except ModuleNotFoundError as error:
            raise named(error) from None

    @functools.cached_property
    def _store(self) -> Any:
        from datetime import timedelta

        import obstore.exceptions
        import obstore.store

        client: dict[str, Any] = {name: self._options[name] for name in _CLIENT & set(self._options)}
        config = {name: value for name, value in self._options.items() if name not in _CLIENT}
        if any(str(value).startswith("http://") for name, value in config.items() if name.endswith("endpoint")):
            client.setdefault("allow_http", True)
        retry = {**_RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
        try:
            return obstore.store.from_url(self.url, config=config, client_options=client, retry_config=retry)
        except (obstore.exceptions.BaseError, TypeError) as error:
            raise ValueError(f"{self.url!r:.200}: {_first_line(error)}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_options": self._options}

    def mark(self) -> str:
        return ""

    def sees(self, mark: str) -> bool:
        return not mark

    def unmark(self, mark: str) -> None:
        pass

    def sizes(self) -> dict[str, int]:
        with self._explained():
            return {one["path"]: one["size"] for some in self._store.list(f"{FOLDER}/") for one in some}

    def write(self, name: str, pieces: Iterable[Piece], nbytes: int) -> None:
        with self._explained():
            whole: Any = pieces if nbytes > _PART else b"".join(pieces)
            self._store.put(name, whole, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE)

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[_BucketReader]:
        with self._explained():
            yield _BucketReader(self._store, name)

    def delete(self, names: Iterable[str]) -> None:
        with self._explained():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._store.delete(name)

    def text(self) -> tuple[bytes, Any] | None:
        with self._explained():
            try:
                found = self._store.get(manifest.NAME)
            except FileNotFoundError:
                return None
            if found.meta["size"] > manifest.LARGEST:
                raise CorruptArchive(f"{self.url}/{manifest.NAME} is too large for a manifest")
            return bytes(found.bytes()), {name: found.meta[name] for name in ("e_tag", "version") if found.meta[name]}

    def replace(self, data: bytes, before: Any) -> bool:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._explained():
            try:
                self._store.put(manifest.NAME, data, mode="create" if before is None else before, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Have errors of the storage say which one it is."""
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseError as error:
            raise ArchiveUnavailable(f"{self.url}: {_first_line(error)}") from error


class _BucketReader:
    """Reads a part after the other, each by a request of its own: a connection that breaks costs one part."""

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name = store, name
        first = store.get(name, options={"range": (0, _PART)}) if store.head(name)["size"] else None
        self.size: int = first.meta["size"] if first is not None else 0
        self._rest = memoryview(first.bytes()) if first is not None else memoryview(b"")
        self._at = len(self._rest)

    def read_into(self, target: memoryview) -> int:
        done = 0
        while done < len(target):
            if not len(self._rest):
                if self._at >= self.size:
                    break
                end = min(self.size, self._at + _PART)
                self._rest = memoryview(self._store.get_range(self._name, start=self._at, end=end))
                if not len(self._rest):
                    break
                self._at += len(self._rest)
            count = min(len(target) - done, len(self._rest))
            target[done : done + count] = self._rest[:count]
            self._rest, done = self._rest[count:], done + count
        return done


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:500]
