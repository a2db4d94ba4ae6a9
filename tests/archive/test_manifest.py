"""The manifest: written and read back, and nothing in it trusted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from outlive.archive.manifest import NPY, PACKED, Entry, Manifest, parse
from outlive.arrays.dtypes import encode_dtype
from outlive.errors import CorruptArchive

ID, SHA = "0123456789abcdef" * 2, "f" * 64
DTYPES = [
    "<f8", "|b1", ">i2", "<U3", "<M8[ns]", "|V5", [("x", "<i4"), ("y", "<f8", (2, 3))], [("p", [("q", "|u1")])],
    [(("of it all", "x"), "<f8"), ("p", [(("inside", "q"), "|u1", (2,))])], [((("a", 1), "x"), "<f8")],
    [("\ud800", "<f8")],
]  # fmt: skip


def entry(key: str = "a", **fields: Any) -> Entry:
    about = {"dtype": "'<f8'", "shape": (2, 3), "codec": NPY} | fields
    return Entry(**{"key": key, "file": "arrays/a.npy", "bytes": 1000, "sha256": SHA, "id": ID, "version": 7} | about)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_are_read_back(dtype: Any) -> None:
    one = entry(dtype=encode_dtype(np.dtype(dtype)), order="F")
    written = Manifest("s", {"a": one}, frozenset({"arrays/old.npy"}))
    assert parse(written.to_json(), "here") == written


def test_values_and_odd_keys_are_read_back() -> None:
    key = 'ü\n"\0/..'
    one = entry(key, dtype="", shape=(), codec=PACKED, kind="tree", pickle=True)
    assert parse(Manifest("s", {key: one}).to_json(), "here").entries == {key: one}


HOSTILE: dict[str, dict[str, Any]] = {
    "a file outside": {"file": "../../etc/passwd"},
    "an absolute file": {"file": "/etc/passwd"},
    "no file": {"file": None},
    "a negative size": {"bytes": -1},
    "a size that is no integer": {"bytes": 1e300},
    "a size that is true": {"bytes": True},
    "too few bytes": {"bytes": 48},
    "a negative shape": {"shape": [-1, 3]},
    "an endless shape": {"shape": [1 << 62, 1 << 62]},
    "an empty shape that is too large": {"shape": [0, 1 << 62]},
    "a shape that is text": {"shape": "12"},
    "a shape of too many": {"shape": [1] * 100},
    "objects": {"dtype": "|O"},
    "a dtype of text": {"dtype": "__import__('os')"},
    "a dtype that is a number": {"dtype": 7},
    "fields of nothing": {"dtype": [["x"]]},
    "no checksum": {"sha256": ""},
    "a checksum with more": {"sha256": SHA + "\n"},
    "another codec": {"codec": "exe"},
    "an empty key": {"key": ""},
    "a long key": {"key": "k" * 2000},
    "a key that is a list": {"key": ["k"]},
    "an order": {"order": "X"},
    "a surrogate": {"key": "\ud800"},
    "a kind": {"codec": PACKED, "kind": "../x\n"},
    "a value that says it is an array": {"codec": PACKED, "kind": "array"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_is_refused(name: str) -> None:
    text = json.loads(Manifest("s", {"a": entry()}).to_json())
    assert parse(json.dumps(text).encode(), "here")
    text["arrays"][0] |= HOSTILE[name]
    with pytest.raises(CorruptArchive, match="here"):
        parse(json.dumps(text).encode(), "here")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": "outlive archive"}',
        b'{"format": "outlive archive", "version": 2, "arrays": []}',
        b'{"format": "outlive archive", "version": 1, "arrays": {}}',
        b'{"format": "outlive archive", "version": 1, "arrays": [7]}',
        b'{"format": "outlive archive", "version": 1, "arrays": [NaN]}',
        b'{"format": "outlive archive", "version": 1, "arrays": [], "superseded": ["../x"]}',
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptArchive, match="here"):
        parse(data, "here")


def test_a_key_twice_is_refused() -> None:
    text = json.loads(Manifest("s", {"a": entry()}).to_json())
    text["arrays"] *= 2
    with pytest.raises(CorruptArchive, match="twice"):
        parse(json.dumps(text).encode(), "here")


def test_files_stay_for_readers_of_the_manifest_before() -> None:
    first = Manifest("s", {"a": entry(file="arrays/1"), "b": entry("b", file="arrays/b")})
    second = first.changed({"a": entry(file="arrays/2", version=8)}, [], first.entries, "s")
    assert second.superseded == {"arrays/1"}
    third = second.changed({}, ["b"], second.entries, "s")
    assert third.superseded == {"arrays/b"}
    assert list(third.entries) == ["a"]


def test_an_older_array_does_not_replace_what_another_save_wrote_meanwhile() -> None:
    seen = {"a": entry(file="arrays/1", version=1)}
    now = Manifest("s", {"a": entry(file="arrays/3", version=3)})
    after = now.changed({"a": entry(file="arrays/2", version=2)}, ["a"], seen, "s")
    assert after.entries == now.entries
    earlier = entry(file="arrays/0", version=0)  # a clock that was set back: nobody else has saved
    assert now.changed({"a": earlier}, [], now.entries, "s").entries == {"a": earlier}
