"""Connections: those of strangers are limited. Whoever holds many, and says nothing, keeps nobody else out."""

from __future__ import annotations

import resource
from typing import Any

_MOST = 100
BACKLOG = 32  # connections that asyncio takes at once, before it makes any of them


class Connections:
    """Makes the protocol of each connection. If there are too many of strangers, the oldest of these gives way.

    Each connection takes a descriptor, and aiohttp has no deadline for a first request. Without descriptors asyncio
    accepts nobody, and logs that a hundred times a second.

    Parameters
    ----------
    server
        aiohttp's, of the application.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self._admitted: set[Any] = set()
        self._most = max(1, min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))

    def __call__(self) -> Any:
        """The protocol of a new connection."""
        here = self._server.connections
        self._admitted.intersection_update(here)
        strangers = [one for one in here if one not in self._admitted]
        for oldest in strangers[: max(0, len(strangers) + 1 - self._most)]:
            if oldest.transport is not None:
                oldest.transport.abort()
        return self._server()

    def admit(self, protocol: Any) -> None:
        """Somebody who may see the page has asked by this connection."""
        self._admitted.add(protocol)
