"""A guard's processor time in a cluster of 1,000 workers that is played: where nothing happens, and where all work."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from dataclasses import replace
from multiprocessing.connection import Connection

from benchmarks.line import Line, at_most
from outlive.ray_internals import notes, rpc
from outlive.workers import Policy
from outlive.workers.watch import Watch
from tests.workers.played import played_cluster

NAME = "guard"
ABOUT = "processor time of a guard in a played cluster of 1,000 workers on 200 nodes: all idle, and each node at work"
ASKED, SHARE = "under 1 % of a core", 0.01
EVERY = 10.0  # seconds from look to look, as a policy has by itself
_NODES, _WORKERS = 200, 5
_WHOLE = 6  # looks, after which it has asked each node on which nothing happens
_WARM = 14  # looks until it asks these so seldom


def run(quick: bool) -> list[Line]:
    every = 0.5 if quick else EVERY
    where = f"{_NODES * _WORKERS:,} workers of {_NODES} nodes"
    state = f"played cluster, nobody leaves, asked for a look every {every:g} s"
    lines = []
    for working, about in ((True, "a task on each before each look"), (False, "where nothing happens")):
        looks = 3 if quick and working else 10 if working else _WHOLE * (1 if quick else 2)
        shares, seconds, pause = _measured(working=working, looks=looks, every=every)
        if not working:
            shares, seconds = [[sum(whole) / _WHOLE for whole in _wholes(one)] for one in (shares, seconds)]
        how = state if working else f"{state}, means of {_WHOLE} looks"
        line = Line(NAME, f"processor time of a guard, {where}, {about}", how, shares, unit="s per s")
        line.note = f"{pause:.1f} s from look to look"
        lines += [at_most(line, SHARE, ASKED), Line(NAME, f"one look at {where}, {about}", how, seconds)]
    return lines


def _wholes(samples: list[float]) -> list[list[float]]:
    return [samples[i : i + _WHOLE] for i in range(0, len(samples), _WHOLE)]


def _measured(*, working: bool, looks: int, every: float) -> tuple[list[float], list[float], float]:
    """From look to look: the share of a core of a process that does nothing else; its processor time; the mean pause.

    Another process plays the cluster.
    """
    context = multiprocessing.get_context("spawn")
    (ours, theirs), (mine, its) = multiprocessing.Pipe(), multiprocessing.Pipe()
    player = context.Process(target=_play, args=(theirs,))
    player.start()
    watcher = context.Process(target=_watch, args=(its, ours, ours.recv(), working, looks, every))
    watcher.start()
    try:
        found: list[tuple[float, float]] = mine.recv()
    finally:
        watcher.join()
        ours.send(None)
        player.join()
    shares = [cpu / seconds for cpu, seconds in found]
    return shares, [cpu for cpu, _ in found], statistics.fmean(seconds for _, seconds in found)


def _play(parent: Connection) -> None:
    """A word has a task run on each node; None ends it."""
    with played_cluster(_NODES, _WORKERS) as cluster:
        parent.send(cluster.address)
        while parent.recv() is not None:
            for node in cluster.nodes:
                node.workers[0].executed += 1


def _watch(parent: Connection, player: Connection, address: str, working: bool, looks: int, every: float) -> None:
    rpc.name_gcs(address)
    now = 0.0  # of the guard's own clock, by which it does not have to wait for the first looks
    who = {"version": "", "actor_id": "", "node_id": "", "pid": 0}
    policy = Policy(max_idle=_WORKERS, every=every)
    if every < EVERY:
        policy = replace(policy, cpu_share=1.0)  # the quick form does not wait
    watch = Watch(policy, notes, who, clock=lambda: now)
    found = []
    for look in range(_WARM + looks):
        if working:
            player.send("work")
        began, cpu = time.monotonic(), time.process_time()
        watch.step()
        if look >= _WARM:
            time.sleep(watch.record["pause"])
            found.append((time.process_time() - cpu, time.monotonic() - began))
        now += watch.record["pause"]
    assert watch.record["workers"] == _NODES * _WORKERS
    parent.send(found)
