"""`python -m benchmarks.tables`: write the tables of README.md and of pages in docs/ from `benchmarks/results/`.

A table stands there between `<!-- figures: NAME -->` and `<!-- end of figures -->`. `--check` changes nothing
and exits with 1 if a table differs from the files.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from benchmarks.line import times_as_fast
from benchmarks.names import BARE_CALL, COPIED_AGAIN, KEEPERS_GROWTH, WORST_SOURCE
from benchmarks.page_size import LARGE, SMALL
from benchmarks.report import RESULTS, number

PAGES = [Path(__file__).parents[1] / name for name in ("README.md", "docs/benchmarks.md", "docs/howto/guard.md")]
FIGURES = Path(__file__).parents[1] / "docs" / "figures"
_KILLED = "both actors killed until len() of"
_LOST = "10,000 arrays with replicas=2, a node with copies of 500 of them killed"
_PLAIN, _FASTEST = "plain put", "fastest"  # which are no other ways to do the same
_NOTHING_ASKED = ("speed", "checksums")  # tables without that column
_SUMS = "the sums of 64 arrays of 16 MiB"
_SAVED = "save 16 arrays of 16 MiB to a server of S3 on this machine"
PICTURES = {"sizes": "put-and-read", "remote": "remote-read", "align": "alignment"}  # in docs/figures/, by row
_Found = tuple[str, dict[str, Any], dict[str, Any]]  # the name of the file, the machine, the line
_READ_TWICE = "*get* is the first read of an array, *get + sum* the second."  # as earlier runs did
_AS_OF_OLD = re.compile(r"([\d.]+)x faster( than)?")  # as earlier runs put it
_TABLE = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A row of a table: the line of the results with this `row` and `pages`, which begins with `what`, and whose state
    has `state` in it.
    """

    shown: str
    row: str
    what: str
    state: str = ""
    beside: str = "Ray"  # what the other column of the results is; "" if it is not for this table
    pages: str = SMALL  # of shared memory; "" for any
    note: bool = False  # what the line's note says is shown, with what was asked
    awaited: bool = False  # no run has measured it yet, perhaps


_PUT = "put 256 MiB, long-lived process"
_FRESH = "put 256 MiB in fresh max_calls=1 workers"
_CREATE = "create() + fill, 256 MiB, against np.empty + fill + ray.put"
_BY_ANOTHER = "handle.get(), 256 MiB, put by another"
TABLES = {
    "speed": (
        Row("put 1 KiB", "put", "put without a key, 1 KiB"),
        Row("put 256 MiB", "long", _PUT),
        Row("put 256 MiB, where shared memory has pages of 2 MiB", "long", _PUT, pages=LARGE),
        Row("put 256 MiB, both stores new", "workers", _FRESH, "cold"),
        Row("get 256 MiB that another process put", "get", _BY_ANOTHER),
        Row("get a view that this process has", "live", "handle.get() of a live view"),
        Row("put a frame of 10^6 rows and 12 columns", "values", "put, frame"),
        Row("first read of 1 KiB of another node", "remote", "first read of 1 KiB"),
        Row("first read of 256 MiB of another node", "remote", "first read of 256 MiB", "warm"),
        Row("256 MiB read on seven other nodes at once", "readers", "256 MiB read on 7 other nodes"),
        Row("put 256 MiB with `replicas=2`, beside a plain put", "nodes", "put(replicas=2), 256 MiB", "", _PLAIN),
        Row("zarr: write a chunk of 1 MiB", "zarr", "write a chunk of 1 MiB, beside zarr's Local", "", "LocalStore"),
    ),
    "pages": (
        Row("put 128 MiB into new memory of such pages, beside pages of 4 KiB", "huge", "put 128 MiB", "cold",
            SMALL, pages=""),
        Row("first `get` and sum of it", "huge", "get and sum 128 MiB", "cold", SMALL, pages=""),
        *(replace(row, pages=LARGE) for row in (
            *(Row(f"{what} {label}", "sizes", f"{what}, {label}")
              for label in ("1 KiB", "1 MiB", "256 MiB", "1 GiB") for what in ("put", "get and sum")),
            Row("put 256 MiB beside a plain memcpy", "long", f"{_PUT}, against memcpy", "", "memcpy"),
            Row("put 256 MiB in fresh `max_calls=1` workers, both stores warm", "workers", _FRESH, "warm"),
            Row("the same while both stores are new", "workers", _FRESH, "cold"),
            Row("`create()` + fill, 256 MiB, beside `np.empty` + fill + `ray.put`", "create", _CREATE, "warm"),
            Row("first read of 1 KiB of another node", "remote", "first read of 1 KiB", "warm"),
            Row("first read of 256 MiB of another node, both stores new", "remote", "first read of 256 MiB", "cold"),
            Row("first read of 256 MiB of another node", "remote", "first read of 256 MiB", "warm"),
            Row("256 MiB over a bare connection of two streams", "remote", "256 MiB by sendfile", "warm"),
            Row("the same into new memory", "remote", "256 MiB by sendfile", "cold"),
            Row("put 256 MiB with `replicas=2`, beside a plain put", "nodes", "put(replicas=2)", "", _PLAIN),
            Row("256 MiB read on seven other nodes at the same moment", "readers", "256 MiB read on 7 other nodes"),
        )),
    ),
    "local": (
        Row("put 1 KiB without a key", "put", "put without a key, 1 KiB"),
        Row("the system calls of that alone, without outlive", "put", "the system calls of a put of 1 KiB", beside=""),
        Row("put 256 MiB again and again in one process", "long", _PUT),
        Row("the same beside a plain memcpy", "long", "put 256 MiB, long-lived process, against memcpy", "", "memcpy"),
        Row("put 256 MiB in fresh `max_calls=1` workers, both stores warm", "workers", "put 256 MiB", "warm"),
        Row("the same while both stores are new", "workers", "put 256 MiB", "cold"),
        Row("`create()` + fill, 256 MiB, beside `np.empty` + fill + `ray.put`", "create", "create()", "warm"),
        Row("get by handle, 1 KiB, put by another process", "get", "handle.get(), 1 KiB, put by another"),
        Row("get by handle, 256 MiB, put by another process", "get", "handle.get(), 256 MiB, put by another"),
        Row("get of a live view", "live", "handle.get() of a live view"),
        Row("get by key, 1 KiB, for the first time in a process", "named", "store.get(key), 1 KiB", "cold", ""),
        Row("get by key, 1 KiB, again, no view is held", "named", "store.get(key), 1 KiB, again", "no view", ""),
        Row("put with a key, 1 KiB, beside an empty actor call", "named", "store.put(array, key), 1 KiB", "", "a call"),
        Row("`put_many` of 100,000 arrays of 1 KiB", "many", "put_many of 10^5", "", ""),
        Row("`keys(prefix=)`, half of 100,000", "many", "keys(prefix=) of 10^5", "", ""),
        Row("put 256 MiB from the slowest of 64 sources, beside the fastest", "align", WORST_SOURCE, "", _FASTEST,
            note=True, awaited=True),
        Row("both actors killed, until 100,000 arrays are there again", "many", f"{_KILLED} 10^5 is right", "", ""),
    ),
    "nodes": (
        Row("first read of 256 MiB of another node, both stores new", "remote", "first read of 256 MiB", "cold"),
        Row("first read of 256 MiB of another node", "remote", "first read of 256 MiB", "warm"),
        Row("first read of 16 MiB of another node", "remote", "first read of 16 MiB", "warm"),
        Row("first read of 1 MiB of another node", "remote", "first read of 1 MiB", "warm"),
        Row("first read of 1 KiB of another node", "remote", "first read of 1 KiB", "warm"),
        Row("256 MiB over a bare connection of two streams", "remote", "256 MiB by sendfile", "warm"),
        Row("the same into new memory", "remote", "256 MiB by sendfile", "cold"),
        Row("second read of 256 MiB there", "nodes", "second read of 256 MiB"),
        Row("1 % of an array of 1 GiB of another node, beside all of it", "nodes", "a slice of a handle", "", "all"),
        Row("put 256 MiB with `replicas=2`, beside a plain put", "nodes", "put(replicas=2), 256 MiB", "", _PLAIN),
        Row("10,000 arrays with `replicas=2`, one of 8 nodes killed: from Ray's word of it until all are on two",
            "nodes-lost", f"{_LOST}: from then on"),
        Row("1 GiB that a lost node had, from when the catalog knows of it until all is copied to a new node",
            "nodes-lost", f"1 GiB of {COPIED_AGAIN}", "", "bare connection", note=True, awaited=True),
        Row("what a keeper's own memory grows by while 4 GiB pass between two", "remote",
            f"{KEEPERS_GROWTH} as 4 GiB pass", "", "", note=True, awaited=True),
        Row("256 MiB read on seven other nodes at the same moment", "readers", "256 MiB read on 7 other nodes"),
        Row("a bare call of the catalog, by its port", "calls", f"{BARE_CALL}, beside Ray", "", "through Ray"),
        Row("put with a key, 1 KiB, of three nodes", "calls", "store.put(array, key), 1 KiB, by port", "", ""),
        Row("keyed puts a second, by 8 processes on three nodes", "calls",
            "keyed puts a second, 8 processes on 3 raylets, by port", "", ""),
    ),
    "checksums": tuple(
        Row(f"the checksum of 256 MiB, beside {name}", "checksums", f"checksum of 256 MiB, beside {name}", "", name)
        for name in ("CRC-32 of zlib", "xxh3 of xxhash", "CRC-32C of google-crc32c", "CRC-32C of crc32c")
    ),
    "values": (
        *(Row(f"{what} {label}", "values", f"{what}, {value}")
          for label, value in (
              ("a dict of 3 volumes of 64 MiB", "dict"), ("a frame of 10^6 rows and 12 columns", "frame"),
              ("a torch tensor of 256 MiB", "torch"), ("a list of 1,000 small arrays", "list"),
              ("10 MB of nested Python objects", "nested"),
          )
          for what in ("put", "get")),
        Row("memory of its own that a reader of the dict gains", "values", "unique memory", "", ""),
    ),
    "tools": (
        *(Row(f"zarr: {what} {label}", "zarr", f"{what} {label}, beside zarr's LocalStore", "", "LocalStore")
          for label in ("a chunk of 1 MiB", "a chunk of 64 MiB", "an array of 64 chunks of 1 MiB")
          for what in ("write", "read")),
        *(Row(f"Ray Data: {_SUMS}", "data", f"{_SUMS}, by Ray Data, beside {other}", "", other)
          for other in ("from_numpy_refs", "read_numpy", "read_parquet")),
        *(Row(f"{_SAVED}, {how}", "save", f"{_SAVED}, beside obstore {how}", "", "obstore")
          for how in ("in parts", "in one piece each")),
    ),
    "guard": (
        *(Row(f"{shown}, where {where}", "guard", f"{what} 1,000 workers of 200 nodes, {state}", "", "")
          for state, where in (("a task on each", "each node works"), ("where nothing", "nothing happens"))
          for shown, what in (
              ("1,000 workers of 200 played nodes", "processor time of a guard,"), ("a look at these", "one look at"),
          )),
        Row("64 real workers, beside an actor that does nothing", "guard-real",
            "processor time of a guard, 64 real workers, a bound on their number", "", "actor"),
        Row("the same with a bound on their memory, and all work", "guard-real",
            "processor time of a guard, 64 real workers, a bound on their memory", "", "actor"),
        Row("memory of the guard's process alone", "guard-real", "unique memory of a guard's process", "", "actor"),
    ),
}  # fmt: skip


def results() -> list[_Found]:
    """Every line that was measured in full, the latest first."""
    found = list[_Found]()
    for path in sorted(RESULTS.glob("*.json")):
        file = json.loads(path.read_text())
        if file.get("form") == "full":
            found += [(path.name, file["machine"], line) for line in file["lines"]]
    return sorted(found, key=lambda each: each[2]["measured_at"], reverse=True)


def table(name: str) -> str:
    """The rows, and below them which file and processor each letter in the last column stands for.

    Raises
    ------
    LookupError
        No file has a line for a row.
    """
    if name in OTHERS:
        return OTHERS[name]()
    lines, sources = results(), list[str]()
    compared = name != "guard"  # whose other side is no way to do the same
    asked = name not in _NOTHING_ASKED
    head = ["what", "outlive", "other", "ratio", *(["asked"] if asked else []), "run"]
    if not compared:
        head = ["what", "guard", "for comparison", "note", "run"]
    text = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in TABLES[name]:
        if (found := _latest(row, lines)) is None:
            text.append(f"| {row.shown} | not measured yet |{' |' * (len(head) - 2)}")
            continue
        file, machine, line = found
        source = f"`{file}` on {machine['cpu']}"
        if source not in sources:
            sources.append(source)
        cells = [*_cells(row, line), *([_asked(row, line)] if asked else [])]
        if not compared:
            cells = [*cells[:2], line.get("note", "")]
        text.append(f"| {row.shown} | {' | '.join(cells)} | {ascii_lowercase[sources.index(source)]} |")
    legend = [f"- *{letter}* {source}" for letter, source in zip(ascii_lowercase, sources, strict=False)]
    said = "Above a ratio of 1, outlive is faster. Measured in:" if compared else "Measured in:"
    return "\n".join([*text, "", said, "", *legend, ""])


def problem() -> str:
    """What became of the same programs with Ray and with outlive."""
    found = json.loads((RESULTS / "problem.json").read_text())
    text = ["| the same program | with `ray.put` | with outlive |", "|---|---|---|"]
    text += [f"| {program} | {sides['ray.put']} | {sides['outlive']} |" for program, sides in found["rows"].items()]
    once = f"Measured with Ray {found['ray']} by `python -m benchmarks.problem`, each program once on each side."
    return "\n".join([*text, "", once, ""])


def peers() -> str:
    """The median of each store of arrays, and the fastest, in the latest run of `python -m benchmarks.peers`."""
    files = {path.name: json.loads(path.read_text()) for path in RESULTS.glob("peers-*.json")}
    file = max(files, key=lambda name: files[name].get("measured_at", ""))  # the first ones did not say when
    return peers_table(file, files[file])


def peers_table(file: str, found: dict[str, Any]) -> str:
    names = list(next(iter(found["seconds"].values())))
    text = [f"| what | {' | '.join(names)} | fastest |", "|---" * (len(names) + 2) + "|"]
    for size, by_peer in found["seconds"].items():
        for what in by_peer[names[0]]:
            medians = {name: statistics.median(by_peer[name][what]) for name in names}
            cells = [number(median, "s") for median in medians.values()]
            text.append(f"| {what} {size} | {' | '.join(cells)} | {min(medians, key=medians.__getitem__)} |")
    said = found.get("reads", _READ_TWICE)
    return "\n".join([*text, "", f"{said} Measured in:", "", f"- `{file}` on {found['machine']['cpu']}", ""])


OTHERS: dict[str, Callable[[], str]] = {"problem": problem, "peers": peers}  # tables that are not of rows


def _latest(row: Row, lines: list[_Found]) -> _Found | None:
    of_row = (each for each in lines if each[2]["row"] == row.row and row.state in each[2]["state"])
    fit = [each for each in of_row if row.pages in {"", each[2].get("pages", SMALL)}]
    exact = [each for each in fit if each[2]["what"] == row.what]
    found = exact or [each for each in fit if each[2]["what"].startswith(row.what)]
    if not found and not row.awaited:
        raise LookupError(f"no file in {RESULTS} has a line for {row}")
    return found[0] if found else None


def _cells(row: Row, line: dict[str, Any]) -> tuple[str, str, str]:
    """The figure of outlive, the other one, and their ratio."""
    mine, other = (line["summary"].get(side, {}).get("median") for side in ("outlive", "ray"))
    if other is None or not row.beside:
        return number(mine, line["unit"]), "", ""
    ratio = f"{other / mine:.1f}" if other >= mine else f"{other / mine:.2f}"
    if float(ratio) < 1 and row.beside not in {_PLAIN, _FASTEST}:
        ratio += f", {row.beside} is faster"
    return number(mine, line["unit"]), f"{row.beside}: {number(other, line['unit'])}", ratio


def _asked(row: Row, line: dict[str, Any]) -> str:
    """What was asked of a line, and whether it was missed."""
    asked = _AS_OF_OLD.sub(lambda old: times_as_fast(float(old[1])) + (" as" if old[2] else ""), line["asked"])
    missed = ": missed" if line["reached"] is False else ""
    note = f"({line['note']})" if row.note else ""
    return f"{asked}{missed} {note}".strip()


def pictures() -> dict[Path, Path]:
    """Where each curve stands in docs/, and the picture of the latest run that measured it."""
    latest = dict[str, str]()
    for file, _, line in results():
        latest.setdefault(line["row"], file)
    drawn = {name: RESULTS / f"{Path(latest[row]).stem}-{row}.png" for row, name in PICTURES.items() if row in latest}
    return {FIGURES / f"{name}.png": path for name, path in drawn.items()}


def written(text: str) -> str:
    """The text with every table as the files have it."""
    return _TABLE.sub(lambda match: f"{match[1]}{table(match[2])}{match[3]}", text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table differs")
    check = parser.parse_args().check
    old = [page for page in PAGES if written(page.read_text()) != page.read_text()]
    drawn = pictures()
    missing = [picture for picture in drawn.values() if not picture.exists()]
    for picture in missing:
        file = RESULTS / f"{picture.stem.rpartition('-')[0]}.json"
        print(f"{picture} is not there: python -m benchmarks.draw {file} draws it", file=sys.stderr)
    old += [
        shown
        for shown, picture in drawn.items()
        if picture not in missing and (not shown.exists() or shown.read_bytes() != picture.read_bytes())
    ]
    for file in old:
        if check:
            print(f"{file}: its figures are not those of {RESULTS}; run python -m benchmarks.tables", file=sys.stderr)
        elif file.suffix == ".png":
            file.parent.mkdir(exist_ok=True)
            shutil.copyfile(drawn[file], file)
        else:
            file.write_text(written(file.read_text()))
    return 1 if missing or (check and old) else 0


if __name__ == "__main__":
    sys.exit(main())
