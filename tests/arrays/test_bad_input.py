"""Values and keys that cannot be stored, and shelves without room: what the caller gets, and that nothing is left."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outlive.arrays import segment
from outlive.arrays.draft import Draft
from outlive.arrays.dtypes import decode_dtype, encode_dtype
from outlive.arrays.info import ArrayInfo, check_key, new_version
from outlive.arrays.layout import LEAVING
from outlive.arrays.marks import mark
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.tend.fsck import check_arrays
from outlive.arrays.writer import Writer, mapped
from outlive.cluster.evacuation import Evacuation
from outlive.cluster.listing import Listing
from outlive.errors import CorruptArray, InvalidKey, InvalidKeyType, StoreFull, UnsupportedArray

from .local_store import disk_usage

MIB = 1 << 20


class ObjectRef:
    """Stands in for Ray's, which is no part of this layer."""


def overlapping() -> np.ndarray[Any, Any]:
    return np.zeros(3, np.dtype({"names": ["word", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0]}))


def unordered() -> np.ndarray[Any, Any]:
    return np.zeros(3, np.dtype({"names": ["b", "a"], "formats": ["<u4", "<u2"], "offsets": [4, 0], "itemsize": 8}))


UNSUPPORTED = {
    "objects": (lambda: np.array([1, None]), "astype"),
    "objects in a field": (lambda: np.zeros(2, [("x", "i4"), ("o", "O")]), "Python objects"),
    "masked": (lambda: np.ma.masked_less(np.arange(5), 3), "filled"),
    "masked, no mask": (lambda: np.ma.asarray(np.arange(5)), "filled"),
    "masked records": (lambda: np.ma.zeros(3, [("x", "i4")]), "filled"),
    "overlapping fields": (overlapping, "repack_fields"),
    "unordered fields": (unordered, "repack_fields"),
    "list": (lambda: [1, 2, 3], r"numpy\.asarray"),
    "scalar": (lambda: np.float64(3.0), r"numpy\.asarray"),
    "nothing": (lambda: None, "NoneType"),
    "bytes": (lambda: b"abc", r"numpy\.asarray"),
    "ObjectRef": (ObjectRef, r"ray\.get"),
}


def assert_refused(shelf: Shelf, value: Any, hint: str) -> None:
    with pytest.raises(UnsupportedArray, match=hint) as caught:
        Writer(shelf).put(value)
    assert isinstance(caught.value, TypeError)
    assert shelf.ledger.used == disk_usage(shelf) == 0


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported(shelf: Shelf, name: str) -> None:
    make, hint = UNSUPPORTED[name]
    assert_refused(shelf, make(), hint)


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy before 2.0 has no StringDType")
def test_string_dtype(shelf: Shelf) -> None:
    assert_refused(shelf, np.array(["a", "b" * 100], np.dtypes.StringDType()), r"astype\('U'\)")


@pytest.mark.parametrize("where", ["numpy._core._rational_tests:rational", "ml_dtypes:bfloat16"])
def test_users_dtype(shelf: Shelf, where: str) -> None:
    """NumPy knows such a dtype by its size only."""
    module, name = where.split(":")
    kind = getattr(pytest.importorskip(module), name)
    assert_refused(shelf, np.zeros(3, kind), "view")
    assert_refused(shelf, np.zeros(3, [("x", kind)]), "dtype")


def test_repacked_fields_are_stored(shelf: Shelf) -> None:
    """What the message proposes works."""
    from numpy.lib.recfunctions import repack_fields

    array = unordered()
    array["a"], array["b"] = [1, 2, 3], [4, 5, 6]
    view = Reader(shelf).view(Writer(shelf).put(repack_fields(array)))
    assert view["a"].tolist() == [1, 2, 3]
    assert view["b"].tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    "text",
    ["", "1", "'O'", "'|O8'", "[('x', 'O')]", "[('x',)]", "'<f9'", "__import__('os').system('false')", "(" * 5000,
     "[[]]", "{'a': 1}", "'i4, O'", "[('x', '<i4', 2, 3)]", "None", "('<i4', (-1,))", "\0"],
)  # fmt: skip
def test_dtype_text_that_is_none(text: str) -> None:
    with pytest.raises(CorruptArray, match="dtype|objects"):
        decode_dtype(text)


def test_dtypes_that_only_look_alike_are_told_apart() -> None:
    assert encode_dtype(np.dtype(">i4")) == "'>i4'"
    assert encode_dtype(np.dtype("<i4")) == "'<i4'"
    assert encode_dtype(np.dtype("M8[25s]")) == "'<M8[25s]'"
    assert encode_dtype(np.dtype("U3")) != encode_dtype(np.dtype("S12"))


# --- keys


@pytest.mark.parametrize(
    "key",
    ["a", "../x", "/", "\0", "🙂", "a\nb", " ", "x" * 1024, "é" * 512, "\x7f\x80", "\u2028", '"', "\\", "null", "'"],
)
def test_keys_are_data(shelf: Shelf, key: str) -> None:
    assert check_key(key) == key
    info = Writer(shelf).put(np.arange(3), key=key)
    assert [found.key for found in shelf.scan()] == [key]
    assert Reader(shelf).view(info).tolist() == [0, 1, 2]


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\ud800", "a\udfffb"])
def test_strings_that_are_no_keys(key: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        check_key(key)
    assert isinstance(caught.value, ValueError)
    str(caught.value).encode()  # can be printed


@pytest.mark.parametrize("key", [None, 7, b"a", ("a",), ["a"], 1.5, ObjectRef()])
def test_things_that_are_no_keys(key: object) -> None:
    with pytest.raises(InvalidKeyType) as caught:
        check_key(key)
    assert isinstance(caught.value, TypeError)


def test_a_str_of_another_class_becomes_a_plain_one() -> None:
    """A pickled `numpy.str_` would bring NumPy into the catalog, and an Enum its whole module."""
    assert type(check_key(np.str_("a"))) is str


# --- no room


def described(nbytes: int) -> ArrayInfo:
    return segment.describe("'|u1'", (nbytes,), nbytes, fortran=False, store="default", key=None, version=new_version())


def create(shelf: Shelf, nbytes: int) -> np.ndarray[Any, Any]:
    """As `Store.create` begins."""
    draft = Draft.make(shelf, described(nbytes))
    try:
        return mapped(draft)
    except BaseException:
        draft.discard()
        raise


def assert_nothing_left(shelf: Shelf, used: int = 0) -> None:
    assert shelf.ledger.used == disk_usage(shelf) == used
    assert not list(Path(shelf.new).glob("*/*"))


def test_budget_exhausted(root: Path) -> None:
    shelf = Shelf(str(root / "shelf"), budget=MIB)
    kept = Writer(shelf).put(np.arange(100_000, dtype="u1"))
    used = shelf.ledger.used
    for attempt in (lambda: Writer(shelf).put(np.zeros(MIB, "u1")), lambda: create(shelf, MIB)):
        with pytest.raises(StoreFull) as caught:
            attempt()
        message = str(caught.value)
        assert isinstance(caught.value, MemoryError)
        assert "1.0 MiB" in message.partition(":")[0]  # asked
        assert "of the budget of 1.0 MiB are free" in message
        assert f"{(MIB - used) / 1024:.1f} KiB of the budget" in message  # free
        assert shelf.ledger.used == disk_usage(shelf) == used
    assert Reader(shelf).view(kept)[1] == 1
    shelf.delete(kept.id)
    Writer(shelf).put(np.zeros(MIB - 2 * 4096, "u1"))  # a page of header, one of footer: fits now, to the last page
    assert shelf.ledger.used == MIB


@pytest.mark.parametrize("nbytes", [1 << 50, 1 << 61, 1 << 63, 1 << 70])
def test_larger_than_any_memory(root: Path, nbytes: int) -> None:
    shelf = Shelf(str(root / "shelf"), budget=1 << 62)
    with pytest.raises(StoreFull):
        create(shelf, nbytes)
    assert_nothing_left(shelf)


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    """A file system of 1 MiB and 40 inodes."""
    path = root / "disk"
    path.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40,mode=700", "outlive-test", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path, free: int) -> None:
    """Leave `free` bytes of a small disk."""
    system = os.statvfs(path)
    with (path / "filler").open("wb") as file:
        file.write(bytes(system.f_bavail * system.f_frsize - free))


def test_disk_full_put(small_disk: Path) -> None:
    shelf = Shelf(str(small_disk / "shelf"), budget=64 * MIB)
    kept = Writer(shelf).put(np.arange(300_000, dtype="u1"))
    used = shelf.ledger.used
    arrays = [np.zeros(2 * MIB, "u1"), np.zeros(4 * MIB, "u1")[::2], np.zeros((1000, 1000), order="F")]
    for array in arrays:
        with pytest.raises(StoreFull, match="the file system: No space left"):
            Writer(shelf).put(array)
        assert_nothing_left(shelf, used)
    assert Reader(shelf).view(kept)[-1] == 299_999 % 256
    Writer(shelf).put(np.zeros(300_000, "u1"))


def test_disk_full_create(small_disk: Path) -> None:
    """Before the caller gets a page to write to: else it would die of SIGBUS."""
    shelf = Shelf(str(small_disk / "shelf"), budget=64 * MIB)
    with pytest.raises(StoreFull, match="the file system: No space left"):
        create(shelf, 2 * MIB)
    assert_nothing_left(shelf)
    draft = Draft.make(shelf, described(MIB // 2))
    mapped(draft)[:] = 7
    draft.detach()
    draft.seal()
    assert (Reader(shelf).view(draft.info) == 7).all()


def test_disk_full_footer(small_disk: Path) -> None:
    """The data fits, the footer behind it does not."""
    shelf = Shelf(str(small_disk / "shelf"), budget=64 * MIB)
    Writer(shelf).put(np.zeros(1, "u1"))  # the process's folder and all it takes is there now
    fill(small_disk, 8 * 4096)
    with pytest.raises(StoreFull):
        Writer(shelf).put(np.zeros(8 * 4096 - 200, "u1"))
    assert_nothing_left(shelf, 4096)
    Writer(shelf).put(np.zeros(7 * 4096, "u1"))


def test_disk_full_ledger(small_disk: Path) -> None:
    """A ledger without its page would be a SIGBUS at the first change."""
    fill(small_disk, 0)
    with pytest.raises(StoreFull):
        Shelf(str(small_disk / "shelf"))
    (small_disk / "filler").unlink()
    shelf = Shelf(str(small_disk / "shelf"))
    assert Reader(shelf).view(Writer(shelf).put(np.arange(5))).tolist() == [0, 1, 2, 3, 4]


def test_disk_without_inodes(small_disk: Path) -> None:
    """Many small arrays: room for their bytes, and none for one more file."""
    shelf = Shelf(str(small_disk / "shelf"), budget=64 * MIB)
    with pytest.raises(StoreFull):
        [Writer(shelf).put(np.zeros(3)) for _ in range(40)]
    assert_nothing_left(shelf, len(shelf.ids()) * 4096)


# --- files that the system does not open now


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_file_that_is_not_opened_now_is_not_taken_for_damaged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A keeper without a free descriptor listed its shelf without these arrays, and removed it with them."""
    info, opened = Writer(shelf).put(np.arange(3), key="k"), os.open

    def refuse(path: str, flags: int, *mode: int) -> int:
        if path == f"{shelf.mem}/{info.id}":
            raise OSError(code, os.strerror(code), path)
        return opened(path, flags, *mode)

    def kept() -> bool:
        return not Evacuation(shelf, "a", None).kept()  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        for ask in (
            lambda: list(shelf.scan()),
            lambda: Listing(shelf).all(),
            lambda: check_arrays(shelf, [info.id]),
            lambda: shelf.leave(kept),
        ):
            with pytest.raises(OSError, match=os.strerror(code)):
                ask()
        assert shelf.named_info("default", "k") is None  # whoever asks for a key asks the catalog then
    assert shelf.exists()
    assert list(shelf.scan()) == [info]


def test_a_file_that_cannot_be_read_keeps_no_other_waiting(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector, say: an array that is damaged stays where it is, and the others are listed, moved and ended."""
    info, other, opened = Writer(shelf).put(np.arange(3)), Writer(shelf).put(np.arange(4)), os.open

    def refuse(path: str, flags: int, *mode: int) -> int:
        if path == f"{shelf.mem}/{info.id}":
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    assert list(shelf.scan()) == [other]
    with pytest.raises(CorruptArray):
        shelf.info(info.id)


def test_a_damaged_array_that_was_about_to_leave_does_not_keep_its_shelf_from_being_evacuated(shelf: Shelf) -> None:
    info = Writer(shelf).put(np.arange(3))
    mark(shelf, info.id, add=LEAVING)
    os.truncate(f"{shelf.mem}/{info.id}", 10)
    Evacuation(shelf, "a", None).settle()  # type: ignore[arg-type]


# --- limits of the process, each in one of its own

PROCESS = """
import errno, os, resource, sys
import numpy as np
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import StoreFull, TooManyViews

shelf = Shelf(sys.argv[1], 64 << 20)
"""

OUT_OF_DESCRIPTORS = """
infos = [Writer(shelf).put(np.full(50_000, i, "u2")) for i in range(40)]
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
views = []
try:
    for info in infos:
        views.append(Reader(shelf).view(info))
except TooManyViews as error:
    assert isinstance(error, OSError) and error.errno == errno.EMFILE, repr(error)
    assert "ulimit -n" in str(error) and f"looks at {len(views)}," in str(error), str(error)
else:
    sys.exit("40 views with 32 descriptors")
assert len(views) > 10, len(views)
assert all((view == i).all() for i, view in enumerate(views))
views.clear()
assert (Reader(shelf).view(infos[-1]) == 39).all()
"""

FILE_TOO_LARGE = """
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
before = os.listdir("/proc/self/fd")
try:
    Writer(shelf).put(np.zeros(2 << 20, "u1"))
except StoreFull as error:
    assert "the file system" in str(error), str(error)
else:
    sys.exit("stored")
assert shelf.ledger.used == 0 and not any(files for _, _, files in os.walk(shelf.new))
assert len(os.listdir("/proc/self/fd")) <= len(before) + 2  # the process's own folder in new/, and the tally
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
@pytest.mark.parametrize("program", [OUT_OF_DESCRIPTORS, FILE_TOO_LARGE], ids=["descriptors", "file size"])
def test_limits_of_the_process(root: Path, program: str) -> None:
    command = [sys.executable, "-c", PROCESS + program, str(root / "shelf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
