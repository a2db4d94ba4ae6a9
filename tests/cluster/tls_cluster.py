"""The body of `test_tls`: two raylets with TLS, and strangers at the port of one of them. Run as a program of its own.

Ray reads its settings of TLS as it is imported, so they are in the environment of this program:

    python -m tests.cluster.tls_cluster <folder of another authority's certificate>
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import sys

import numpy as np

import outlive
from outlive.arrays.tally import FELL_BACK
from outlive.cluster.links import SECRET
from outlive.store import session
from outlive.transfer import settings
from outlive.transfer.channel import Lost
from outlive.transfer.client import Link
from tests.conftest import eventually
from tests.nodes.raylets import Nodes, several_nodes

SIZE = 32 << 20  # bytes: more than a process copies by itself


def put(size: int) -> outlive.ArrayHandle:
    return outlive.open().put(np.ones(size, "u1"), key="there")


def refused(nodes: Nodes) -> int:
    (row,) = (row for row in outlive.nodes() if row.id == nodes.id(1))
    return int(re.findall(r"\d+", row.refused)[0]) if row.refused else 0


def main(theirs: dict[str, str]) -> None:
    with several_nodes(2) as nodes:
        outlive.open()
        handle = nodes.on_node(1, put, SIZE)
        assert handle[5:10].tolist() == [1] * 5  # this process reads them from the other node itself
        here = session.current()
        assert here.links is not None
        link = here.links.to(nodes.id(1))
        assert link is not None
        used = [channel.socket for _, channel in link._idle]
        assert used
        for one in used:
            assert isinstance(one, ssl.SSLSocket)
            print("through", one.version(), one.cipher())
        assert int(handle.get().sum()) == SIZE  # its keeper copies all of it
        assert here.shelf.tally.totals()[FELL_BACK] == 0  # nothing came through Ray
        assert here.links.through_ray() == ()
        assert refused(nodes) == 0

        secret = here.peers.load(SECRET)
        assert isinstance(secret, bytes)
        for count, tls in enumerate((None, settings.tls(theirs)), start=1):
            stranger = Link(link.address, here="here", there=nodes.id(1), secret=secret, checksum=lambda _: 0, tls=tls)
            with contextlib.suppress(Lost):
                stranger.read(handle.id, 0, 100, lambda *_: 1 / 0)  # type: ignore[arg-type,return-value]
                raise AssertionError("a stranger was served")
            eventually(lambda: refused(nodes) == count)  # noqa: B023 - at once
        nameless = ssl.create_default_context(cafile=os.environ["RAY_TLS_CA_CERT"])  # it trusts, and shows nothing
        nameless.check_hostname = False
        with contextlib.suppress(OSError), socket.create_connection(link.address) as plain:
            assert nameless.wrap_socket(plain).recv(1) == b""
        eventually(lambda: refused(nodes) == 3)
        assert int(nodes.on_node(1, put, SIZE).get().sum()) == SIZE  # members are served as before
        print("strangers refused:", refused(nodes))


if __name__ == "__main__":
    names = {"RAY_TLS_SERVER_CERT": "cert", "RAY_TLS_SERVER_KEY": "key", "RAY_TLS_CA_CERT": "ca"}
    main({"RAY_USE_TLS": "1", **{name: f"{sys.argv[1]}/theirs.{kind}" for name, kind in names.items()}})
