"""Arrow's tables, batches and arrays: as one stream of Arrow's own format (IPC), which is read without a copy.

A stream is looked through before Arrow reads it, see `arrow_streams`. It is written as Arrow's own buffers: see
`scattered`.

Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from outlive.errors import CorruptArray
from outlive.values.arrow_streams import look_through
from outlive.values.parts import is_trusted, stream
from outlive.values.registry import register
from outlive.values.scattered import Scattered

_PACKAGE = "pyarrow"
_OLDEST = (14, 0, 1)
"""Before it, Arrow itself ran a pickle that a stream had (CVE-2023-47248)."""
if tuple(int(part) for part in re.findall(r"\d+", pa.__version__)[:3]) < _OLDEST:
    raise ImportError(f"pyarrow is version {pa.__version__}, and at least 14.0.1 is needed to read streams safely")
_DAMAGED = (pa.ArrowException, OSError, ValueError, TypeError)


def _stream(table: Any) -> Any:
    """A table or a batch as a stream. NotImplemented for types that live in Python code: pickle names their class."""
    if any(_is_of_python(field.type) for field in table.schema):
        return NotImplemented
    try:
        data = Scattered()
        with pa.ipc.new_stream(pa.PythonFile(data, "w"), table.schema) as writer:
            writer.write(table)
        look_through(data)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # a type that its own format does not have
        return NotImplemented
    except ValueError:  # a name of an extension type that this program does not have, and others may
        return NotImplemented
    return data


def _is_of_python(kind: Any) -> bool:
    inside = [getattr(kind, name, None) for name in ("value_type", "key_type", "item_type", "storage_type")]
    if pa.types.is_struct(kind) or pa.types.is_union(kind):
        inside += [field.type for field in kind]
    return isinstance(kind, pa.ExtensionType) or any(_is_of_python(one) for one in inside if one is not None)


def table_of(data: Any) -> Any:
    """The table in a stream, over its bytes.

    The stream is looked through, and offsets, indices of dictionaries and text are checked, unless the value could have
    a pickle run as well: a wrong one would have Arrow read other memory. This reads all columns but those of plain
    numbers.

    Raises
    ------
    CorruptArray
    """
    try:
        table = _opened(data).read_all()
        table.validate(full=not is_trusted())
    except _DAMAGED as error:
        raise CorruptArray(f"a stored Arrow table is damaged: {error!s:.200}") from None
    return table


def _opened(data: Any) -> Any:
    memory = stream(data)
    if not is_trusted():
        look_through(memory)
    return pa.ipc.open_stream(pa.py_buffer(data))


def _encode_table(table: Any) -> Any:
    if not table.num_columns and table.num_rows:  # neither a stream nor a pickle would say how many
        return {"stream": _stream(table), "rows": table.num_rows}
    return _stream(table)


def _decode_table(state: Any) -> Any:
    if not isinstance(state, dict):
        return table_of(state)
    rows, schema = state["rows"], table_of(state["stream"]).schema
    if type(rows) is not int or not 0 <= rows < 1 << 62:
        raise CorruptArray(f"a stored Arrow table is damaged: it has {rows!r:.60} rows")
    nulls = pa.Array.from_buffers(pa.null(), rows, [None])  # `pa.nulls` takes a bit for each
    return pa.table([nulls], pa.schema([("", pa.null())], schema.metadata)).select([])


def _encode_batch(batch: Any) -> Any:
    return _stream(batch)


def _decode_batch(data: Any) -> Any:
    try:
        batches = _opened(data)
        batch = batches.read_next_batch()
        batch.validate(full=not is_trusted())
        if next(batches, None) is not None:
            raise ValueError("it is no batch")
    except (*_DAMAGED, StopIteration) as error:
        raise CorruptArray(f"a stored Arrow batch is damaged: {error!s:.200}") from None
    return batch


def _encode_array(array: Any) -> Any:
    return _stream(pa.RecordBatch.from_arrays([array], [""]))


def _decode_array(data: Any) -> Any:
    return _only_column(_decode_batch(data))


def _encode_chunked(array: Any) -> Any:
    return _stream(pa.table([array], [""]))


def _decode_chunked(data: Any) -> Any:
    return _only_column(table_of(data))


def _only_column(columns: Any) -> Any:
    if columns.num_columns != 1:
        raise CorruptArray(f"a stored Arrow array is damaged: it has {columns.num_columns} columns")
    return columns.column(0)


register(pa.Table, _encode_table, _decode_table, name="arrow.table", package=_PACKAGE)
register(pa.RecordBatch, _encode_batch, _decode_batch, name="arrow.batch", package=_PACKAGE)
register(pa.Array, _encode_array, _decode_array, name="arrow.array", subclasses=True, package=_PACKAGE)
register(pa.ChunkedArray, _encode_chunked, _decode_chunked, name="arrow.chunked", package=_PACKAGE)
