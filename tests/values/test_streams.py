"""Streams of Arrow's format: what a hostile one says is refused before a library reads it."""

from __future__ import annotations

import importlib
import io
import struct
from typing import Any

import numpy as np
import pytest

from outlive.errors import CorruptArray, PickleRefused
from outlive.values import arrow_layouts
from outlive.values.arrow_streams import look_through
from outlive.values.packing import pack
from outlive.values.scattered import Scattered
from outlive.values.structure import mark_foreign, unpack
from tests.values.test_values import joined

Array = np.ndarray[Any, Any]


@pytest.fixture
def pa() -> Any:
    return pytest.importorskip("pyarrow")


def stream_of(pa: Any, table: Any, **options: Any) -> Array:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


class Raw:
    """Stands for a table whose stream is of a test's choice."""

    def __init__(self, stream: Array) -> None:
        self.stream = stream


def read(stream: Array, monkeypatch: pytest.MonkeyPatch, module: str = "arrow", *, times: int = 1) -> Any:
    """What a reader without pickle makes of a value that says it is a table with this stream."""
    of = importlib.import_module(f"outlive.values.of_{module}")
    registry = importlib.import_module("outlive.values.registry")
    name = "arrow.table" if module == "arrow" else "polars.frame"
    codec = registry._by_name[name]
    assert of
    monkeypatch.setitem(registry._by_type, Raw, codec._replace(encode=lambda raw: raw.stream.view()))
    packed = joined(pack([Raw(stream) for _ in range(times)], pickle=False))
    return unpack(packed, pickle=False)[0]


def test_an_extension_type_of_a_program_is_not_made(pa: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    class Kind(pa.ExtensionType):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(pa.int64(), "outlive.test.kind")

        def __arrow_ext_serialize__(self) -> bytes:
            return b"anything, as a pickle"

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Any:
            ran.append(serialized)
            return cls()

    plain = pa.array([1, 2])
    column = pa.ExtensionArray.from_storage(Kind(), plain)
    nested = pa.StructArray.from_arrays([column], ["x"])
    listed = pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), column)
    coded = pa.ListArray.from_arrays(
        pa.array([0, 1], pa.int32()), pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), column)
    )
    pa.register_extension_type(Kind())
    try:
        for array in (column, nested, listed, coded):
            with pytest.raises(CorruptArray, match=r"extension type.*outlive\.test\.kind"):
                read(stream_of(pa, pa.table({"n": plain[: len(array)], "x": array})), monkeypatch)
    finally:
        pa.unregister_extension_type("outlive.test.kind")
    assert not ran


def test_a_type_that_this_program_does_not_know_is_pickled(pa: Any) -> None:
    """Its name is in the field's metadata, and another program may know it."""
    field = pa.field("x", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    table = pa.table([pa.array([b"point"])], pa.schema([field]))
    with pytest.raises(PickleRefused):
        pack(table, pickle=False)
    found = unpack(joined(pack(table)))
    assert found.equals(table) and found.schema.equals(table.schema, check_metadata=True)


def test_arrow_types_of_its_own_library_are_kept(pa: Any) -> None:
    made = [pa.array([b"0" * 16], pa.uuid())] if hasattr(pa, "uuid") else []
    made += [pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((3, 2, 2)))]
    for array in made:
        assert unpack(joined(pack(array, pickle=False)), pickle=False).equals(array)
        assert array.type.extension_name.encode() in arrow_layouts.HARMLESS


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_stream_is_refused(pa: Any, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of(pa, pa.table({"x": np.zeros(1 << 20)}), compression=codec)
    assert stream.nbytes < 1 << 17
    with pytest.raises(CorruptArray, match="compressed"):
        read(stream, monkeypatch)
    words = pa.array(["a" * 1000, "b" * 1000]).dictionary_encode()
    with pytest.raises(CorruptArray, match="compressed"):
        read(stream_of(pa, pa.table({"x": words}), compression=codec), monkeypatch)


def test_a_stream_is_read_once(pa: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of(pa, pa.table({"x": np.arange(9)}))
    assert read(stream, monkeypatch).num_rows == 9
    with pytest.raises(CorruptArray, match="same bytes"):
        read(stream, monkeypatch, times=2)


def changed(stream: Array, before: int, after: int, which: int = 0) -> Array:
    """The stream with another number, of 8 bytes, in the place of one."""
    data = bytearray(stream.tobytes())
    at = -1
    for _ in range(which + 1):
        at = data.index(struct.pack("<q", before), at + 1)
    data[at : at + 8] = struct.pack("<q", after)
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("after", [4098, 1 << 40, -1, -(1 << 63), (1 << 63) - 1])
@pytest.mark.parametrize("which", range(2))
def test_lengths_that_do_not_fit_their_bytes_are_refused(pa: Any, after: int, which: int) -> None:
    stream = stream_of(pa, pa.table({"x": np.arange(4097) % 100}))
    assert look_through(stream.data) == 1
    with pytest.raises(ValueError, match=r"length|nulls|item|shorter"):
        look_through(changed(stream, 4097, after, which).data)


@pytest.mark.parametrize("after", [32776 + 64, 1 << 40, -8, -(1 << 63), (1 << 63) - 1, 8])
def test_buffers_that_leave_their_message_are_refused(pa: Any, after: int) -> None:
    stream = stream_of(pa, pa.table({"x": np.arange(4097) % 100}))
    with pytest.raises(ValueError, match=r"outside|shorter"):
        look_through(changed(stream, 32776, after, 1 if after > 8 else 0).data)


def test_a_part_of_a_stream_and_more_than_one_are_refused(pa: Any) -> None:
    stream = stream_of(pa, pa.table({"x": ["a", "b"]}))
    for data in (stream[:-8], stream[:-1], stream[8:], stream[:0], np.concatenate([stream, stream]), stream[:100]):
        with pytest.raises(ValueError, match=r"message|stream|behind|requires"):
            look_through(data.data)


# --- messages of a test's choice: a table is a dict by slot, a vector a list, text is bytes, all else a number


def flat(root: dict[int, Any]) -> bytes:
    """A message. What stands in several places of `root` is written once."""
    order: list[Any] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict | list | bytes) and not any(part is one for one in order):
            for inside in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
                walk(inside)
            order.append(part)

    walk(root)
    order.reverse()  # what refers to another stands before it
    data, places, refers = bytearray(8), {}, []

    def refer(part: Any) -> None:
        refers.append((len(data), part))
        data.extend(bytes(8))

    for part in order:
        if isinstance(part, dict):
            slots = max(part, default=-1) + 1
            table = [8 + 8 * sorted(part).index(slot) if slot in part else 0 for slot in range(slots)]
            data += struct.pack(f"<{2 + slots}H", 4 + 2 * slots, 8 + 8 * len(part), *table)
            data += bytes(-len(data) % 8)
            places[id(part)] = len(data)
            data += struct.pack("<q", -(-(4 + 2 * slots) // 8) * 8)
            for slot in sorted(part):
                if isinstance(part[slot], int):
                    data += struct.pack("<q", part[slot])
                else:
                    refer(part[slot])
            continue
        data += bytes(4)
        places[id(part)] = len(data)
        data += struct.pack("<I", len(part))
        if isinstance(part, bytes):
            data += part + bytes(-len(part) % 8)
        for inside in part if isinstance(part, list) else ():
            refers.append((len(data), inside))
            data += bytes(4)
        data += bytes(-len(data) % 8)
    for at, part in refers:
        struct.pack_into("<I", data, at, places[id(part)] - at)
    struct.pack_into("<I", data, 0, places[id(root)])
    return bytes(data)


def message(kind: int, header: dict[int, Any], body: int = 0) -> bytes:
    data = flat({0: 4, 1: kind, 2: header, 3: body})
    return struct.pack("<Ii", 0xFFFFFFFF, len(data)) + data


END = struct.pack("<Ii", 0xFFFFFFFF, 0)


def column(kind: int = 2, about: dict[int, int] | None = None, **more: Any) -> dict[int, Any]:
    return {
        0: b"name",
        2: kind,
        3: about if about is not None else {0: 8, 1: 1},
        **{int(k[1:]): v for k, v in more.items()},
    }


def schema(*fields: dict[int, Any]) -> bytes:
    return message(1, {1: list(fields)})


def test_messages_of_a_tests_choice_are_read_by_arrow(pa: Any) -> None:
    stream = schema(column(), column(5, {}, _6=[{0: b"k", 1: b"v"}])) + END
    assert look_through(memoryview(stream)) == 0
    found = pa.ipc.open_stream(stream).read_all().schema
    assert found.types == [pa.int8(), pa.string()] and found.field(1).metadata == {b"k": b"v"}


def test_parts_of_a_schema_in_one_anothers_place_are_refused() -> None:
    """Or a library would make any number of fields, and copies of their texts, of few bytes."""
    one, text = column(), b"v" * 4000
    pairs = [{0: b"k", 1: text}]
    nested = column(12, {}, _5=[one, one])
    for _ in range(20):
        nested = column(13, {}, _5=[nested, nested])
    zone: dict[int, Any] = {0: 0, 1: text}
    for fields in (
        [one] * 1000,
        [nested],
        [column(_6=pairs) for _ in range(100)],
        [column(_6=[{0: b"k", 1: text}]) for _ in range(100)],
        [{0: text, 2: 6, 3: {}} for _ in range(100)],
        [column(10, zone) for _ in range(100)],
    ):
        with pytest.raises(ValueError, match="one another's place"):
            look_through(memoryview(schema(*fields) + END))
    deep = column()
    for _ in range(200):
        deep = column(13, {}, _5=[deep])
    with pytest.raises(ValueError, match="too deeply"):
        look_through(memoryview(schema(deep) + END))


# --- Polars


@pytest.fixture
def pl() -> Any:
    return pytest.importorskip("polars")


def polars_stream(pl: Any, frame: Any, **options: Any) -> Array:
    sink = io.BytesIO()
    frame.write_ipc_stream(sink, compat_level=pl.CompatLevel.newest(), **options)
    return np.frombuffer(sink.getvalue(), np.uint8)


def test_polars_streams_that_are_compressed_are_refused(pl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"x": np.zeros(1 << 20)})
    assert read(polars_stream(pl, frame), monkeypatch, "polars").equals(frame)
    for compression in ("zstd", "lz4"):
        with pytest.raises(CorruptArray, match="compressed"):
            read(polars_stream(pl, frame, compression=compression), monkeypatch, "polars")


@pytest.mark.parametrize("after", [4098, 1 << 60, -1, (1 << 63) - 1])
def test_lengths_that_would_end_a_process_of_polars_are_refused(pl: Any, after: int) -> None:
    stream = polars_stream(pl, pl.DataFrame({"x": np.arange(4097) % 100}))
    for which in range(2):
        with pytest.raises(ValueError, match=r"length|nulls|item|shorter"):
            look_through(changed(stream, 4097, after, which).data)


def with_type(pa: Any, name: str, metadata: bytes, array: Any) -> Array:
    """The stream of an array whose field says that it is of an extension type."""
    about = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": metadata}
    field = pa.field("x", array.type, metadata=about)
    return stream_of(pa, pa.table([array], pa.schema([field])))


TENSOR = b'{"shape":[2,3]}'


@pytest.mark.parametrize(
    "metadata",
    [
        b"", b"[]", b"{}", b'{"shape":3}', b'{"shape":[2,"3"]}', b'{"shape":[-2,-3]}', b'{"shape":[6,6]}', b'{"shape":',
        b'{"shape":[2,3],"permutation":[0,2]}', b'{"shape":[2,3],"permutation":"01"}', b'{"shape":[2,3],"dim_names":7}',
        b'{"shape":[2,3],"dim_names":["a"]}', b'{"shape":[2,3],"permutation":null}', b'{"shape":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_metadata_of_tensors_are_looked_at_before_arrow_reads_them(
    pa: Any, metadata: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12.0)), 6)
    whole = with_type(pa, "arrow.fixed_shape_tensor", TENSOR, array)
    assert look_through(whole.data) == 1
    with pytest.raises(CorruptArray):
        read(with_type(pa, "arrow.fixed_shape_tensor", metadata, array), monkeypatch)
    with pytest.raises(CorruptArray, match="extension type"):
        read(with_type(pa, "arrow.opaque", b"{}", array), monkeypatch)


@pytest.mark.parametrize("value", [list(range(1000)), b"x" * 1000, 5])
def test_a_dictionary_for_polars_holds_text_only(pa: Any, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars makes the value of each row: of a byte each, a list each."""
    polars = pytest.importorskip("polars")
    codes = pa.array(np.zeros(1000, "i1"))
    with pytest.raises(CorruptArray, match="dictionary"):
        read(
            stream_of(pa, pa.table({"x": pa.DictionaryArray.from_arrays(codes, pa.array([value]))})),
            monkeypatch,
            "polars",
        )
    words = pa.table({"x": pa.DictionaryArray.from_arrays(codes, pa.array(["a" * 1000]))})
    assert read(stream_of(pa, words), monkeypatch, "polars")["x"].dtype == polars.Categorical


def test_the_buffers_of_a_table_are_written_from_where_they_are(pa: Any) -> None:
    table = pa.table({"x": np.arange(4096.0), "t": ["some text"] * 4096, "few": np.arange(4096) % 2 == 0})
    buffers = [one for column in table.columns for one in column.chunk(0).buffers() if one is not None]
    written = {part.__array_interface__["data"][0] for part in pack(table).parts}
    assert {one.address for one in buffers if one.size >= 4096} <= written


def test_text_is_read_again_only_where_its_writer_could_not_have_a_pickle_run(pa: Any) -> None:
    data = joined(pack(pa.table({"t": ["a", "b", "c", "d"]}))).copy()
    at = data.tobytes().index(np.arange(5, dtype="<i4").tobytes())
    data[at + 4 : at + 8] = np.frombuffer(struct.pack("<i", 1 << 30), np.uint8)
    assert unpack(data, pickle=True).num_rows == 4
    with pytest.raises(CorruptArray, match="offset"):
        unpack(data, pickle=False)
    mark_foreign(data)
    with pytest.raises(CorruptArray, match="offset"):
        unpack(data, pickle=True)


def test_slices_of_pieces_are_those_of_their_bytes() -> None:
    rng = np.random.default_rng(3)
    pieces, whole = Scattered(), b""
    for size in (0, 3, 5000, 4096, 7, 4095, 1, 9000):
        data = rng.integers(0, 256, size, np.uint8).tobytes()
        whole += data
        assert pieces.write(data) == size
    assert len(pieces) == len(whole) and b"".join(part.tobytes() for part in pieces.parts()) == whole
    for begin, end in rng.integers(0, len(whole) + 9, (200, 2)).tolist():
        assert pieces[begin:end] == whole[begin:end]
