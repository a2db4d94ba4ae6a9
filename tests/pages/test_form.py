"""How a page is taken apart, and what counts as the same output."""

from __future__ import annotations

import doctest

import pytest

from tests.pages import form
from tests.pages.form import differences
from tests.pages.page import Page

PAGE = Page("""# Title

```python one.py
print(1)
```
```sh
ray start --head --num-cpus=2 --system-config='{"a": 0}'  # a comment
```
```console
$ python one.py
1
$ outlive workers trim --yes
```
Text.
```console
$ outlive workers
1 worker
```
""")


def test_a_page_is_taken_apart():
    assert PAGE.files == {"one.py": "print(1)\n"}
    assert PAGE.start == ["--head", "--num-cpus=2", '--system-config={"a": 0}']
    assert [(step.command, step.shown, step.looks) for step in PAGE.steps] == [
        ("python one.py", ("1",), False),
        ("outlive workers trim --yes", (), False),
        ("outlive workers", ("1 worker",), True),
    ]


def test_outputs_are_written_in_their_places():
    shown = [list(step.shown) for step in PAGE.steps]
    assert PAGE.with_outputs(shown) == PAGE
    changed = PAGE.with_outputs([["2"], ["left"], []])
    assert [step.shown for step in changed.steps] == [("2",), ("left",), ()]
    assert changed.files == PAGE.files
    assert "Text." in changed.text


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("job 01000000", "job 0a000000"),
        ("idle for 3.2 s", "idle for 850 ms"),
        ("71.5 MiB", "80 MiB"),
        ("0 B", "900 KiB"),
        ("PID   UNIQUE", "PID     UNIQUE"),
        ("1.2 GiB", "1.0 GiB"),
        ("'SERVE_REPLICA::default#Segmenter#5khqdiod' lives", "'SERVE_REPLICA::default#Segmenter#0a1b2c3d' lives"),
    ],
)
def test_what_may_differ(shown, printed):
    assert differences([shown], [printed]) == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["its job has ended"], ["its job goes on"]),
        (["2 workers"], ["3 workers"]),
        (["600 MiB"], ["400 MiB"]),
        (["1.0 GiB"], ["1.0 MiB"]),
        (["a", "b"], ["a"]),
        (["a b"], ["b a"]),
        (["a"], ["a", "b"]),
        (["idle for 3 s"], ["idle for long"]),
    ],
)
def test_what_may_not(shown, printed):
    assert differences(shown, printed) != []


def test_the_examples_of_form():
    assert doctest.testmod(form).failed == 0
