"""A plain process reads what the shelves of Ray's nodes on this machine have, and needs no Ray for that."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import outlive
from outlive.arrays.put_options import PutOptions
from outlive.arrays.root import shelf_folder
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.store.values import stored_form

from .conftest import REPOSITORY, WITHOUT_RAY

NODE = "ab" * 28


@pytest.fixture
def shelf(root):
    """A node's, as its keeper makes it."""
    shelf = Shelf(shelf_folder(root, "session_7", NODE), 64 << 20)
    yield shelf
    shelf.remove()
    os.rmdir(f"{root}/session_7")


def read(root: str, handle: outlive.ArrayHandle, expression: str, hidden: bool = True) -> str:
    """What a plain process makes of a handle."""
    code = (WITHOUT_RAY if hidden else "import sys, numpy as np, outlive\n") + (
        f"import pickle; handle = pickle.loads({pickle.dumps(handle)!r})\nprint({expression})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "OUTLIVE_ROOT": root},
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def files(folder: str) -> dict[str, tuple[int, bytes]]:
    """All that is below a folder: when it was last written, and what it has."""
    return {
        str(one): (one.lstat().st_mtime_ns, one.read_bytes() if one.is_file() else b"")
        for one in Path(folder).rglob("*")
    }


def test_it_is_read_where_it_is(root, shelf):
    info = Writer(shelf).put(np.arange(50_000), store="s", options=PutOptions())
    for node in (NODE, "cd" * 28, None):  # a copy may be on another shelf than the handle says
        handle = outlive.ArrayHandle(info, node)
        assert read(root, handle, "handle.get().sum(), handle[:3].sum(), 'ray' in sys.modules") == "1249975000 3 True"
    assert read(root, handle, "handle.get().flags.writeable, handle.get(mode='c').flags.writeable") == "False True"
    assert read(root, handle, "handle.get().sum(), 'ray' in sys.modules", hidden=False) == "1249975000 False"


def test_it_changes_nothing(root, shelf, tmp_path):
    """The cluster may have another version of outlive, whose ledger this one does not know."""
    shelf.spill_to(str(tmp_path / "disk"))
    writer = Writer(shelf)
    infos = [writer.put(np.arange(size), store="s", options=PutOptions()) for size in (3, 50_000, 60_000)]
    shutil.move(f"{shelf.mem}/{infos[2].id}", f"{tmp_path}/disk/mem/{infos[2].id}")  # as if it were spilled
    with open(f"{shelf.path}/ledger", "r+b") as ledger:
        ledger.write(b"FOREIGN!")
    os.rmdir(f"{shelf.path}/scopes")
    os.rmdir(f"{shelf.path}/hot")
    before = files(root), files(str(tmp_path))
    for info in infos:
        said = read(root, outlive.ArrayHandle(info, NODE), "handle.get().sum(), handle.get(mode='c').size, handle[1]")
        assert said == f"{sum(range(info.shape[0]))} {info.shape[0]} 1"
    assert (files(root), files(str(tmp_path))) == before


def test_a_shelf_that_others_can_enter(root, shelf):
    info = Writer(shelf).put(np.arange(50_000), store="s", options=PutOptions())
    os.chmod(shelf.path, 0o755)
    assert "UnsafeRoot" in read(root, outlive.ArrayHandle(info, NODE), "handle.get()")
    os.chmod(shelf.path, 0o700)


def test_a_value(root, shelf):
    form = stored_form({"a": np.ones(50_000), "b": [1]}, pickle=True)
    info = Writer(shelf).put(form, store="s", options=PutOptions())
    handle = outlive.ArrayHandle(info, NODE)
    assert read(root, handle, "handle['a'].sum(), handle.get(('b', 0))") == "50000.0 1"


def test_what_is_not_there(root, shelf):
    info = Writer(shelf).put(np.arange(50_000), store="s", options=PutOptions())
    handle = outlive.ArrayHandle(info, NODE)
    shelf.delete(info.id)
    said = read(root, handle, "handle.get()")
    assert "StoreUnavailable" in said and "not connected to a Ray cluster" in said and "not installed" in said
    assert "not connected to a Ray cluster" in read(root, handle, "handle.get()", hidden=False)
