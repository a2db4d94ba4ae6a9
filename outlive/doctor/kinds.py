"""Every kind of finding, by the name that scripts and `outlive-doctor.toml` use."""

from __future__ import annotations

KINDS: dict[str, str] = {
    "doomed-refs": "objects that end with their owner's job, and that a process which stays holds",
    "idle-borrowers": "idle workers that hold references",
    "idle-owners": "idle workers that own objects",
    "kept-node": "a node that does nothing and cannot be removed",
    "known-bug": "a bug of this version of Ray",
    "lazier-than-default": "a reaper that is set lazier than Ray's own",
    "not-in-this-ray": "a setting that this Ray does not have yet",
    "orphan-refs": "references whose owner is gone",
    "reaper-off": "no idle worker is ever ended",
    "shelf-nearly-full": "a shelf of outlive is 90 % full",
    "shelf-on-disk": "a shelf of outlive is a folder on disk",
    "shm-docker-default": "/dev/shm has Docker's 64 MiB",
    "shm-too-small": "/dev/shm is smaller than the object store",
    "shorter-than-start-up": "workers end sooner than one starts",
    "silent-keeper": "a keeper of outlive does not answer",
    "silent-node": "a raylet does not answer",
    "silent-process": "a worker or driver does not answer",
    "spent-owners": "workers at their max_calls that own objects",
    "spilled": "objects were spilled",
    "store-fallback": "objects are outside shared memory",
    "store-nearly-full": "an object store is 90 % full",
    "store-on-disk": "an object store is on disk",
    "unknown-setting": "a setting that Ray does not have",
    "wrong-type": "a setting with a value that Ray does not take",
}
