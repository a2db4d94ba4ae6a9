"""Pictures of stored arrays, and of any slice of a volume. The store is a local one: it needs no Ray."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

import outlive
from outlive.dashboard import pictures
from outlive.store import session
from tests.local.conftest import shared_root, store

assert shared_root and store  # fixtures


def picture_of(store: outlive.Store, key: str, at: int | None = None) -> dict[str, object]:
    return pictures.of(store.handle(key), session.at(store.place).node, at)


def brightness(found: dict[str, object]) -> int:
    """Of the first pixel of a grey picture."""
    png = base64.b64decode(str(found["png"]))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    begin = png.index(b"IDAT") + 4
    return zlib.decompressobj().decompress(png[begin:])[1]


def test_slices_of_a_volume(store: outlive.Store) -> None:
    volume = np.zeros((30, 20, 20), np.int16)
    volume[7, 0, 0] = 100
    store["ct"] = volume
    middle = picture_of(store, "ct")
    assert (middle["slices"], middle["at"], middle["said"]) == (30, 15, "[15, ...]")
    assert (brightness(middle), brightness(picture_of(store, "ct", 7))) == (0, 255)
    assert picture_of(store, "ct", 10**9)["at"] == 29
    assert picture_of(store, "ct", -5)["at"] == 0


@pytest.mark.parametrize("form", [(20, 30), (20, 30, 3)])
def test_images_have_no_slices(store: outlive.Store, form: tuple[int, ...]) -> None:
    store["image"] = np.full(form, 9, np.uint8)
    found = picture_of(store, "image")
    assert found["png"] and (found["slices"], found["at"]) == (None, None)


def test_four_axes_and_fortran(store: outlive.Store) -> None:
    store["four"] = np.ones((3, 4, 20, 20))
    assert picture_of(store, "four", 2)["said"].startswith("[2, ...]")
    store["fortran"] = np.asfortranarray(np.ones((20, 20, 20)))
    assert picture_of(store, "fortran", 3)["at"] == 3


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.zeros(5), "no image"),
        (np.zeros((0, 20, 20)), "no items"),
        (np.zeros((3, 3)), "no image"),
        (np.array(["a"] * 400).reshape(20, 20), "no image"),
        ({"a": 1}, "no array"),
    ],
    ids=["a line", "empty", "small", "text", "a dict"],
)
def test_what_has_no_picture(store: outlive.Store, value: object, why: str) -> None:
    store["k"] = value
    found = picture_of(store, "k")
    assert found["png"] is None
    assert why in str(found["said"])


def test_a_large_one_is_not_brought_here(store: outlive.Store, monkeypatch) -> None:
    monkeypatch.setattr(pictures, "_BRING", 1000)
    store["ct"] = np.ones((30, 64, 64))
    found = pictures.of(store.handle("ct"), "another node", None)
    assert "too large to be brought here" in str(found["said"])
