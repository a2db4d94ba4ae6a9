"""Huge pages that are asked for: not where the kernel denies them, whatever the mount says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from outlive.arrays import huge

SIZE = 4 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has madvise(2) for huge pages")
@pytest.mark.parametrize(
    ("setting", "asks"),
    [
        ("always within_size advise [never] deny force", True),
        ("always within_size advise never [deny] force", False),
        ("always within_size advise never deny [force]", True),
        (None, True),  # a container without /sys: the mount says so, and that counts
    ],
)
def test_the_kernel_may_deny_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, asks: bool
) -> None:
    """Where they are denied there is nothing to ask for."""
    monkeypatch.setattr(huge, "_option", lambda _: "advise")  # as on a mount with huge=advise
    monkeypatch.setattr(huge, "KERNEL", str(tmp_path))
    if setting is not None:
        (tmp_path / "shmem_enabled").write_text(f"{setting}\n")
    with open(tmp_path / "segment", "w+b") as file:
        assert huge.asked(file.fileno(), SIZE) == asks
