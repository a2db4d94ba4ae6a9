"""Bytes come as they are, or not at all: over loopback, without Ray."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import zlib
from collections.abc import Callable

import pytest

from outlive.transfer import channel, client, door, server, wire
from outlive.transfer.channel import Lacking, Lost
from outlive.transfer.client import Damaged, Memory, NotServed, Unserved
from outlive.transfer.proof import Full, Refused
from outlive.transfer.server import Server
from tests.conftest import eventually
from tests.transfer.conftest import MIB, Files, link_to

Start = Callable[..., Server]


class Written:
    """A sink without memory of its own."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)

    def window(self, offset: int, size: int) -> memoryview | None:
        return None

    def write(self, offset: int, data: memoryview) -> None:
        self.data[offset : offset + len(data)] = data


def read(link: client.Link, array_id: str, begin: int = 0, end: int = wire.WHOLE, **options: bool) -> bytes:
    into = bytearray()

    def target(head: bytes, size: int) -> Memory:
        assert head == array_id.encode()
        into.extend(bytes(size))
        return Memory(memoryview(into))

    link.read(array_id, begin, end, target, **options)
    return bytes(into)


def told(array_id: str, head: bytes, _: int) -> bytes:
    assert head == array_id.encode()
    return head


@pytest.fixture(params=[1, 2, 4])
def streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As many cores as this may be used, and so as many connections for a large array."""
    count: int = request.param
    monkeypatch.setattr(client.cores, "usable", lambda: float(count))
    return count


@pytest.mark.parametrize(
    ("size", "usable", "expected"),
    [
        (0, 8.0, 1),
        (8 * MIB - 1, 8.0, 1),
        (8 * MIB, 8.0, 2),
        (8 * MIB, 1.5, 1),
        (1 << 30, 0.2, 1),
        (1 << 30, 3.5, 3),
        (1 << 30, 64.0, 4),
    ],
)
def test_a_large_array_has_as_many_connections_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, size: int, usable: float, expected: int
) -> None:
    monkeypatch.setattr(client.cores, "usable", lambda: usable)
    bounds = client._bounds(100, 100 + size)
    assert len(bounds) == expected + 1
    assert (bounds[0], bounds[-1]) == (100, 100 + size)
    assert all((bound - 100) % wire.PIECE == 0 for bound in bounds[:-1])


@pytest.mark.parametrize(
    "size",
    [0, 1, MIB - 1, MIB, MIB + 1, MIB + wire.REST - 1, MIB + wire.REST, 2 * MIB + 5, 9 * MIB + 99999, 19 * MIB + 5],
)
def test_a_file_arrives_as_it_is(start_server: Start, files: Files, size: int, streams: int) -> None:
    array_id, data = files.add(size)
    link = link_to(start_server())
    for end in (wire.WHOLE, size):  # of known length: by several connections, if it is large
        assert read(link, array_id, 0, end) == data
    parts = [(one.begin, one.end) for one in files.asked[1:]]
    assert len(parts) == min(streams, max(1, size // (4 * MIB)))
    assert sum(last - first for first, last in parts) == size
    assert read(link, array_id, size // 3, size // 2) == data[size // 3 : size // 2]


def test_what_has_no_window_is_written(start_server: Start, files: Files, streams: int) -> None:
    array_id, data = files.add(17 * MIB + 7)
    sink = Written(len(data))
    link_to(start_server()).read(array_id, 0, len(data), lambda _, size: sink)
    assert sink.data == data


def test_one_connection_serves_many_requests(start_server: Start, files: Files) -> None:
    there = start_server()
    wanted = [files.add(number, number) for number in range(200)]
    ids = [array_id for array_id, _ in wanted]
    link = link_to(there)
    got = list(link.read_each([*ids, "f" * 32], told))
    assert got == [*((array_id.encode(), data) for array_id, data in wanted), None]
    for array_id, data in wanted[:20]:
        assert read(link, array_id) == data
    assert len(there._door._inside) == 1
    eventually(lambda: there.counts.sent == sum(len(data) for _, data in wanted + wanted[:20]))


def test_questions_and_files_by_one_connection(start_server: Start, files: Files) -> None:
    array_id, data = files.add(10)
    link = link_to(start_server())
    for question in (b"", b"what", b"x" * wire.LONGEST_QUESTION):
        assert link.ask(question, 20) == question[::-1]
        assert read(link, array_id) == data
    assert len(link._idle) == 1
    client._close_all()  # as the program ends
    assert link._idle == []
    assert read(link, array_id) == data


def test_a_question_without_an_answer(start_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(question: bytes) -> bytes:
        if question == b"slow":
            assert gate.wait(60)
        return {b"long": b"x" * (wire.LONGEST_HEAD + 1), b"good": b"yes", b"slow": b""}[question]

    gate = threading.Event()
    link = link_to(start_server(answered=answered))
    for question in (b"long", b"unknown"):
        with pytest.raises(NotServed):
            link.ask(question, 20)
    assert link.ask(b"good", 20) == b"yes"
    assert len(link._idle) == 1
    with pytest.raises(Lost):
        link.ask(b"slow", 0.1)
    gate.set()
    assert link.ask(b"good", 20) == b"yes"
    with pytest.raises(Lost):
        link.ask(b"x" * (wire.LONGEST_QUESTION + 1), 20)


def test_what_is_not_there_is_said(start_server: Start) -> None:
    link = link_to(start_server())
    for _ in range(3):
        with pytest.raises(NotServed):
            read(link, "a" * 32)


def test_what_a_server_cannot_open_ends_nothing(start_server: Start, files: Files) -> None:
    def opened(request: wire.Request) -> server.Opened:
        if request.array_id == "b" * 32:
            raise ValueError("damaged")
        return files.opened(request)

    array_id, data = files.add(10)
    link = link_to(start_server(opened=opened))
    for _ in range(2):
        with pytest.raises(Unserved):
            read(link, "b" * 32)
        assert read(link, array_id) == data
    with pytest.raises(Unserved):
        list(link.read_each([array_id, "b" * 32, array_id], told))
    assert read(link, array_id) == data


def test_other_sizes_than_asked_for_are_refused(start_server: Start, files: Files, streams: int) -> None:
    array_id, _ = files.add(100)
    big, _ = files.add(9 * MIB, 2)
    link = link_to(start_server())
    for name, end in ((array_id, 200), (big, 12 * MIB)):
        with pytest.raises(Lost, match="instead of"):
            read(link, name, 0, end)


@pytest.mark.parametrize("size", [100, 3 * MIB, 20 * MIB])
def test_altered_bytes_are_noticed(start_server: Start, files: Files, size: int, streams: int) -> None:
    array_id, _ = files.add(size)
    link = link_to(start_server(checksum=lambda data: zlib.crc32(data) ^ (len(data) != MIB or len(data) == size)))
    with pytest.raises(Damaged):
        read(link, array_id, 0, size - 1 if size > MIB else size)


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        return ""


def test_who_does_not_know_the_secret_is_refused_and_counted(start_server: Start, files: Files) -> None:
    array_id, _ = files.add(10)
    there = start_server()
    with pytest.raises(Refused, match="does not know"):  # the server's proof is wrong to this client: it says no more
        read(link_to(there, secret=b"another"), array_id)
    assert not files.asked
    eventually(lambda: there.counts.refused == 1)
    with pytest.raises(Refused):
        read(link_to(there, there="another"), array_id)
    eventually(lambda: there.counts.refused == 2)
    assert not files.asked


def test_a_client_that_skips_its_proof_is_refused(start_server: Start) -> None:
    there = start_server()
    with socket.create_connection((there.host, there.port), 5) as rough:
        rough.sendall(wire.HELLO.pack(wire.MAGIC, bytes(32), b"here", b"there".ljust(64, b"\0")))
        _, theirs = wire.CHALLENGE.unpack(rough.recv(wire.CHALLENGE.size, socket.MSG_WAITALL))
        rough.sendall(theirs)  # its own proof, sent back
        rough.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert not rough.recv(1)
    eventually(lambda: there.counts.refused == 1)


def test_who_says_nothing_takes_no_room(start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_MOST_UNPROVEN", 3)
    array_id, data = files.add(10)
    there = start_server()
    rough = [socket.create_connection((there.host, there.port), 5) for _ in range(3)]
    eventually(lambda: there._door.unproven == 3)
    with pytest.raises(Full, match="too many connections"):
        read(link_to(there), array_id)
    assert (there.counts.full, there.counts.refused) == (1, 0)
    for one in rough:
        one.close()
    eventually(lambda: there._door.unproven == 0)
    assert read(link_to(there), array_id) == data


def test_where_there_are_too_many_connections_idle_ones_end(
    start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process that reads small arrays has one, and a keeper shall have one too."""
    monkeypatch.setattr(server, "_MOST", 3)
    array_id, data = files.add(10)
    gate = threading.Event()
    gate.set()

    def opened(request: wire.Request) -> server.Opened:
        assert gate.wait(60)
        return files.opened(request)

    there = start_server(opened=opened)
    links = [link_to(there) for _ in range(5)]
    for _ in range(2):
        for link in links:
            assert read(link, array_id) == data
            eventually(lambda: len(there._door._inside) == len(there._idle) <= 3)
    assert there.counts.full == 0
    gate.clear()
    found: list[bytes] = []
    readers = [threading.Thread(target=lambda link=link: found.append(read(link, array_id))) for link in links[2:]]
    for reader in readers:
        reader.start()
    eventually(lambda: len(there._door._inside) == 3 and not there._idle)
    with pytest.raises(Full):
        read(link_to(there), array_id)
    gate.set()
    for reader in readers:
        reader.join()
    assert found == [data] * 3


def test_who_shows_no_proof_ends_no_connection(
    start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST", 1)
    array_id, data = files.add(10)
    there = start_server()
    link = link_to(there)
    assert read(link, array_id) == data
    eventually(lambda: there._idle)
    with pytest.raises(Refused):
        read(link_to(there, secret=b"another"), array_id)
    eventually(lambda: there.counts.refused == 1)
    assert link._idle[0][1].is_quiet()


def test_a_connection_that_is_about_to_ask_does_not_end(
    start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST", 1)
    array_id, data = files.add(10)
    there = start_server()
    link, other = link_to(there), link_to(there)
    made = link._connect()
    monkeypatch.setattr(link, "_connect", lambda: made)
    with pytest.raises(Full):
        read(other, array_id)
    assert read(link, array_id) == data
    eventually(lambda: there._idle)
    assert read(other, array_id) == data


def test_deadlines_end_what_hangs(start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlive.transfer.proof.PATIENCE", 0.2)
    monkeypatch.setattr(client, "_ANSWER", 0.2)
    there = start_server()
    with socket.create_connection((there.host, there.port), 5) as rough:
        rough.sendall(b"outl")
        eventually(lambda: there.counts.refused == 1 and there._door.unproven == 0)
    deaf = socket.create_server(("127.0.0.1", 0))  # the kernel accepts, and nobody answers
    with deaf, pytest.raises(channel.Silent):
        read(client.Link(deaf.getsockname(), here="h", there="t", secret=b"", checksum=zlib.crc32), "a" * 32)


def test_a_file_is_let_go_of_when_nobody_takes_its_bytes(
    start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receiver is stopped, or hangs."""
    monkeypatch.setattr(server, "_STALLED", 0.2)
    array_id, data = files.add(64 * MIB)

    def opened(request: wire.Request) -> server.Opened:
        return server.Opened(files.opened(request).file, 0, len(data), b"")

    there = start_server(opened=opened)
    with link_to(there)._channel([wire.Request(array_id, 0, wire.WHOLE).packed()]) as (connection, _):
        path = str(files.folder / array_id)
        eventually(lambda: not there._door._inside)
        assert path not in [_target(name) for name in os.listdir("/proc/self/fd")]
        with pytest.raises(Lost):
            connection.read_into(memoryview(bytearray(len(data))), 5)
    assert there.counts.sent < len(data)


def test_a_server_that_started_anew_is_found_again(start_server: Start, files: Files) -> None:
    array_id, data = files.add(10)
    first = start_server()
    link = link_to(first)
    assert read(link, array_id) == data
    first.close()
    eventually(lambda: not first._door._inside)
    eventually(lambda: first._door.listener.fileno() < 0)
    with pytest.raises(Lost):
        read(link, array_id)
    start_server(ports=(first.port,))
    assert read(link, array_id) == data


@pytest.mark.parametrize("breaks", [0, 1, 3])
def test_a_part_that_breaks_ends_the_others(start_server: Start, files: Files, streams: int, breaks: int) -> None:
    """And nobody writes any more once the error is raised."""
    array_id, data = files.add(32 * MIB)
    link = link_to(start_server())
    broken, size = min(breaks, streams - 1), 32 * MIB // streams
    writing, ended, late = threading.Event(), threading.Event(), list[int]()

    class Breaks(Written):
        def write(self, offset: int, part: memoryview) -> None:
            if offset // size == broken:
                assert streams == 1 or writing.wait(30)
                raise OSError("no room")
            if ended.is_set():
                late.append(offset)
            writing.set()
            super().write(offset, part)

    with pytest.raises(OSError, match="no room"):
        link.read(array_id, 0, len(data), lambda _, size: Breaks(size))
    ended.set()
    assert not [one for one in threading.enumerate() if one.name == "transfer-part"]
    assert not late
    assert read(link, array_id, 0, len(data)) == data


@pytest.mark.parametrize("started", [0, 1, 2])
def test_without_a_thread_for_a_part_it_is_lost(
    start_server: Start, files: Files, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """Then it is read through Ray: no thread is to be had where a limit of processes is reached."""
    array_id, data = files.add(17 * MIB)
    link = link_to(start_server())
    monkeypatch.setattr(client.cores, "usable", lambda: 4.0)
    start, left = threading.Thread.start, [started]

    def limited(self: threading.Thread) -> None:
        if self.name == "transfer-part":
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(Lacking, match="can't start new thread"):
        read(link, array_id, 0, len(data))
    assert not [one for one in threading.enumerate() if one.name == "transfer-part"]


def test_a_forked_child_has_none_of_the_connections(start_server: Start, files: Files) -> None:
    array_id, data = files.add(10)
    there = start_server()
    link = link_to(there)
    assert read(link, array_id) == data
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.write(into, str([there._door.listener.fileno(), *(one.socket.fileno() for _, one in link._idle)]).encode())
        os._exit(0)
    os.close(into)
    os.waitpid(child, 0)
    with os.fdopen(out) as told:
        assert told.read() == "[-1, -1]"
    assert read(link, array_id) == data  # the parent's is as it was
    assert len(there._door._inside) == 1
