"""Whatever is sent: nobody who has not proved to be of the cluster is answered, and whoever has is answered on."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from outlive.calls import wire
from outlive.calls.line import Broken, Late, Line, NotMade
from outlive.calls.server import Served, Server
from outlive.transfer import proof
from outlive.transfer.channel import Channel, Lost
from tests.calls.conftest import SECRET, line_to
from tests.calls.test_line import ask
from tests.conftest import eventually
from tests.long import few
from tests.transfer.test_fuzz import Liar, altered

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text(max_size=20) | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=few(200), deadline=None)
@given(seed=st.integers(0, 1 << 30), values=st.lists(PLAIN, max_size=4))
def test_frames_that_come_in_any_pieces(seed: int, values: list[Any]) -> None:
    chance = random.Random(seed)
    data = b"".join(wire.request(number, "method", [one]) for number, one in enumerate(values))
    frames, found = wire.Frames([wire.ASKED], wire.LONGEST_REQUEST), list[wire.Frame]()
    while data:
        size = chance.randrange(1, len(data) + 1)
        found += frames.take(data[:size])
        data = data[size:]
    assert [wire.asked(frame.body) for frame in found] == [("method", [one]) for one in values]
    assert [frame.number for frame in found] == list(range(len(values)))


@settings(max_examples=few(300), deadline=None)
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_frames(data: bytes) -> None:
    with contextlib.suppress(wire.Malformed):
        for frame in wire.Frames([wire.ASKED], 100).take(data):
            wire.asked(frame.body)
    with contextlib.suppress(wire.Malformed):
        wire.value(data)
    with contextlib.suppress(wire.Malformed):
        wire.value(b"\x91" * 3000 + data)


def test_a_server_that_is_sent_anything(start_server: Callable[..., Server]) -> None:
    asked = list[Any]()

    def note(what: Any) -> Any:
        asked.append(what)
        return what

    there = start_server({"note": Served(note), "wait": Served(time.time, "slow")})
    frames = b"".join([wire.request(1, "note", ["x"]), wire.request(2, "wait", []), wire.request(3, "no", [b"y"])])
    for seed in range(150):
        chance = random.Random(seed)
        before = len(asked)
        with socket.create_connection((there.host, there.port), 5) as rough, contextlib.suppress(OSError, Lost):
            rough.settimeout(5)
            proven = chance.random() < 0.7
            if proven:
                channel = Channel(rough)
                proof.of_client(channel, SECRET, "here", "there", time.monotonic() + 5)
                named = wire.request(0, wire.NAME, [chance.randbytes(wire.LINE)])
                rough.settimeout(5)
                rough.sendall((named if chance.random() < 0.7 else altered(named, chance)) + altered(frames, chance))
            else:
                rough.sendall(chance.randbytes(chance.randrange(300)) + frames)
            rough.shutdown(socket.SHUT_WR)
            while rough.recv(1 << 16):
                pass
        if not proven:
            assert len(asked) == before
    eventually(lambda: not there._connections and there._door.unproven == 0)
    assert ask(line_to(there), "note", 7) == 7


@settings(max_examples=few(100), deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_a_client_that_is_sent_anything(seed: int) -> None:
    """It has what was answered, or an error, and nothing else."""
    chance = random.Random(seed)
    liar = Liar(len(wire.request(0, wire.NAME, [bytes(wire.LINE)])))
    said = wire.answer(0, None) + wire.answer(1, ["value", 7])
    liar.says = altered(said, chance) if chance.random() < 0.9 else said
    line = Line(liar.address, here="here", there="there", secret=SECRET)
    try:
        answer = ask(line, "method", patience=5)
    except (NotMade, Broken, Late):
        assert liar.says != said
        return
    finally:
        line.close()
        liar.close()
    assert liar.says != said or answer == ["value", 7]
