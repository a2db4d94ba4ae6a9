"""A segment: the file that holds one array.

    | .npy header, padded | data | footer: JSON | trailer, 32 bytes |

The front is a valid .npy file, so `numpy.load(path, mmap_mode="r")` reads any segment. The header is padded to a page
where the segment is mapped to be read, and to 64 bytes where it is copied. The footer is the array's
`ArrayInfo`. The trailer has the footer's length, a CRC-32 of header and footer, and the array's id: a reader that holds
the lock and finds the id that it asked for cannot be looking at another array, even if the file has another name by
now.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import stat
import struct
import zlib
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import cast

from outlive.arrays.info import ArrayInfo, new_id
from outlive.arrays.layout import is_cached, is_copied, is_id
from outlive.arrays.lock import is_at
from outlive.arrays.put_options import DEFAULT, PutOptions
from outlive.errors import CorruptArray

MAGIC = b"outlive1"
TRAILER = struct.Struct("<II16s8s")  # footer length, CRC-32 of header + footer, id, magic
PAGE = 4096

# Up to this many bytes a copy is cheaper than a map, and a process may have only 65530 maps (vm.max_map_count). Such
# small segments are never recycled, so that reading them takes no lock either.
COPY_BELOW = 32 << 10

_LEAST_ALIGNMENT = 64  # of data, in bytes: a cache line
_LONGEST_HEADER = 10_000  # bytes that `numpy.load` reads unless told otherwise (`max_header_size`)

_ARRAY = "array"  # the kind of an array in its footer; that of another value is its codec

NOT_NOW = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of the system if it opens no file now. Any other one is of a single file: a link, or a damaged one."""

_KINDS = (str, str, str | None, str, tuple, bool, int, int, int, int, float, int, str)  # of the fields of an ArrayInfo


@functools.lru_cache(4096)
def header(dtype: str, shape: tuple[int, ...], fortran: bool, alignment: int = _LEAST_ALIGNMENT) -> bytes:
    """The .npy header (format 1.0, or 2.0 if long, or 3.0 if a field's name needs UTF-8), padded to `alignment` bytes.

    Source: NEP 1, https://numpy.org/neps/nep-0001-npy-format.html
    """
    text = f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    latin = all(ord(letter) < 256 for letter in text)
    body = text.encode("latin1" if latin else "utf-8")
    version = (1 if len(body) < 65000 else 2) if latin else 3
    prefix = 10 if version == 1 else 12
    body += b" " * (-(prefix + len(body) + 1) % alignment) + b"\n"
    return b"\x93NUMPY" + bytes((version, 0)) + len(body).to_bytes(prefix - 8, "little") + body


def header_of(info: ArrayInfo) -> bytes:
    """The header of a segment whose `ArrayInfo` is known."""
    return _header_up_to(info.offset, info.dtype, info.shape, info.fortran)


def _header_up_to(offset: int, dtype: str, shape: tuple[int, ...], fortran: bool) -> bytes:
    """The header whose padding ends at `offset`: the beginning of a page, or of 64 bytes as older versions have it."""
    head = header(dtype, shape, fortran)
    return head if len(head) == offset else header(dtype, shape, fortran, offset)


def footer(info: ArrayInfo) -> bytes:
    """The JSON footer and the trailer behind it."""
    array_id, store, key, dtype, shape, fortran, offset, nbytes, _, version, ttl, replicas, codec = (
        info  # not the size: the file itself has it
    )
    common, checksum = _common(store, dtype, shape, fortran, offset, nbytes, codec)
    text = common + _own(array_id, key, version, ttl, replicas)
    return text + _trailer(text, checksum, array_id)


@functools.lru_cache(128)  # it is asked for twice: for the segment's size, and when it is written
def _own(array_id: str, key: str | None, version: int, ttl: float, replicas: int) -> bytes:
    """The part of the footer that differs from array to array."""
    name = "null" if key is None else encode_basestring(key)
    end = (f',"ttl":{ttl!r}' if ttl else "") + (f',"replicas":{replicas}' if replicas != 1 else "")
    return f'"id":"{array_id}","key":{name},"version":{version}{end}}}'.encode()


def _trailer(text: bytes, header_checksum: int, array_id: str) -> bytes:
    return TRAILER.pack(len(text), zlib.crc32(text, header_checksum), bytes.fromhex(array_id), MAGIC)


@functools.lru_cache(4096)
def _common(
    store: str, dtype: str, shape: tuple[int, ...], fortran: bool, offset: int, nbytes: int, codec: str
) -> tuple[bytes, int]:
    """The part of the footer that arrays of one kind share, and the CRC-32 of their header."""
    fields = {"kind": codec or _ARRAY, "store": store, "dtype": dtype, "shape": shape, "fortran": fortran}
    text = json.dumps({**fields, "offset": offset, "nbytes": nbytes}, ensure_ascii=False, separators=(",", ":"))
    return f"{text[:-1]},".encode(), zlib.crc32(_header_up_to(offset, dtype, shape, fortran))


def describe(
    dtype: str,
    shape: tuple[int, ...],
    nbytes: int,
    *,
    fortran: bool,
    store: str,
    key: str | None,
    version: int,
    options: PutOptions = DEFAULT,
    codec: str = "",
) -> ArrayInfo:
    """The `ArrayInfo` of a new segment: a new id, and sizes that its files will have to the byte."""
    lifetime, replicas = options.lifetime, options.replicas
    array_id, ttl = new_id(lifetime.suffix), float(lifetime.ttl)
    own = len(_own(array_id, key, version, ttl, replicas)) + TRAILER.size
    offset, size = _sizes(store, dtype, shape, fortran, nbytes, codec, own)
    return ArrayInfo(array_id, store, key, dtype, shape, fortran, offset, nbytes, size, version, ttl, replicas, codec)


@functools.lru_cache(4096)
def _sizes(
    store: str, dtype: str, shape: tuple[int, ...], fortran: bool, nbytes: int, codec: str, own: int
) -> tuple[int, int]:
    """The bytes before the data, and of the whole segment. `own`: those of its own part of the footer, and trailer."""
    for alignment in (_LEAST_ALIGNMENT, PAGE):
        head = header(dtype, shape, fortran, alignment)
        if alignment == PAGE and len(head) > _LONGEST_HEADER:
            break
        offset = len(head)
        size = offset + nbytes + len(_common(store, dtype, shape, fortran, offset, nbytes, codec)[0]) + own
        if size <= COPY_BELOW:
            break
    return offset, size


def pages(size: int) -> int:
    """Bytes that a file of `size` bytes takes in memory."""
    return -(-size // PAGE) * PAGE


def whole_pages(room: int) -> int:
    """Bytes of a room that whole pages take: a file may have so many and no more."""
    return room // PAGE * PAGE


def is_copy(path: str) -> bool:
    """Whether the draft at `path` is a copy of another shelf's array. Its mode says so from when it is made."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):  # another program has put a file among the writers' folders
        return False
    return is_cached(mode) or is_copied(mode)


def void(fd: int) -> None:
    """Void a deleted segment: it is no valid segment any more. The holder of its exclusive lock does this first.

    A reader that opened the segment before it was deleted may lock it after a writer that reused it was killed. Without
    this, header and trailer could be whole then, with another array's bytes between them.
    """
    os.pwrite(fd, bytes(TRAILER.size), max(0, os.fstat(fd).st_size - TRAILER.size))


def write_all(fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> None:
    """Write all `buffers` one after the other at `offset`, in several calls if the system writes less than asked."""
    written = os.pwritev(fd, buffers, offset)
    while written < sum(map(len, buffers)):  # the system wrote less: more than 2 GiB, or a signal came
        offset += written
        rest = []
        for buffer in buffers:
            rest.append(memoryview(buffer)[written:])
            written -= min(written, len(buffer))
        buffers = [buffer for buffer in rest if len(buffer)]
        written = os.pwritev(fd, buffers, offset)


def verify(info: ArrayInfo, head: bytes, tail: bytes, path: str) -> None:
    """Check that `head` and `tail` are the undamaged bytes before and behind the data of the array `info`.

    Raises
    ------
    CorruptArray
    """
    text = tail[: -TRAILER.size]
    trailer = TRAILER.pack(len(text), zlib.crc32(text, zlib.crc32(head)), bytes.fromhex(info.id), MAGIC)
    if tail.endswith(trailer) and len(head) == info.offset:  # `_trailer`, without a call: each read waits for it
        return
    identity = unpack_trailer(tail, path)[2].hex()
    if identity != info.id:
        raise CorruptArray(f"{path} holds array {identity}, not {info.id}; run `outlive check`")
    raise CorruptArray(f"{_name(info)} is damaged: header or footer of {path} changed; run `outlive check`")


def is_sound(info: ArrayInfo) -> bool:
    """Whether these could be the fields of an array: they may come from anywhere."""
    kinds = all(map(isinstance, info, _KINDS)) and all(isinstance(length, int) for length in info.shape)
    return kinds and is_id(info.id) and 0 < info.offset <= info.offset + info.nbytes <= info.size


def is_whole(info: ArrayInfo, segment: bytes | bytearray) -> bool:
    """Whether these bytes are the segment of this array as this version writes it. If not, an older one may have."""
    try:
        head, foot = header_of(info), footer(info)
    except (ValueError, OverflowError):  # no array is like that
        return False
    sizes = len(head) == info.offset and len(head) + info.nbytes + len(foot) == info.size == len(segment)
    return sizes and segment.startswith(head) and segment.endswith(foot)


def unpack_trailer(tail: bytes, path: str) -> tuple[int, int, bytes, bytes]:
    """The trailer's four fields from the end of a segment.

    Raises
    ------
    CorruptArray
        There is none: the file is truncated, or no segment.
    """
    if len(tail) < TRAILER.size or not tail.endswith(MAGIC):
        raise CorruptArray(f"{path} is damaged: truncated, or its trailer overwritten; run `outlive check`")
    return cast("tuple[int, int, bytes, bytes]", TRAILER.unpack_from(tail, len(tail) - TRAILER.size))


def read_info(fd: int, path: str) -> ArrayInfo:
    """The verified `ArrayInfo` in an open segment's footer.

    Raises
    ------
    CorruptArray
        The file is no undamaged segment.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise CorruptArray(f"{path} is no file; remove it")
    size = status.st_size
    tail = page = os.pread(fd, PAGE, max(0, size - PAGE))  # this nearly always has the whole footer
    footer_length = unpack_trailer(tail, path)[0] + TRAILER.size
    if footer_length > size:
        raise CorruptArray(f"{path} is damaged: its trailer speaks of a larger file; run `outlive check`")
    tail = tail[-footer_length:] if footer_length <= len(tail) else os.pread(fd, footer_length, size - footer_length)
    try:
        fields = json.loads(tail[: -TRAILER.size])
        kind = fields.pop("kind")
        info = ArrayInfo(**{**fields, "shape": tuple(fields["shape"])}, size=size, codec="" if kind == _ARRAY else kind)
        if not all(map(isinstance, info, _KINDS)) or info.offset < 0:
            raise TypeError
        verify(info, page[: info.offset] if size == len(page) else os.pread(fd, info.offset, 0), tail, path)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, CorruptArray):
            raise
        raise CorruptArray(f"{path} is damaged: its footer cannot be read; run `outlive check`") from None
    if info.offset + info.nbytes + footer_length != size:
        raise CorruptArray(
            f"{_name(info)} is damaged: {path} does not have the {info.nbytes} bytes of data that it tells of"
        )
    return info


def read_info_at(path: str, array_id: str) -> ArrayInfo:
    """The `ArrayInfo` in the footer of the segment at `path`, which must be this array's.

    Raises
    ------
    FileNotFoundError, CorruptArray
    OSError
        The system does not open it now, as when there are too many open files. That says nothing of the segment.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        if error.errno in NOT_NOW:
            raise
        raise CorruptArray(f"{path} cannot be opened ({error.strerror}); a link is refused") from None
    try:
        info = read_info(fd, path)
        if info.id != array_id:
            raise CorruptArray(f"{path} holds array {info.id}: somebody renamed it")
        return info
    except CorruptArray:
        if is_at(path, fd):
            raise
        raise FileNotFoundError(path) from None  # it was deleted and is being reused while it is read here
    finally:
        os.close(fd)


def _name(info: ArrayInfo) -> str:
    return f"array {info.key!r}" if info.key is not None else f"array {info.id}"
