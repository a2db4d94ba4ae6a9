"""In Ray: the connection of a process to its Ray cluster, as a session needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outlive.arrays.layout import KEEPER
from outlive.arrays.root import default_root, shelf_folder
from outlive.cluster import starters
from outlive.cluster.links import Links, links
from outlive.cluster.port import Peers
from outlive.cluster.ray_port import RayPeers
from outlive.cluster.tenure import PROTOCOL
from outlive.ray_internals import Connection

if TYPE_CHECKING:
    from outlive.arrays.shelf import Shelf


class RayConnection(Connection):
    """This process's connection to a Ray cluster, as it was when this was made. Raises StoreUnavailable."""

    is_local = False

    def __init__(self) -> None:
        super().__init__()
        self.root, self.on_disk = default_root()
        self.shelf_name = self.node_id
        self._peers = RayPeers()
        self.peers: Peers = self._peers

    @property
    def shelf(self) -> str:
        """The path of this node's shelf, the folders above it made. Raises UnsafeRoot."""
        return shelf_folder(self.root, self.cluster, self.node_id)

    def is_tended(self) -> bool:
        """Whether a keeper that this version of outlive can talk to has been started for the shelf."""
        try:
            with open(f"{self.root}/{self.cluster}/{self.node_id}/{KEEPER}") as file:
                return file.read() == f"{PROTOCOL}\n"
        except FileNotFoundError:
            return False

    def start_catalog(self) -> None:
        starters.start_catalog(self.peers)

    def links(self, shelf: Shelf) -> Links | None:
        """To the transfer servers of other nodes, where they are used. `shelf`: this node's."""
        return links(self.peers, self.node_id, shelf)

    def hang_up(self) -> None:
        """Close idle connections."""
        self._peers.hang_up()
