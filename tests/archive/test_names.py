"""Names of files: safe, one for each key, and read back."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outlive.archive.names import FOLDER, is_safe, name_of, shown
from outlive.archive.opening import place_of

ID = "0123456789abcdef" * 2
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


def key_of(name: str) -> str | None:
    """The key whose array a file has; None if the name does not say it."""
    written, dot, _ = name.removeprefix(f"{FOLDER}/").partition(".")
    if not dot or not name.startswith(f"{FOLDER}/") or written.startswith("=long/"):
        return None
    try:
        escaped = re.sub("=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), written)
        return escaped.encode("latin1").decode()
    except UnicodeError:
        return None


@given(KEYS)
@example("..")
@example("../../etc/passwd")
@example("/")
@example("a//b/")
@example("=2F")
@example("long")
@example("=long/x")
@example("ct.npy/7.npy")
@example("\0\n\\")
@example("ü" * 512)
@example("a" * 1024)
@example("a/" * 512)
def test_a_name_is_safe_and_tells_its_key(key: str) -> None:
    name = name_of(key, ID, "npy")
    assert is_safe(name)
    assert name.isascii()
    assert all(part not in ("", ".", "..") and len(part) <= 255 for part in name.split("/"))
    assert len(name) <= 1000
    assert key_of(name) == key or (key_of(name) is None and name.startswith(f"{FOLDER}/=long/"))


@given(KEYS, KEYS)
@example("A/b", "A//b")
@example("a", "a/b")
def test_two_keys_have_two_names_and_none_is_a_folder_of_the_other(one: str, other: str) -> None:
    first, second = name_of(one, ID, "npy"), name_of(other, ID, "npy")
    assert (first == second) == (one == other)
    assert not first.startswith(f"{second}/")


@pytest.mark.parametrize(
    "url",
    ["s3:/KEY:hidden@bucket/x", "az://c/p?sv=2024&sig=hidden", "https://bucket.example/x?X-Amz-Signature=hidden",
     "abfss://c@account.example/x#hidden", "file://name:hidden@host/x", "s3://KEY:hidden@bucket/x",
     "s3:/KEY:hid/hidden@bucket/x"],
)  # fmt: skip
def test_an_url_that_is_refused_is_named_without_what_may_be_secret(url: str) -> None:
    with pytest.raises(ValueError, match=url.partition(":")[0]) as refused:
        place_of(url)
    assert "hidden" not in str(refused.value)


def test_other_urls_and_paths_are_named_as_they_are() -> None:
    for url in ("s3://bucket/x", "/folder/a:b", "abfss://c@account.example/x", "folder@2", "http://host:9000/x"):
        assert shown(url) == repr(url)


def test_common_keys_can_be_read() -> None:
    assert name_of("ct/7", ID, "npy") == f"arrays/ct/7.{ID}.npy"
    assert name_of("scan v1.2", ID, "npy") == f"arrays/scan=20v1=2E2.{ID}.npy"


@pytest.mark.parametrize(
    "name",
    [
        "../x", "arrays/../x", "arrays/..", "/etc/passwd", "arrays//x", "arrays/", "arrays", "manifest.json",
        "arrays/.x", "arrays/a/./b", "arrays/a\\b", "arrays/a\0", "arrays/a\n", "arrays/ä", "arrays/" + "a" * 2000, 7,
        None, ["a"], "C:/x", "arrays/a/../../x", "arrays/%2e%2e/x", "s3://other/x",
    ],
)  # fmt: skip
def test_other_names_are_refused(name: object) -> None:
    assert not is_safe(name)
