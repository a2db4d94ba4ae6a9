"""Values that are loaded from an archive, without a cluster."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from outlive.archive.files import File
from outlive.archive.opening import place_of
from outlive.archive.place import marked
from outlive.arrays import segment
from outlive.arrays.packed import DTYPE
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.errors import CorruptArray
from outlive.store.loading import Ends, _draft
from outlive.store.values import value_of
from outlive.values.packing import pack


@pytest.mark.parametrize("pickle", [False, True])
def test_readers_check_all_of_what_was_loaded_without_pickle(tmp_path: Path, pickle: bool) -> None:
    """Arrow would read other memory by a wrong offset, and the archive's writer may not have a pickle run."""
    pa = pytest.importorskip("pyarrow")
    packed = pack({"t": pa.table({"t": ["a", "b", "c", "d"] * 9999})})
    data = np.concatenate([part.reshape(-1).view(np.uint8) for part in packed.parts])
    at = data.tobytes().index(np.arange(5, dtype="<i4").tobytes())
    data[at + 4 : at + 8] = np.frombuffer(struct.pack("<i", 1 << 30), np.uint8)
    info = segment.describe(
        DTYPE, data.shape, data.nbytes, fortran=False, store="s", key="k", version=1, codec=packed.codec
    )
    place, shelf = place_of(tmp_path / "archive"), Shelf(str(tmp_path / "shelf"), budget=64 << 20)
    with marked(cast("Any", place)):
        file = File.of(info, data)
        entry = file.entry._replace(sha256=file.write(place))
    session = SimpleNamespace(shelf=shelf, writer=Writer(shelf), connection=SimpleNamespace(job=b"\0\0\0\1"))
    ends = Ends("s", None, "detached", None, False, 1)
    draft = _draft(cast("Any", session), place, entry, ends, pickle=pickle)
    draft.seal()
    found = Reader(shelf).view(draft.info)
    if pickle:
        assert value_of(found, pickle=True)["t"].num_rows == 4 * 9999
    else:
        with pytest.raises(CorruptArray, match="offset"):
            value_of(found, pickle=True)
