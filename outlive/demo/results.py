"""The measurements of one run, as plain values for table, chart and conclusion."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from outlive.demo.watch import Sample


@dataclass
class Reading:
    """Each array read once."""

    arrays: int
    identical: int  # read without error, and with the checksum that their producer computed
    errors: dict[str, int]  # the number of other arrays, by error
    seconds: list[float]  # seconds of each read without error

    @property
    def lost(self) -> int:
        """The number of arrays that could not be read, or had other bytes than were put."""
        return self.arrays - self.identical


@dataclass
class Leftover:
    """The processes that are there when the work is done and all is quiet."""

    workers: int
    workers_uss: int  # bytes
    workers_rss: int
    tending: int  # keeper and catalog
    tending_uss: int
    settled: bool  # True: no worker came or went any more; False: patience ran out first


@dataclass
class Result:
    """One side's run."""

    side: str
    puts: list[float] = field(default_factory=list)  # seconds each, in the producer
    nbytes: int = 0  # of all arrays
    spent: int = 0  # workers that served as many calls as they may
    spent_left: int = 0  # spent workers that are still there when all is quiet
    left: Leftover | None = None
    killed: str = ""  # the producer that was killed
    readings: dict[str, Reading] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """The largest number of arrays that a reading missed."""
        return max((reading.lost for reading in self.readings.values()), default=0)

    @property
    def first_reads(self) -> list[float]:
        """Seconds that each array's first read took."""
        return self.readings["work"].seconds

    def summary(self) -> dict[str, Any]:
        """The results for JSON, without the samples."""
        result = asdict(self)
        del result["samples"]
        return {
            **result,
            "lost": self.lost,
            "put_median_seconds": statistics.median(self.puts),
            "put_total_seconds": sum(self.puts),
            "read_median_seconds": statistics.median(self.first_reads) if self.first_reads else None,
        }


def leftover(sample: Sample, settled: bool) -> Leftover:
    """Count a sample's processes."""
    workers = [process for process in sample.processes if process.role == "worker"]
    tending = [process for process in sample.processes if process.role != "worker"]
    return Leftover(
        len(workers),
        sum(process.uss for process in workers),
        sum(process.rss for process in workers),
        len(tending),
        sum(process.uss for process in tending),
        settled,
    )
