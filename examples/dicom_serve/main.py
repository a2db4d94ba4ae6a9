"""A study stays readable while the replicas that serve it come and go: scaled down, killed, upgraded.

Four clients read slices and projections all the time, and compare each picture with the one that it must be. Meanwhile
Serve scales three viewers down to one, that one is killed with requests under way, and a new release replaces the old.

    pip install 'ray[serve]' pydicom pillow
    python examples/dicom_serve/main.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
import requests
from app import deploy
from image import section, window
from phantom import files_of, volume_of, zip_of
from PIL import Image
from ray import serve
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Clients:
    """Threads that read pictures of one series, and look whether they are right."""

    def __init__(self, url: str, volume: np.ndarray) -> None:
        self.url, self.series = url, {"volume": volume}
        self.status, self.wrong, self.asked_again = Counter[int](), 0, 0
        self.last: dict[str, Any] = {}  # the headers of the last picture
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.read, args=[seed]) for seed in range(4)]

    def read(self, seed: int) -> None:
        chance, session = random.Random(seed), requests.Session()
        while not self.ended.is_set():
            number = chance.choice([None, *range(len(self.series["volume"]))])
            center, width = chance.randrange(-200, 1200), chance.randrange(1, 2000)
            what = "projection" if number is None else f"slices/{number}"
            answer = session.get(f"{self.url}/{what}", params={"center": center, "width": width}, timeout=300)
            if answer.status_code == 200:
                right = window(section(self.series, "z", number), center, width)
                self.wrong += not np.array_equal(Image.open(io.BytesIO(answer.content)), right)
                self.asked_again += answer.headers["asked"] != "1"
                self.last = dict(answer.headers)
            self.status[answer.status_code] += 1

    def more(self, pictures: int = 40) -> None:
        """Wait until so many more have come: none of them was asked for before."""
        wanted = self.status.total() + len(self.threads) + pictures
        while self.status.total() < wanted:
            if not all(thread.is_alive() for thread in self.threads):
                raise RuntimeError("a client has ended: its error stands above")
            time.sleep(0.05)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        for thread in self.threads:
            thread.start()
        try:
            yield
        finally:
            self.ended.set()
            for thread in self.threads:
                thread.join()


def viewers() -> Counter[str]:
    """How many there are, by state."""
    return Counter(serve.status().applications["dicom"].deployments["Viewer"].replica_states)


@ray.remote(num_cpus=0)
def kill(pid: int) -> None:
    """End a process of this node at once, as a crash does."""
    os.kill(pid, signal.SIGKILL)


def main(port: int) -> None:
    deploy(port, "1")
    url, volume = f"http://127.0.0.1:{port}/studies", volume_of()
    answer = requests.post(url, zip_of(files_of(volume)), timeout=300)
    answer.raise_for_status()
    [series] = answer.json()["series"]
    study = f"{url}/{answer.json()['study']}"
    print(f"stored: {answer.json()['series'][series]}, by a worker that leaves")

    clients = Clients(f"{study}/series/{series}", volume)
    with clients.reading():
        clients.more()
        while viewers() != {"RUNNING": 1}:  # Serve scales down: one is enough for four clients
            clients.more(1)
        clients.more()
        print(f"one of three viewers is left: {clients.status.total()} pictures, {clients.wrong} wrong")

        killed = 0
        while not clients.asked_again and set(clients.status) == {200}:  # until one dies with a request under way
            pid, node = int(clients.last["pid"]), clients.last["node"]
            ray.get(kill.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(pid))
            killed += 1
            clients.more()
        print(f"killed viewers: {killed}; requests that were asked again: {clients.asked_again}; {clients.wrong} wrong")

        deploy(port, "2")
        while clients.last["release"] != "2":
            clients.more(1)
        clients.more()
        print(f"release {clients.last['release']} serves the study; {clients.wrong} wrong")

    print(f"{clients.status.total()} requests, by status: {dict(clients.status)}; {clients.wrong} pictures were wrong")
    requests.delete(study, timeout=300).raise_for_status()
    serve.delete("dicom")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    main(parser.parse_args().port)
