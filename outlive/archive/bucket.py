"""An archive in object storage, by obstore: S3, Google Cloud Storage, Azure, and what speaks like one of them.

A put is whole or nothing there. If it is killed, the parts of a large file that were sent are no object; a rule of the
bucket removes them (`AbortIncompleteMultipartUpload`).
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from outlive.archive import manifest
from outlive.archive.names import FOLDER, shown
from outlive.archive.place import Piece, Place
from outlive.errors import ArchiveUnavailable, CorruptArchive
from outlive.extras import named

_PART, _MOST_PARTS = 16 << 20, 10_000  # bytes of a large file that travel at a time; S3 takes so many parts of a file
_PARTS_AT_ONCE = 4  # of one file
_RETRIES = {"max_retries": 5}
_RETRY_SECONDS = 60
_TIMEOUT = "300s"  # of a request; obstore's 30 s are too few for all the parts that share a slow line
_KINDS = ("S3Store", "GCSStore", "AzureStore")  # with obstore's others, a save would be to this process, or half of one
_KNOWN = "Archives are in folders, and in object storage: s3://bucket/name, gs://, az://"
_CLIENT = frozenset({
    "allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type", "default_headers",
    "http1_only", "http2_keep_alive_interval", "http2_keep_alive_timeout", "http2_keep_alive_while_idle", "http2_only",
    "pool_idle_timeout", "pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "proxy_url",
    "randomize_addresses", "root_certificate", "timeout", "user_agent",
})  # fmt: skip
"""Options of the connection, which obstore takes apart from those of the storage."""
_USUAL = {
    *_CLIENT, "access_key_id", "account_key", "account_name", "endpoint", "region", "sas_token", "secret_access_key",
    "service_account", "service_account_key", "session_token", "skip_signature", "virtual_hosted_style_request",
}  # fmt: skip
"""Options that may be meant by one that is not known."""


class Bucket(Place):
    """A prefix in object storage. `options` are those of obstore's stores, such as `endpoint` and `region`.

    Without `here`, what only obstore can tell of them is raised by the first call.

    Raises
    ------
    ValueError
        The URL, or an option, cannot be. The message says which, and why.
    MissingPackage
    """

    def __init__(self, url: str, options: dict[str, Any], *, here: bool = True) -> None:
        super().__init__(url)
        self._options = options
        _check_url(url)
        _check_options(url, options)
        if here:
            _ = self._store

    @functools.cached_property
    def _store(self) -> Any:
        from datetime import timedelta

        try:
            import obstore.exceptions
            import obstore.store
        except ModuleNotFoundError as error:
            raise named(error) from None

        client: dict[str, Any] = {"timeout": _TIMEOUT}
        if _is_plain_http(self._options):
            client["allow_http"] = True
        client |= {name: self._options[name] for name in _CLIENT & set(self._options)}
        config = {name: value for name, value in self._options.items() if name not in _CLIENT}
        retry = {**_RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
        try:
            with _no_panic():
                made = obstore.store.from_url(self.url, config=config, client_options=client, retry_config=retry)
        except obstore.exceptions.UnknownConfigurationKeyError as error:
            raise ValueError(f"{shown(self.url)}: {_unknown(config, str(error))}") from None
        except (obstore.exceptions.BaseError, TypeError, ValueError, ArchiveUnavailable) as error:
            raise ValueError(f"{shown(self.url)}: {_first_line(error)}. {_KNOWN}") from None
        if type(made).__name__ not in _KINDS:
            raise ValueError(f"{shown(self.url)} is no object storage. {_KNOWN}")
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_options": self._options}

    def mark(self) -> str:
        return ""

    def sees(self, mark: str) -> bool:
        return not mark

    def unmark(self, mark: str) -> None:
        pass

    def sizes(self) -> dict[str, int]:
        with self._explained(), self._there():
            return {one["path"]: one["size"] for some in self._store.list(f"{FOLDER}/") for one in some}

    def has(self, name: str, nbytes: int) -> bool:
        with self._explained():
            try:
                return bool(self._store.head(name)["size"] == nbytes)
            except FileNotFoundError:
                return False

    def write(self, name: str, pieces: Iterable[Piece], nbytes: int) -> None:
        with self._explained(), self._there():
            whole: Any = pieces if nbytes > _PART else b"".join(pieces)
            part = max(_PART, -(-nbytes // _MOST_PARTS))
            self._store.put(name, whole, chunk_size=part, max_concurrency=_PARTS_AT_ONCE)

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
        with self._explained(), self._there():
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            try:
                self._store.put(manifest.NAME, data, mode="create" if before is None else before, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Have errors of the storage say which one it is."""
        _ = self._store  # first: without obstore, or with options that cannot be, it says so
        from obstore.exceptions import BaseError

        try:
            with _no_panic():
                yield
        except (BaseError, ArchiveUnavailable) as error:
            raise ArchiveUnavailable(f"{self.url}: {_first_line(error)}") from error

    @contextlib.contextmanager
    def _there(self) -> Iterator[None]:
        """A FileNotFoundError in this block is about the bucket."""
        try:
            yield
        except FileNotFoundError as error:
            raise ArchiveUnavailable(
                f"there is no such bucket, or none that may be seen: make it first ({_first_line(error)})"
            ) from None


class _BucketReader:
    """Reads a part after the other, each by a request of its own: a connection that breaks costs one part."""

    def __init__(self, store: Any, name: str) -> None:
        from obstore.exceptions import BaseError

        self._store, self._name = store, name
        self.size, self._rest = 0, memoryview(b"")
        try:
            first = store.get(name, options={"range": (0, _PART)})
            self.size, self._rest = int(first.meta["size"]), memoryview(first.bytes())
        except BaseError:  # a range of nothing is none
            if store.head(name)["size"]:
                raise
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


@contextlib.contextmanager
def _no_panic() -> Iterator[None]:
    """A panic of obstore's Rust is no Exception, and would end a mirror. Raises ArchiveUnavailable."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ArchiveUnavailable(f"obstore failed: {_first_line(error)}. Check URL and options") from None


def _check_url(url: str) -> None:
    """Refuse what obstore would leave out of a URL, so that the archive would be elsewhere."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"{shown(url)}: {error}") from None
    reason = ""
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        reason = "a URL of an archive has no ? or #: settings belong into options, or into the environment"
    elif parts.username is not None and parts.scheme in ("s3", "s3a", "gs"):
        url = url.replace(f"{parts.netloc.rpartition('@')[0]}@", "...@", 1)
        reason = "keys belong into options, or into the environment"
    elif not parts.netloc and parts.scheme in ("s3", "s3a", "gs", "az"):
        reason = f"it names no bucket: write {parts.scheme}://bucket/name"
    elif {".", ".."} & set(parts.path.split("/")):
        reason = "a URL of an archive has no . or .. in it"
    if reason:
        raise ValueError(f"{shown(url)}: {reason}")


def _check_options(url: str, options: dict[str, Any]) -> None:
    """Name the option that is not as it has to be: obstore names only the type of its value."""
    from datetime import timedelta

    for name, value in options.items():
        reason = ""
        if not isinstance(name, str):
            reason = "the name of an option is text"
        elif name == "default_headers" and isinstance(value, dict):
            continue
        elif not isinstance(value, str | bool | (timedelta if "time" in name else str)) and not (
            name == "root_certificate" and isinstance(value, bytes)
        ):
            reason = f"its value is text, such as '30s' or 'true', not {type(value).__name__}"
        elif name.lower().endswith(("endpoint", "endpoint_url")) and not _is_address(value):
            reason = f"{value!r:.100} is no address: it begins with http:// or https://, and a host follows"
        if reason:
            raise ValueError(f"{shown(url)}: option {name!r:.60}: {reason}")


def _is_address(value: object) -> bool:
    try:
        parts = urlsplit(str(value))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_plain_http(options: dict[str, Any]) -> bool:
    """Whether the server has an address without TLS, which is allowed only if it is said."""
    given = [value for name, value in options.items() if name.lower().endswith(("endpoint", "endpoint_url"))]
    given = given or [value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT")]
    return any(str(value).startswith("http://") for value in given)


def _unknown(config: dict[str, Any], said: str) -> str:
    name = next((name for name in config if repr(name) in said), "")
    close = difflib.get_close_matches(name.lower(), _USUAL, 1)
    meant = f"is {close[0]!r} meant?" if close else "see the configuration of obstore's stores"
    return f"option {name!r:.60} is not known; {meant}" if name else said
