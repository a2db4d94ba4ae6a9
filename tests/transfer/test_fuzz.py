"""Whatever is sent: nobody who has not proved to be of the cluster gets a byte, and whoever has is served on."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import random
import socket
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlive.transfer import wire
from outlive.transfer.channel import Lost
from outlive.transfer.client import Link, Memory, NotServed
from outlive.transfer.server import Server
from tests.conftest import eventually
from tests.long import few
from tests.transfer.conftest import SECRET, Files, link_to
from tests.transfer.test_link import read

HELLO = wire.HELLO.pack(wire.MAGIC, bytes(32), b"here".ljust(64, b"\0"), b"there".ljust(64, b"\0"))


def altered(data: bytes, chance: random.Random) -> bytes:
    """The same with some bytes changed, dropped, or more."""
    changed = bytearray(data)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(changed) + 1)
        changed[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(changed)


def test_a_server_that_is_sent_anything(start_server: Callable[..., Server], files: Files) -> None:
    array_id, data = files.add(5000)
    there = start_server()
    some = [wire.Request(array_id, 0, wire.WHOLE).packed(), wire.Question(20).packed() + bytes(20)]
    for seed in range(150):
        chance, request = random.Random(seed), some[seed // 2 % 2]
        served = len(files.asked)
        with socket.create_connection((there.host, there.port), 5) as rough, contextlib.suppress(OSError):
            rough.settimeout(5)
            proven = chance.random() < 0.5
            if proven:
                rough.sendall(HELLO)
                nonce, _ = wire.CHALLENGE.unpack(rough.recv(wire.CHALLENGE.size, socket.MSG_WAITALL))
                rough.sendall(hmac.new(SECRET, b"client\0" + HELLO + nonce, hashlib.sha256).digest())
                assert rough.recv(1) == wire.ACCEPTED
                rough.sendall(altered(request, chance) + altered(request, chance))
            else:
                rough.sendall(altered(HELLO, chance) + chance.randbytes(32 * (seed % 2)) + request * 2)
            rough.shutdown(socket.SHUT_WR)
            came = 0
            while part := rough.recv(1 << 16):
                came += len(part)
            assert proven or came <= wire.CHALLENGE.size
        if not proven:
            assert len(files.asked) == served
    eventually(lambda: not there._door._inside and there._door.unproven == 0)
    assert read(link_to(there), array_id) == data


class Liar:
    """A server that answers what it is told to, once it has proved to know the secret."""

    def __init__(self, request_size: int = wire.REQUEST_SIZE) -> None:
        self.says, self._request_size = b"", request_size
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    hello = connection.recv(wire.HELLO.size, socket.MSG_WAITALL)
                    proof = hmac.new(SECRET, b"server\0" + hello + bytes(32), hashlib.sha256).digest()
                    connection.sendall(wire.CHALLENGE.pack(bytes(32), proof))
                    connection.recv(32, socket.MSG_WAITALL)
                    connection.sendall(wire.ACCEPTED)
                    connection.recv(self._request_size, socket.MSG_WAITALL)
                    connection.sendall(self.says)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()


@settings(max_examples=few(100), deadline=None)
@given(seed=st.integers(0, 1 << 30), size=st.integers(0, 3000))
def test_a_client_that_is_sent_anything(liar: Liar, seed: int, size: int) -> None:
    """It has what was sent and verified, or an error, and nothing else."""
    chance = random.Random(seed)
    data = chance.randbytes(size)
    sums = wire.checksums([zlib.crc32(data)] if data else [])
    said = wire.Answer(wire.OK, size, 4).packed() + b"head" + data + sums
    liar.says = altered(said, chance)
    into = bytearray(size)
    link = Link(liar.address, here="here", there="there", secret=SECRET, checksum=zlib.crc32)
    try:
        link.read("a" * 32, 0, size, lambda head, _: Memory(memoryview(into)))
    except (Lost, NotServed):
        return
    finally:
        link.close()
    assert into == data
