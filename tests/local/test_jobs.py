"""Jobs, by their files: no array of a job may end while one of its processes is there."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

import outlive
from outlive.arrays.layout import number_of
from outlive.local import jobs
from outlive.local.jobs import Job
from outlive.local.place import place_of


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def test_a_job_lives_until_its_processes_let_go(folder):
    job = Job(folder)
    assert jobs.living(folder) == {job.number}
    del job
    assert jobs.living(folder) == set() and os.listdir(folder) == []


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_job_that_cannot_be_looked_at_lives(folder, monkeypatch, code):
    job = Job(folder)

    def refuse(path: str, *_: object) -> int:
        raise OSError(code, os.strerror(code), path)

    with monkeypatch.context() as without:
        without.setattr(jobs.os, "open", refuse)
        assert jobs.living(folder) == {job.number}
    assert job.stands()


def test_a_file_that_takes_the_place_of_one_that_ended(folder, monkeypatch):
    """Another thread of the keeper removes the file of an ended job, and a program of the same name begins anew."""
    monkeypatch.setenv(jobs.SETTING, "night")
    Job(folder)  # it ends at once, and its file stays
    begun = []
    real = jobs.try_lock

    def meanwhile(file: object, kind: int = fcntl.LOCK_EX) -> bool:
        if kind == fcntl.LOCK_EX and not begun:
            os.unlink(f"{folder}/{os.listdir(folder)[0]}")
            begun.append(Job(folder))
        return real(file, kind)

    monkeypatch.setattr(jobs, "try_lock", meanwhile)
    assert jobs.living(folder) == {begun[0].number}
    assert begun[0].stands()


def test_a_file_that_is_removed_is_made_again(root):
    store = outlive.open(local=True, root=root)
    number, folder = number_of(store.put(np.ones(3)).id), place_of(root).jobs
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")
    handle = store.put(np.ones(3))
    assert number_of(handle.id) == number and jobs.living(folder) == {number}


def test_a_process_with_any_name(folder):
    """The kernel cuts a process's name after 15 bytes, which may be in the middle of a letter."""
    with open("/proc/self/comm", "r+b") as comm:
        before = comm.read().rstrip(b"\n")
        comm.write("12345678901234ü".encode()[:15])
    try:
        job = Job(folder)
        assert jobs.living(folder) == {job.number} and f".{os.getpid()}." in job.name
    finally:
        with open("/proc/self/comm", "wb") as comm:
            comm.write(before)


def test_a_job_that_has_any_name(folder, monkeypatch):
    monkeypatch.setenv(jobs.SETTING, os.fsdecode(b"nacht-\xfc"))
    one, other = Job(folder), Job(folder)
    assert one.number == other.number
