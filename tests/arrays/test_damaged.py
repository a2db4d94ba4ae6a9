"""Damaged segments, foreign files, planted traps: refused or reported, never followed, never another array's bytes."""

from __future__ import annotations

import errno
import json
import os
import pickle
import socket
import stat
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outlive.arrays import segment
from outlive.arrays.defect import Defect
from outlive.arrays.info import ArrayInfo
from outlive.arrays.lock import EXCLUSIVE, open_locked
from outlive.arrays.reader import Reader
from outlive.arrays.segment import COPY_BELOW
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check
from outlive.arrays.writer import Writer
from outlive.cluster.transfer import NotThere, open_sealed
from outlive.errors import ArrayNotFound, CorruptArray
from tests.arrays.summing import compute_checksums
from tests.long import few

from .local_store import disk_usage

SMALL, LARGE = 1000, COPY_BELOW  # items of 2 bytes: one is copied when read, the other mapped
SIZES = pytest.mark.parametrize("count", [SMALL, LARGE], ids=["copied", "mapped"])
ABSENT = "0" * 32


def stored(shelf: Shelf, count: int = SMALL, key: str | None = None) -> tuple[ArrayInfo, Path]:
    info = Writer(shelf).put(np.arange(count).astype("u2"), key=key)
    return info, Path(shelf.mem, info.id)


def assert_corrupt(shelf: Shelf, info: ArrayInfo) -> None:
    """By handle, and by its footer."""
    with pytest.raises(CorruptArray) as caught:
        Reader(shelf).view(info)
    assert isinstance(caught.value, ValueError)
    assert info.id in str(caught.value)
    with pytest.raises(CorruptArray):
        shelf.info(info.id)
    assert list(shelf.scan()) == []
    assert [(finding.problem, finding.mended) for finding in check(shelf) if finding.problem != "miscounted"] == [
        ("damaged", False)
    ]
    assert os.path.lexists(f"{shelf.mem}/{info.id}")  # left for people to look at


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# --- damage


def lengths(info: ArrayInfo) -> list[int]:
    """Where a truncation may cut: in and around the header, the data, the footer, the trailer; and beyond the end."""
    edges = [0, 6, 10, info.offset, info.size // 2, info.offset + info.nbytes, info.size - 4096]
    edges += [info.size - segment.TRAILER.size, info.size - 8, info.size, info.size + 4096]
    around = {length for edge in edges for length in (edge - 1, edge, edge + 1)}
    return sorted(length for length in around if length >= 0 and length != info.size)


@SIZES
def test_wrong_length(shelf: Shelf, count: int) -> None:
    for length in lengths(stored(shelf, count)[0]):
        [old] = shelf.ids()
        shelf.delete(old)
        info, path = stored(shelf, count)
        os.truncate(path, length)
        assert_corrupt(shelf, info)


@SIZES
def test_truncated_and_padded_to_its_old_length(shelf: Shelf, count: int) -> None:
    """As by a file system that lost the last blocks."""
    info, path = stored(shelf, count)
    os.truncate(path, info.size - 512)
    os.truncate(path, info.size)
    assert_corrupt(shelf, info)


@settings(max_examples=few(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), bit=st.integers(0, 7), count=st.sampled_from([SMALL, LARGE]))
def test_any_damaged_bit_of_header_or_footer(shelf: Shelf, data: st.DataObject, bit: int, count: int) -> None:
    info, path = stored(shelf, count)
    before, behind = st.integers(0, info.offset - 1), st.integers(info.offset + info.nbytes, info.size - 1)
    offset = data.draw(before | behind)
    patch(path, offset, bytes([path.read_bytes()[offset] ^ (1 << bit)]))
    assert_corrupt(shelf, info)
    shelf.delete(info.id)


@SIZES
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff", b"{}"], ids=["empty", "zeros", "ones", "text"])
def test_overwritten_in_full(shelf: Shelf, count: int, content: bytes) -> None:
    info, path = stored(shelf, count)
    path.write_bytes((content * info.size)[: info.size])
    assert_corrupt(shelf, info)


@SIZES
def test_flipped_data_is_found_by_check(shelf: Shelf, count: int) -> None:
    """Which reads do not look for: it would cost more than the read."""
    (info, path), (other, _) = stored(shelf, count), stored(shelf, count)
    assert compute_checksums(shelf, older_than=-60) == 2
    assert check(shelf) == []
    patch(path, info.offset + info.nbytes - 1, b"\xff")
    [finding] = check(shelf)
    assert (finding.problem, finding.subject, finding.mended) == ("flipped", str(path), False)
    assert Reader(shelf).view(other)[5] == 5


def test_check_computes_what_is_missing(shelf: Shelf) -> None:
    info, path = stored(shelf)
    assert check(shelf) == []
    patch(path, info.offset, b"\xff")
    assert [finding.problem for finding in check(shelf)] == ["flipped"]


# --- another array's bytes


@SIZES
def test_renamed(shelf: Shelf, count: int) -> None:
    """Same dtype, same shape, another id: the trailer tells them apart."""
    (info, path), (other, other_path) = stored(shelf, count), stored(shelf, count)
    other_path.rename(path)
    assert_corrupt(shelf, info)
    with pytest.raises(ArrayNotFound):
        Reader(shelf).view(other)


@SIZES
def test_another_arrays_bytes_in_the_same_file(shelf: Shelf, count: int) -> None:
    (info, path), (other, other_path) = stored(shelf, count), stored(shelf, count)
    path.write_bytes(other_path.read_bytes())
    shelf.delete(other.id)
    assert_corrupt(shelf, info)


@SIZES
def test_handle_that_lies(shelf: Shelf, count: int) -> None:
    """A handle is data that anyone can make: it must not make a reader misread what is stored."""
    info, _ = stored(shelf, count)
    later = info.offset + 64
    lies: list[dict[str, Any]] = [
        {"nbytes": info.nbytes - 2, "shape": (count - 1,)}, {"nbytes": info.nbytes + 2, "shape": (count + 1,)},
        {"offset": later, "nbytes": info.nbytes - 64, "shape": (count - 32,)},
        {"offset": 0, "nbytes": info.nbytes + info.offset},
        {"size": info.size + 1}, {"size": info.size - 1}, {"size": 10 * info.size}, {"size": 0}, {"id": ABSENT},
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises((CorruptArray, ArrayNotFound)):
            Reader(shelf).view(info._replace(**lie))
    assert Reader(shelf).view(info)[7] == 7


# --- planted


def forged(**changes: Any) -> bytes:
    """A segment with a footer of somebody's choice, and a trailer that fits it."""
    head = segment.header("'<u2'", (4,), False)
    fields = {"kind": "array", "store": "default", "dtype": "'<u2'", "shape": [4], "fortran": False,
              "offset": len(head), "nbytes": 8, "id": ABSENT, "key": "k", "version": 1, **changes}  # fmt: skip
    text = json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()
    trailer = segment.TRAILER.pack(len(text), zlib.crc32(text, zlib.crc32(head)), bytes.fromhex(ABSENT), segment.MAGIC)
    return head + bytes(8) + text + trailer


def test_forgery_works_when_it_changes_nothing(shelf: Shelf) -> None:
    Path(shelf.mem, ABSENT).write_bytes(forged())
    assert shelf.info(ABSENT).key == "k"


FORGERIES: list[dict[str, Any]] = [
    {"kind": "table"}, {"kind": ...}, {"id": "1" * 32}, {"shape": 4}, {"shape": ["a"]}, {"shape": [1 << 40]},
    {"shape": [-4]}, {"offset": -1}, {"offset": "0"}, {"offset": 1 << 70}, {"offset": 0}, {"nbytes": 1 << 70},
    {"nbytes": -8}, {"nbytes": 4}, {"dtype": "'O'"}, {"dtype": 5}, {"dtype": "'<f8'"}, {"version": "1"},
    {"version": ...}, {"key": 5}, {"store": None},
    {"fortran": "yes"}, {"more": 1}, {"_replace": 1},
]  # fmt: skip


@pytest.mark.parametrize("changes", FORGERIES, ids=str)
def test_forged_footer(shelf: Shelf, changes: dict[str, Any]) -> None:
    """Whoever can write to the folder is this user; yet no footer may crash keeper, catalog or reader."""
    Path(shelf.mem, ABSENT).write_bytes(forged(**changes))
    for info in shelf.scan():  # what looks sound so far must fail as damage, not in some other way
        with pytest.raises(CorruptArray):
            Reader(shelf).view(info)
    assert all(finding.problem in ("damaged", "miscounted") for finding in check(shelf))


def test_footer_of_json_that_is_no_object(shelf: Shelf) -> None:
    for text in (b"[]", b"null", b"5", b'"x"', b"[" * 100_000, b"\xff\xfe", b"", b"NaN"):
        trailer = segment.TRAILER.pack(len(text), zlib.crc32(text), bytes.fromhex(ABSENT), segment.MAGIC)
        Path(shelf.mem, ABSENT).write_bytes(text + trailer)
        with pytest.raises(CorruptArray):
            shelf.info(ABSENT)


class Trap:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (Trap.folder,)

    folder = ""


def test_no_pickle_is_loaded(shelf: Shelf, root: Path) -> None:
    """An object array's .npy file holds a pickle; so might a header, a footer or a dtype of somebody's making."""
    Trap.folder = str(root / "sprung")
    np.save(root / "trap.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (root / "trap.npy").rename(Path(shelf.mem, ABSENT))
    evil = f"__import__('os').mkdir({Trap.folder!r})"
    info, _ = stored(shelf)
    contents = [Path(shelf.mem, ABSENT).read_bytes(), pickle.dumps(Trap()), forged(dtype=evil), forged(dtype="'O'"),
                forged(key={"__reduce__": evil}), segment.header(evil, (1,), False) + bytes(100)]  # fmt: skip
    for content in contents:
        Path(shelf.mem, ABSENT).write_bytes(content)
        for known in (info._replace(id=ABSENT), info._replace(id=ABSENT, dtype=evil), *shelf.scan()):
            if known.id == ABSENT:
                with pytest.raises(CorruptArray):
                    Reader(shelf).view(known)
        check(shelf)
    assert not os.path.exists(Trap.folder)


PLANTED: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(b"hello"),
    "empty file": Path.touch,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link to nothing": lambda path: path.symlink_to("/nowhere"),
    "link to a file": lambda path: path.symlink_to("/etc/hostname"),
    "link to a folder": lambda path: path.symlink_to("/etc"),
    "link to itself": lambda path: path.symlink_to(path),
    "socket": lambda path: bind_socket(path),
}


def bind_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # its path may be too long for a socket
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("name", ["README", ".hidden", "0" * 31, "A" * 32, "0" * 33])
def test_foreign_in_mem(shelf: Shelf, what: str, name: str) -> None:
    """Ignored by all but check, which names it and leaves it alone."""
    info, _ = stored(shelf, key="mine")
    path = Path(shelf.mem, name)
    PLANTED[what](path)
    mode = path.lstat().st_mode
    assert [found.id for found in shelf.scan()] == [info.id]
    assert compute_checksums(shelf, older_than=-60) == 1
    [finding] = check(shelf)
    assert finding[:2] == ("foreign", str(path))
    assert path.lstat().st_mode == mode
    assert shelf.ledger.used == segment.pages(info.size)


def finished(work: Callable[[], object], path: Path) -> bool:
    """Whether `work` ends by itself. One that waits for the other end of a pipe is given it, so that the test ends."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    hung = thread.is_alive()
    if hung and stat.S_ISFIFO(path.lstat().st_mode):
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        thread.join()
    return not hung


@SIZES
@pytest.mark.parametrize("what", PLANTED)
def test_planted_in_a_segments_place(shelf: Shelf, what: str, count: int) -> None:
    info, path = stored(shelf, count)
    path.unlink()
    PLANTED[what](path)
    assert_corrupt(shelf, info)
    assert finished(lambda: compute_checksums(shelf, older_than=-60), path)


def test_link_to_a_sealed_segment_elsewhere(shelf: Shelf, root: Path) -> None:
    """Even one that would pass every other test."""
    info, path = stored(shelf, LARGE)
    path.rename(root / "elsewhere")
    path.symlink_to(root / "elsewhere")
    assert_corrupt(shelf, info)


@pytest.mark.parametrize("what", PLANTED)
def test_planted_segment_can_be_deleted_or_stays(shelf: Shelf, what: str) -> None:
    """What a link points to is not touched; a folder is nothing that a delete removes."""
    info, path = stored(shelf)
    path.unlink()
    PLANTED[what](path)
    if what == "folder":
        assert not shelf.delete(info.id)
    else:
        assert shelf.delete(info.id)
        assert not os.path.lexists(path)
    assert Path("/etc/hostname").exists()
    shelf.recount()
    assert shelf.ledger.used == disk_usage(shelf)


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("name", ["notes", "0" * 16])
def test_foreign_in_new(shelf: Shelf, what: str, name: str) -> None:
    """What is no dead writer's folder is left alone, and in nobody's way."""
    path = Path(shelf.new, name)
    PLANTED[what](path)
    info, _ = stored(shelf)
    findings: list[Defect] = []
    assert finished(lambda: findings.extend(check(shelf)), path)
    assert not [finding for finding in findings if finding.problem != "foreign"]
    assert os.path.lexists(path) or what == "folder"  # an empty one is as good as a dead writer's
    assert not shelf.finish(ABSENT, shelf.ledger.epoch)
    assert not shelf.delete(ABSENT)
    assert shelf.ledger.used == disk_usage(shelf) == segment.pages(info.size)


@pytest.mark.parametrize("what", PLANTED)
def test_foreign_in_a_dead_writers_folder(shelf: Shelf, what: str) -> None:
    folder = Path(shelf.new, "0123456789abcdef")
    folder.mkdir()
    PLANTED[what](folder / "theirs")
    (folder / ABSENT).write_bytes(b"a draft")
    shelf.recount()
    findings = [finding[:2] for finding in check(shelf)]
    assert sorted(findings) == [("abandoned", ABSENT), ("foreign", f"{folder}/theirs")]
    assert os.listdir(folder) == ["theirs"]
    assert shelf.ledger.used == 0


def test_foreign_beside_mem(shelf: Shelf) -> None:
    Path(shelf.path, "notes.txt").write_text("mine")
    [finding] = check(shelf)
    assert finding[:2] == ("foreign", f"{shelf.path}/notes.txt")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_sender_without_descriptors_does_not_say_that_an_array_is_gone(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    info = Writer(shelf).put(np.arange(3))

    def refuse(path: str, *_: int) -> int:
        raise OSError(code, os.strerror(code), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match=os.strerror(code)):
            open_sealed(shelf, info.id)
    path, file = open_sealed(shelf, info.id)
    with file:
        assert open_locked(path, EXCLUSIVE) is None
    with pytest.raises(NotThere):
        open_sealed(shelf, "0" * 32)
