"""A replay buffer whose actors are scaled down while the buffer is full.

Rollout actors play episodes and queue them for a learner. They are taken away before the learner has caught up. The
queue holds handles, which hold nothing alive: so every episode is still there. The learner deletes what it has learned
from, and the next episodes use its memory again.

    python examples/replay_buffer.py
"""

from __future__ import annotations

from collections import deque

import numpy as np
import ray

import outlive

STORE = "examples/replay-buffer"
ACTORS, EPISODES, STEPS = 2, 6, 2_000


@ray.remote(num_cpus=0)
class Rollout:
    """Plays episodes: each step is an observation, an action and a reward."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def play(self) -> outlive.ArrayHandle:
        step = np.dtype([("observation", "f4", 16), ("action", "i4"), ("reward", "f4")])
        making = outlive.open(STORE).create((STEPS,), step)
        with making as episode:  # filled in place: no copy is made
            episode["observation"] = self.random.normal(size=(STEPS, 16))
            episode["action"] = self.random.integers(4, size=STEPS)
            episode["reward"] = episode["observation"].mean(axis=1)
        return making.handle


def main() -> None:
    store = outlive.open(STORE)
    actors = [Rollout.remote(seed) for seed in range(ACTORS)]
    queue = deque(ray.get([actor.play.remote() for actor in actors for _ in range(EPISODES)]))
    print(f"{len(queue)} episodes of {queue[0].nbytes / 1e6:.1f} MB are queued by {len(actors)} actors")

    for actor in actors:  # the stage is scaled down to nothing
        ray.kill(actor)
    print("all actors are gone, and the queue is full")

    random, learned, rewards = np.random.default_rng(0), 0, []
    while queue:
        handle = queue.popleft()
        episode = handle.get()  # a view of shared memory
        batch = episode[random.integers(len(episode), size=256)]
        rewards.append(float(batch["reward"].mean()))
        store.delete(handle)
        learned += 1
    print(
        f"the learner has learned from {learned} of {ACTORS * EPISODES} episodes; mean reward {np.mean(rewards):+.4f}"
    )
    assert learned == ACTORS * EPISODES


if __name__ == "__main__":
    main()
