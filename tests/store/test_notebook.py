"""How handles, stores and figures look in a notebook; on a shelf of the test's own, without Ray."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from outlive.arrays.lifetimes import lifetime_from
from outlive.arrays.live import live_view
from outlive.arrays.put_options import PutOptions
from outlive.arrays.reader import Reader
from outlive.arrays.shelf import Shelf
from outlive.arrays.writer import Writer
from outlive.cluster.keeper import ShelfStats
from outlive.store import notebook, session
from outlive.store.handle import ArrayHandle
from outlive.store.picture import picture, png
from outlive.store.store import Store, StoreStats

EVIL = "<script>alert('1')</script>&\n"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """The shelf of a session that can do nothing else: whoever asks an actor fails."""
    (tmp_path / "root").mkdir(mode=0o700)
    shelf = Shelf(str(tmp_path / "root" / "shelf"), 64 << 20)
    monkeypatch.setattr(session, "_session", SimpleNamespace(stands=lambda: True, shelf=shelf, node="a" * 56))
    yield shelf
    shelf.remove()


def put(shelf: Shelf, array: np.ndarray[Any, Any], key: str | None = "k", **options: Any) -> ArrayHandle:
    return ArrayHandle(Writer(shelf).put(array, key=key, options=PutOptions(**options)), "a" * 56)


def shown(value: Any) -> str:
    """The HTML, which has to be well formed."""
    text: str = value._repr_html_()
    assert not re.search("colou?r|background", text)  # these are the notebook's: it may be dark
    open_tags: list[str] = []

    class Checked(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            assert tag in {"table", "tr", "td", "th", "img", "br", "small", "pre"}
            if tag not in {"img", "br"}:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checked().feed(text)
    assert open_tags == []
    return text


def pixels(text: str) -> np.ndarray[Any, Any]:
    image = pytest.importorskip("PIL.Image")
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return np.asarray(image.open(io.BytesIO(base64.b64decode(data))))


def test_a_handle_says_what_its_array_is(shelf: Shelf) -> None:
    handle = put(shelf, np.zeros(3), lifetime=lifetime_from("detached", "10min", 1))
    text = shown(handle)
    for said in ("<th>key</th><td>k</td>", "<td>float64</td>", "24 B", "10.0 min after its put"):
        assert said in text
    assert "<img" not in text
    assert shown(put(shelf, np.float64(1.0)[...], None)).count("no axis") == 1


def test_an_image_is_shown_as_it_is(shelf: Shelf) -> None:
    image = np.arange(20 * 30, dtype="uint16").reshape(20, 30)
    seen = pixels(shown(put(shelf, image)))
    assert seen.shape == (20, 30)
    assert (seen[0, 0], seen[-1, -1]) == (0, 255)
    assert (np.diff(seen.ravel().astype(int)) >= 0).all()


def test_an_image_in_colour_keeps_its_colours(shelf: Shelf) -> None:
    image = np.random.default_rng(1).integers(256, size=(20, 30, 3), dtype="uint8")
    assert (pixels(shown(put(shelf, image))) == image).all()
    batch = put(shelf, np.stack([image * 0, image, image * 0]))
    text = shown(batch)
    assert (pixels(text) == image).all()
    assert "[1, :, :, :]" in text


@pytest.mark.parametrize(("order", "said"), [("C", "[20, :, :]"), ("F", "[:, :, 22]")])
def test_of_a_volume_one_slice_is_shown(shelf: Shelf, order: Any, said: str) -> None:
    volume = np.asarray(np.random.default_rng(1).normal(size=(40, 42, 44)), order=order)
    text = shown(put(shelf, volume))
    assert said in text
    seen = pixels(text)
    middle = volume[20] if order == "C" else volume[:, :, 22]
    assert seen.shape == middle.shape
    assert seen.ravel()[middle.argmax()] == 255


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 50)),
        np.zeros((20, 20, 0)),
        np.zeros((11, 500)),
        np.zeros(500),
        np.array(["text"] * 400).reshape(20, 20),
        np.zeros((20, 20), "datetime64[s]"),
        np.zeros((20, 20), [("a", "f4")]),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_what_is_no_image_has_no_picture(shelf: Shelf, array: np.ndarray[Any, Any]) -> None:
    assert "<img" not in shown(put(shelf, array))


@pytest.mark.filterwarnings("error::RuntimeWarning")  # NumPy's; others may be of what an earlier test left
@pytest.mark.parametrize(
    "array",
    [
        np.full((20, 20), np.nan),
        np.full((20, 20), np.inf),
        np.array([[np.nan, np.inf, -np.inf, 1.0]] * 13).repeat(5, axis=1),
        np.array([[-1.7e308, 1.7e308]] * 13).repeat(9, axis=1),
        np.full((20, 20), 3 + 4j),
        np.full((20, 20), 1.7e308 * (1 + 1j)),
        np.full((20, 20), np.finfo(np.longdouble).max),
        np.zeros((20, 20), bool),
        np.full((20, 20), 2**63, "uint64"),
        np.ones((20, 20), "float16"),
        np.zeros((20, 20), ">i4"),
    ],
    ids=str,
)
def test_odd_numbers_make_a_picture(array: np.ndarray[Any, Any]) -> None:
    assert picture(array) is not None


def test_a_picture_has_few_bytes_however_large_the_array_is() -> None:
    for array in (
        np.random.default_rng(1).integers(256, size=(2_000, 3_000, 3), dtype="uint8"),
        np.broadcast_to(np.random.default_rng(1).normal(size=(1, 500, 500)), (10**9, 500, 500)),
        np.broadcast_to(np.random.default_rng(1).normal(size=500), (10**9, 500)),
    ):
        found = picture(array)
        assert found is not None
        assert len(found[0]) < 110_000


def test_a_png_with_an_alpha_channel_is_read_back() -> None:
    image = np.random.default_rng(1).integers(256, size=(13, 17, 4), dtype="uint8")
    assert (pixels(f'src="data:image/png;base64,{base64.b64encode(png(image)).decode()}"') == image).all()


def test_an_array_that_is_elsewhere_is_not_fetched(shelf: Shelf) -> None:
    handle = put(shelf, np.zeros((50, 50)))
    shelf.delete(handle.id)
    assert "<img" not in shown(handle)  # the session here can ask nobody


def test_no_session_is_started_for_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = put(shelf, np.zeros((50, 50)))
    monkeypatch.setattr(session, "_session", None)
    assert "<img" not in shown(handle)
    assert "not connected" in shown(Store("scans"))
    assert repr(Store("scans")) == "outlive.open('scans')"


def test_an_array_that_this_process_looks_at_is_shown_wherever_it_is(shelf: Shelf) -> None:
    handle = put(shelf, np.zeros((200, 300)))
    view = Reader(shelf).view(handle.info)
    session._session = None
    assert "<img" in shown(handle)
    assert view.shape == (200, 300)


def test_a_picture_holds_no_view(shelf: Shelf) -> None:
    handle = put(shelf, np.zeros((200, 300)))
    assert "<img" in shown(handle)
    assert live_view(handle.id) is None


def test_what_users_name_is_escaped(shelf: Shelf) -> None:
    handle = put(shelf, np.zeros(3), EVIL)
    for text in (shown(handle), shown(Store("default")), shown(StoreStats(EVIL, 1, 24, []))):
        assert "<script" not in text
        assert "&lt;script&gt;" in text
    long = put(shelf, np.zeros(3), "x" * 1024)
    assert len(shown(long)) < 2_000


def test_a_store_lists_what_this_node_has_of_it_and_no_more_than_ten(shelf: Shelf) -> None:
    put(shelf, np.zeros(3), "b")
    put(shelf, np.zeros(3), "a")
    Writer(shelf).put(np.zeros(3), store="other", key="not ours")
    text = shown(Store("default"))
    assert text.index("<td>a</td>") < text.index("<td>b</td>")
    assert "not ours" not in text
    assert "some of them" not in text
    for number in range(20):
        put(shelf, np.zeros(3), f"key/{number}")
    text = shown(Store("default"))
    assert text.count("(3,)") == 10
    assert "some of them" in text
    assert "none of it" in shown(Store("a third one"))


def test_it_never_raises(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError(EVIL)

    handle = put(shelf, np.zeros((50, 50)), EVIL)
    monkeypatch.setattr(notebook, "picture", fail)
    monkeypatch.setattr(notebook, "_arrays_here", fail)
    monkeypatch.setattr(notebook, "_table", fail)
    for value in (handle, Store(EVIL), StoreStats(EVIL, 1, 24, [])):
        assert shown(value).startswith("<pre>")


def test_figures_are_a_table() -> None:
    shelf = ShelfStats("ab" * 28, "/dev/shm/outlive-0/session/node", 1_234, 3 << 20, 1 << 30, 17, None)
    lines = repr(StoreStats("scans", 12, 1 << 20, [shelf, shelf._replace(spilled=5)])).splitlines()
    assert lines[0] == "StoreStats: store 'scans', 12 arrays, 1.0 MiB"
    assert lines[1].split() == ["NODE", "ARRAYS", "USED", "BUDGET", "SPILLED", "ON", "DISK", "ROOT"]
    assert lines[2].split() == ["abababab", "1,234", "3.0", "MiB", "1.0", "GiB", "0", "0", "B", "/dev/shm/outlive-0"]
    assert max(map(len, lines)) < 80
    assert str(StoreStats("s", 0, 0, [])) == "StoreStats: store 's', 0 arrays, 0 B"
    assert "<td>1,234</td>" in shown(StoreStats("scans", 12, 1 << 20, [shelf]))
