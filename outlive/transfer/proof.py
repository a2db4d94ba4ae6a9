"""Proof: both ends of a connection show that they know the cluster's secret, without telling it.

Each proof is an HMAC-SHA256 over the nonces of both sides, the ids of both nodes, and the side that makes it. So no
proof can be used again, sent back to the side that made it, or passed on to another node.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable

from outlive.transfer import wire
from outlive.transfer.channel import Channel, Lost, Silent, connect
from outlive.transfer.settings import Tls

PATIENCE = 5.0  # seconds for both proofs
_CONNECT = 2.0  # seconds


class Refused(Lost):
    """The other side does not know the secret, is not the expected node, or speaks another version."""


class Full(Lost):
    """The server has too many connections, and takes no other now."""


def reach(
    address: tuple[str, int],
    *,
    here: str,
    there: str,
    secret: bytes,
    tls: Tls | None = None,
    within: float = _CONNECT,
    first: Callable[[Channel, float], None] = lambda _, __: None,
) -> Channel:
    """Open a connection to a server, and exchange proofs.

    Parameters
    ----------
    address
        Host and port.
    here, there
        The nodes of this process and of the server.
    within
        Seconds to connect. Both proofs have seconds of their own.
    first
        Called with the connection, and the deadline for all of this, once the proofs are exchanged.

    Raises
    ------
    Refused, Full, Lost
    """
    channel = connect(address, within)
    try:
        deadline = time.monotonic() + PATIENCE
        if tls is not None:
            channel.secure(tls.client, deadline, server=False)
        of_client(channel, secret, here, there, deadline)
        first(channel, deadline)
    except BaseException:
        channel.close()
        raise
    return channel


def admit(channel: Channel, server: str, secret: bytes, tls: Tls | None = None) -> str:
    """Exchange proofs with a client that has connected to this server; returns the client's node.

    Raises
    ------
    Refused, Lost
    """
    deadline = time.monotonic() + PATIENCE
    if tls is not None:
        channel.secure(tls.server, deadline, server=True)
    return of_server(channel, secret, server, deadline)


def of_client(channel: Channel, secret: bytes, client: str, server: str, deadline: float) -> None:
    """Check that the other side is node `server`, and then prove that this side is node `client`.

    Raises
    ------
    Refused, Full, Lost
    """
    hello = wire.HELLO.pack(wire.MAGIC, os.urandom(wire.NONCE), _id(client), _id(server))
    channel.send([hello], max(0.1, deadline - time.monotonic()))
    try:
        challenge = channel.read(wire.CHALLENGE.size, deadline)
    except Silent:
        raise
    except Lost as error:
        raise Refused(f"{server} ended the connection: it is another node, or of another version") from error
    if challenge == wire.FULL:
        raise Full(f"{server} has too many connections now")
    nonce, proof = wire.CHALLENGE.unpack(challenge)
    if not hmac.compare_digest(proof, _proof(secret, b"server", hello, nonce)):
        raise Refused(f"the server that answers for {server} does not know the cluster's secret")
    channel.send([wire.PROOF.pack(_proof(secret, b"client", hello, nonce))], max(0.1, deadline - time.monotonic()))
    try:
        accepted = channel.read(len(wire.ACCEPTED), deadline)
    except Silent:
        raise
    except Lost as error:
        raise Refused(f"{server} did not accept the proof") from error
    if accepted != wire.ACCEPTED:
        raise Refused(f"{server} speaks another protocol")


def of_server(channel: Channel, secret: bytes, server: str, deadline: float) -> str:
    """Prove that this side is node `server`, and then check the other side's proof; returns the other node.

    Raises
    ------
    Refused, Lost
    """
    hello = channel.read(wire.HELLO.size, deadline)
    magic, _, client, wanted = wire.HELLO.unpack(hello)
    if magic != wire.MAGIC or wanted != _id(server):
        raise Refused("it speaks another protocol, or looks for another node")
    nonce = os.urandom(wire.NONCE)
    challenge = wire.CHALLENGE.pack(nonce, _proof(secret, b"server", hello, nonce))
    channel.send([challenge], max(0.1, deadline - time.monotonic()))
    (proof,) = wire.PROOF.unpack(channel.read(wire.PROOF.size, deadline))
    if not hmac.compare_digest(proof, _proof(secret, b"client", hello, nonce)):
        raise Refused("it does not know the cluster's secret")
    channel.send([wire.ACCEPTED], max(0.1, deadline - time.monotonic()))
    return str(client.rstrip(b"\0").decode("ascii", "replace"))


def _proof(secret: bytes, side: bytes, hello: bytes, nonce: bytes) -> bytes:
    return hmac.new(secret, side + b"\0" + hello + nonce, hashlib.sha256).digest()


def _id(node: str) -> bytes:
    """A node's id as a hello has it: 64 bytes. A longer id is replaced by its hash."""
    encoded = node.encode()
    return (encoded if len(encoded) <= 64 else hashlib.sha256(encoded).hexdigest().encode()).ljust(64, b"\0")
