"""The connection of a process to a local store, in place of Ray's: `store.session` asks it."""

from __future__ import annotations

import contextlib

from outlive.errors import ArrayNotFound, StoreUnavailable
from outlive.local.jobs import Job
from outlive.local.peers import LocalPeers
from outlive.local.place import CLUSTER, Place, of_another_machine, place_of, root_of, saying_if_full
from outlive.local.starting import make_folders, start

_TRIES = 20  # to make what a keeper that ends removes


class LocalConnection:
    """This process takes part in a job of the store at `place`, and a keeper is there."""

    cluster = CLUSTER
    is_local = True
    started_cluster = False

    def __init__(self, place: Place) -> None:
        self.place, self.root, self.on_disk = place, place.root, place.on_disk
        with saying_if_full(place):
            self._job = self._begin()
            self.peers = LocalPeers(place)
            self.peers.find()

    def _begin(self) -> Job:
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                make_folders(self.place)
                return Job(self.place.jobs)
        raise StoreUnavailable(f"somebody removes {self.place.jobs} again and again")

    @property
    def node_id(self) -> str:
        return self.peers.node_id

    @property
    def shelf_name(self) -> str:
        return self.shelf.rpartition("/")[2]

    @property
    def shelf(self) -> str:
        """The shelf's path."""
        return self.peers.about.shelf

    @property
    def job(self) -> int:
        """The number of this process's job, which the keeper sees from now on."""
        if not self._job.stands():  # somebody removed its file: without it, what is put would end at once
            with contextlib.suppress(FileNotFoundError):  # the store is gone, and the put will say so
                self._job = Job(self.place.jobs, self._job.name)
        return self._job.number

    def is_tended(self) -> bool:
        """Whether the keeper is there, and sees that this process is."""
        if not self._job.stands():  # a keeper that ended removed the file
            self._job = self._begin()
        return self.peers.answers()

    def start_keeper(self) -> None:
        """Start the keeper's process, unless there is one. Raises as `starting.start`."""
        start(self.place)

    def links(self, _: object) -> None:
        """There are no other nodes."""

    def start_catalog(self) -> None:
        """It is where the keeper is."""

    def stands(self) -> bool:
        """Whether this process is in the store still. It leaves it by its end alone."""
        return True

    def hang_up(self) -> None:
        """Close idle connections."""
        self.peers.hang_up()


def of_handle(node: str) -> Place:
    """The place of the store that a handle's node names.

    Raises
    ------
    ArrayNotFound
        There is no store any more.
    StoreUnavailable
        It is on another machine.
    """
    place = place_of(root_of(node))
    if place.shelves():
        return place
    if (other := of_another_machine(place, node)) is not None:
        raise other
    raise ArrayNotFound(f"the local store {place.root} has ended, and its arrays with it")
