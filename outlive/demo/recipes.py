"""Recipes for derived volumes: one a task, with numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from outlive.demo.inputs import Source, Volume, load


class Job(NamedTuple):
    """One array to make."""

    source: Source
    recipe: str
    seed: int


def plan(sources: list[Source], least: int) -> list[Job]:
    """A job for each source, and further jobs by other recipes until there are `least`."""
    count, names = len(sources), list(RECIPES)
    return [Job(sources[n % count], names[n // count % len(names)], n) for n in range(max(count, least))]


def make(job: Job) -> Volume:
    """Load the job's volume and derive the new one. The same job always gives the same bits."""
    return np.ascontiguousarray(RECIPES[job.recipe](load(job.source), job.seed), dtype=np.float32)


def _smooth(volume: Volume) -> Volume:
    """Weights 1/4, 1/2, 1/4 along each of up to three axes."""
    for axis in range(min(volume.ndim, 3)):
        if volume.shape[axis] > 2:
            moved = np.moveaxis(volume, axis, 0)
            result = moved.copy()
            result[1:-1] = (moved[:-2] + 2 * moved[1:-1] + moved[2:]) / 4
            volume = np.moveaxis(result, 0, axis)
    return volume


def _edges(volume: Volume) -> Volume:
    steps = [np.diff(volume, axis=axis, prepend=0) for axis in range(min(volume.ndim, 3))]
    return np.asarray(np.sqrt(sum((step * step for step in steps), np.zeros((), np.float32))))


def _noise(volume: Volume, seed: int) -> Volume:
    noise = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    return np.asarray(volume + noise * (volume.std() / 10))


def _normalised(volume: Volume) -> Volume:
    return np.asarray((volume - volume.mean()) / (volume.std() or 1))


RECIPES: dict[str, Callable[[Any, int], Volume]] = {
    "denoised": lambda volume, _: _smooth(volume),
    "noisy": _noise,
    "sharpened": lambda volume, _: 2 * volume - _smooth(volume),
    "edges": lambda volume, _: _edges(volume),
    "normalised": lambda volume, _: _normalised(volume),
    "flipped": lambda volume, _: volume[::-1],
    "inverted": lambda volume, _: volume.max() - volume,
    "compressed": lambda volume, _: np.sign(volume) * np.sqrt(np.abs(volume)),
}
