"""The program of the forum thread: what is wrong with it is found, each where it is."""

from __future__ import annotations

from pathlib import Path

from outlive.lint import check_source

PROGRAM = Path(__file__).with_name("programs") / "numpy_store.py"


def test_three_mistakes_are_found_where_they_are():
    code = PROGRAM.read_text()
    lines = code.splitlines()
    found = {
        finding.code: lines[finding.line - 1][finding.column - 1 : finding.end_column - 1]
        for finding in check_source(code)
    }
    assert found == {
        "OUT101": "ray.put(data, _owner=store_actor)",
        "OUT102": "self.data_ref",
        "OUT501": "NumpyStore(np.empty((0,)), key)",
    }
