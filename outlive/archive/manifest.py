"""The manifest: one JSON file that says which key is in which file. Nothing in it is trusted.

    {"format": "outlive archive", "version": 1, "store": "default", "saved_at": "2026-11-27T02:00:00+00:00",
     "arrays": [{"key": "ct/7", "file": "arrays/ct/7.4c1f...01.npy", "codec": "npy", "dtype": "<i2",
                 "shape": [512, 512], "order": "C", "bytes": 524416, "sha256": "...", "id": "4c1f...01",
                 "version": 1795744800000000000}, ...],
     "superseded": ["arrays/ct/7.80a2...01.npy"]}

`bytes` and `sha256` are those of the file, and `dtype` is as in the .npy format. The files of the manifest before this
one are deleted when the next one is written: until then `superseded` lists them, and readers of both find their files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from outlive.archive.names import is_safe
from outlive.arrays.dtypes import decode_dtype, literal
from outlive.arrays.info import check_key
from outlive.arrays.layout import is_id
from outlive.errors import CorruptArchive, CorruptArray, InvalidKey, InvalidKeyType

NAME = "manifest.json"
LARGEST = 1 << 30  # bytes of a manifest that is read
NPY, ARROW, PACKED = "npy", "arrow", "packed"
"""Codecs: a .npy file; a stream of Arrow's format; the bytes in which outlive keeps other values."""
_FORMAT, _VERSION = "outlive archive", 1
_MOST = (1 << 63) - 1
_SHA256 = re.compile("[0-9a-f]{64}")
_KIND = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")


class Entry(NamedTuple):
    """A file of an archive, and all that is known of it."""

    key: str
    file: str
    codec: str  # NPY, ARROW or PACKED
    bytes: int  # of the file
    sha256: str  # of the file
    id: str  # of the array that was saved
    version: int  # of that array: the time of its put, in nanoseconds since 1970
    dtype: str = ""  # of an array, as a Python literal; "" for other values
    shape: tuple[int, ...] = ()
    order: str = "C"
    kind: str = ""  # of a value that is no array: "tree", "pickle", ..., as `ArrayHandle.kind`
    pickle: bool = False  # it is or has a pickle. A reader finds out by itself

    @property
    def nbytes(self) -> int:
        """Bytes of an array's data, without the file's header."""
        return math.prod(self.shape) * decode_dtype(self.dtype).itemsize


class Manifest(NamedTuple):
    """Which key is in which file."""

    store: str
    entries: Mapping[str, Entry]  # by key
    superseded: frozenset[str] = frozenset()

    def to_json(self) -> bytes:
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "store": self.store,
            "saved_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        lines = ",\n".join(_line(self.entries[key]) for key in sorted(self.entries))
        text = (
            json.dumps(head)[:-1]
            + f', "arrays": [\n{lines}\n], "superseded": {json.dumps(sorted(self.superseded))}}}\n'
        )
        return text.encode()

    def changed(
        self, saved: Mapping[str, Entry], dropped: Iterable[str], seen: Mapping[str, Entry], store: str
    ) -> Manifest:
        """The next manifest.

        Parameters
        ----------
        seen
            The entries from which the changes were made. If another process has saved a later array of a key since,
            that one stays.
        """
        entries = dict(self.entries)
        for key, entry in saved.items():
            there = entries.get(key)
            if there is None or there == seen.get(key) or there.version <= entry.version:
                entries[key] = entry
        for key in dropped:
            if entries.get(key) == seen.get(key):
                entries.pop(key, None)
        files = {entry.file for entry in entries.values()}
        return Manifest(store, entries, frozenset({entry.file for entry in self.entries.values()} - files))


def _line(entry: Entry) -> str:
    fields: dict[str, Any] = {"key": entry.key, "file": entry.file, "codec": entry.codec}
    if entry.codec == NPY:
        fields |= {"dtype": literal(entry.dtype), "shape": entry.shape, "order": entry.order}
    else:
        fields |= {"kind": entry.kind, "pickle": entry.pickle}
    fields |= {"bytes": entry.bytes, "sha256": entry.sha256, "id": entry.id, "version": entry.version}
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # the name of a dtype's field may have a lone surrogate
        return json.dumps(fields)
    return text


def can_tell(entry: Entry) -> bool:
    """Whether a manifest with this entry can be read: JSON has not all that the title of a dtype's field may be."""
    entry = entry._replace(sha256="0" * 64)
    try:
        return _entry(json.loads(_line(entry), parse_constant=_no_constant)) == entry
    except (ValueError, TypeError, RecursionError):
        return False


def parse(data: bytes, where: str) -> Manifest:
    """The manifest in these bytes.

    Raises
    ------
    CorruptArchive
        They are none, or something in it cannot be: a file outside the archive, a size that does not fit, a key twice.
    """
    try:
        found = json.loads(data, parse_constant=_no_constant)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ValueError(f"it does not say that its format is {_FORMAT!r}")
        if found["version"] != _VERSION:
            raise ValueError(
                f"it has version {found['version']!r:.40}, and this outlive reads {_VERSION}: upgrade outlive"
            )
        superseded = found.get("superseded", [])
        if not isinstance(found["arrays"], list) or not isinstance(superseded, list):
            raise TypeError("its arrays are no list")
        if not all(map(is_safe, superseded)):
            raise ValueError("a superseded file is not one of the archive")
        entries: dict[str, Entry] = {}
        for fields in found["arrays"]:
            entry = _entry(fields)
            if entry.key in entries:
                raise ValueError(f"it has the key {entry.key!r:.100} twice")
            entries[entry.key] = entry
        return Manifest(str(found.get("store", "")), entries, frozenset(superseded))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = (
            f"it lacks {error}" if isinstance(error, KeyError) and not isinstance(error, InvalidKey) else str(error)
        )
        raise CorruptArchive(f"{where}: the manifest cannot be read: {reason:.300}") from None


def _entry(fields: Any) -> Entry:
    """One entry, in which every field is of its type and fits the others."""
    try:
        key, file, codec = check_key(fields["key"]), fields["file"], fields["codec"]
        if not is_safe(file):
            raise ValueError(f"file {file!r:.200} is not one of the archive")
        if codec not in (NPY, ARROW, PACKED):
            raise ValueError(f"codec {codec!r:.40} is not known: upgrade outlive")
        if not _is_size(fields["bytes"]) or not _is_size(version := fields.get("version", 0)):
            raise ValueError(f"bytes {fields['bytes']!r:.40} is no size")
        if not isinstance(fields["sha256"], str) or not _SHA256.fullmatch(fields["sha256"]):
            raise ValueError("sha256 is not 64 hexadecimal digits")
        array_id = fields.get("id", "")
        entry = Entry(
            key,
            file,
            codec,
            fields["bytes"],
            fields["sha256"],
            array_id if isinstance(array_id, str) and is_id(array_id) else "",
            version,
        )
        return _array(entry, fields) if codec == NPY else _value(entry, fields)
    except (ValueError, TypeError, KeyError, CorruptArray, InvalidKeyType) as error:
        reason = f"it lacks {error}" if type(error) is KeyError else str(error)
        name = fields.get("key") if isinstance(fields, dict) else fields
        raise ValueError(f"{name!r:.100}: {reason}") from None


def _array(entry: Entry, fields: Any) -> Entry:
    shape, order = fields["shape"], fields.get("order", "C")
    if not isinstance(shape, list) or len(shape) > 64 or not all(map(_is_size, shape)) or order not in ("C", "F"):
        raise ValueError(f"shape {shape!r:.100} is none")
    entry = entry._replace(dtype=repr(_descr(fields["dtype"])), shape=tuple(shape), order=order)
    # NumPy refuses such a shape even if the array is empty.
    if math.prod(filter(None, entry.shape)) * max(1, decode_dtype(entry.dtype).itemsize) > _MOST:
        raise ValueError(f"shape {shape!r:.100} is too large for any array")
    if not entry.nbytes < entry.bytes:
        raise ValueError(f"{entry.bytes} bytes are too few for shape {shape!r:.100} of {fields['dtype']!r:.100}")
    return entry


def _value(entry: Entry, fields: Any) -> Entry:
    kind, pickle = fields["kind"], fields.get("pickle", False)
    if not isinstance(kind, str) or not _KIND.fullmatch(kind) or kind == "array" or not isinstance(pickle, bool):
        raise ValueError(f"kind {kind!r:.100} is none")
    return entry._replace(kind=kind, pickle=pickle)


def _descr(dtype: Any) -> Any:
    """A dtype in JSON as in the .npy format: where JSON has lists there are tuples, also of a title and a name."""
    if isinstance(dtype, str):
        return dtype
    return [tuple(_descr(part) if i == 1 else _tuples(part) for i, part in enumerate(field)) for field in dtype]


def _tuples(part: Any) -> Any:
    return tuple(map(_tuples, part)) if isinstance(part, list) else part


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
