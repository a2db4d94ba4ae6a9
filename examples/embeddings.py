"""Embeddings by key: computed once, shared by all workers, and gone by themselves.

A text is embedded if the store has no embedding of it. Any worker of the cluster finds what another one has computed.
The time to live begins again with each use, so that only embeddings that nobody wants any more leave. What is of use to
this job alone ends with the job.

    python examples/embeddings.py
"""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import ray

import outlive

STORE = "examples/embeddings"
DIMENSIONS = 384


def model(text: str) -> np.ndarray:
    """Stands for a model that takes its time: the same text gets the same unit vector."""
    vector = np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIMENSIONS).astype("float32")
    return vector / np.linalg.norm(vector)


def key_of(text: str) -> str:
    return f"v1/{hashlib.sha256(text.encode()).hexdigest()}"


@ray.remote
def embed(texts: list[str]) -> int:
    """Embed the texts that have no embedding yet; returns how many those were."""
    store = outlive.open(STORE)
    missing = [text for text in dict.fromkeys(texts) if key_of(text) not in store]
    store.put_many({key_of(text): model(text) for text in missing}, ttl="1h")
    for text in texts:
        store.handle(key_of(text)).touch()  # one more hour
    return len(missing)


def main() -> None:
    store = outlive.open(STORE)
    texts = [f"The {noun} outlives the {other}." for noun in ("array", "store") for other in ("worker", "actor")]
    print(f"the first task embeds {ray.get(embed.remote(texts))} texts")
    print(f"the second task embeds {ray.get(embed.remote([*texts, 'One text is new.']))}")

    matrix = np.stack(list(store.get_many(key_of(text) for text in texts).values()))
    index = store.put(matrix, key="index", lifetime="job")  # ends with this job
    print(f"an index of shape {index.shape} ends with its {index.lifetime}")
    nearest = int((index.get() @ model(texts[2])).argmax())
    ends = store.handle(key_of(texts[2])).ends_at()
    print(f"the nearest to {texts[2]!r} is {texts[nearest]!r}, which is kept until {ends:%H:%M}")
    assert nearest == 2
    store.clear()


if __name__ == "__main__":
    main()
