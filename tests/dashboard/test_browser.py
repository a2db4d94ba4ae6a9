"""The page in a real browser: each view, each action, errors and how it recovers, the keyboard, three widths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboard import browser
from tests.dashboard.browser import FAINT, Page
from tests.dashboard.played import HOSTILE, Played
from tests.dashboard.serving import Served, served

pytestmark = pytest.mark.skipif(not browser.NAME, reason="there is no chromium: apt-get install chromium")
VIEWS = {
    "workers": ".workers .row",
    "arrays": ".arrays .row",
    "nodes": ".nodes .row",
    "doctor": ".finding",
    "history": ".plot path",
}
TITLE = "document.getElementById('dialog-title')?.innerText"
OPENS = "document.getElementById('dialog').open"
FOCUSED = "document.activeElement.innerText"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser.browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def one() -> Iterator[Served]:
    with served() as found:
        yield found


@pytest.fixture
def page(one: Served, tab: Page) -> Iterator[Page]:
    """The page, opened with its token. It may load nothing from elsewhere, and its scripts may not fail."""
    tab.said.clear()
    tab.asked.clear()
    tab.size(1400)
    tab.open(one.opened)
    tab.until("document.querySelectorAll('.workers .row').length > 5")
    yield tab
    assert [word for word in tab.said if "Failed to load resource" not in word] == []
    assert [url for url in tab.asked if not url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:"))] == []
    tab.open("about:blank")


def show(page: Page, view: str) -> None:
    page.eval(f"location.hash = '#{view}'")
    page.until(f"!!document.querySelector({VIEWS[view]!r})")


def test_the_address_loses_its_token(page: Page, one: Served) -> None:
    assert one.token not in str(page.eval("location.href"))
    assert page.eval("document.cookie") == ""  # no script may read it


_ALARMED = """addEventListener('DOMContentLoaded', () => {
  const problem = document.getElementById('problem');
  new MutationObserver(() => { window.alarmed ||= !problem.hidden; }).observe(problem, { attributes: true });
})"""


def test_no_alarm_while_the_page_connects(tab: Page, one: Served) -> None:
    watch = tab("Page.addScriptToEvaluateOnNewDocument", source=_ALARMED)["identifier"]
    tab.open(one.opened)
    tab.until("document.getElementById('live').innerText.startsWith('live, seen')")
    tab("Page.removeScriptToEvaluateOnNewDocument", identifier=watch)
    assert not tab.eval("window.alarmed")


def test_a_wrong_token_and_the_form(tab: Page, one: Served) -> None:
    tab.open(f"{one.url}?token=wrong")
    tab.until("document.querySelector('[role=alert]')?.innerText.includes('not the token')")
    tab.eval("document.getElementById('token').focus()")
    tab.type(one.token)
    tab.press("Enter")
    tab.until("document.querySelectorAll('.workers .row').length > 5")


@pytest.mark.parametrize("width", [400, 900, 1400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_each_view_at_each_width(page: Page, width: int, dark: bool) -> None:
    page.size(width, dark=dark)
    for view in VIEWS:
        show(page, view)
        assert page.eval("document.documentElement.scrollWidth <= innerWidth"), (view, "is wider than the window")
        rows = page.eval("[...document.querySelectorAll('.row')].map(one => [one.scrollHeight, one.clientHeight])")
        assert all(needed <= has + 1 for needed, has in rows), (view, "has rows with more text than room")
        assert page.eval(FAINT) == [], view


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_each_dialog_on_a_narrow_screen(page: Page, one: Served, dark: bool) -> None:
    page.size(400, 700, dark=dark)

    def fits(title: str) -> None:
        page.until(f"{TITLE} && {TITLE}.includes({title!r})")
        assert page.eval(FAINT) == [], title
        assert page.eval("(one => one.scrollWidth <= one.clientWidth)(document.getElementById('dialog'))"), title
        assert page.eval(_BUTTONS_SEEN), (title, "has buttons that are out of sight")

    row = max((row for row in one.source._workers if row["retirable"]), key=lambda row: row["unique"])
    page.click(str(row["pid"]), ".workers")
    fits(f"Worker {row['pid']}")
    page.press("Escape")
    page.click("Let idle workers go")
    fits("Let idle workers go")
    page.click("Show which", "#dialog")
    fits("would leave")
    page.press("Escape")
    show(page, "nodes")
    page.click("node-03", ".nodes")
    fits("Node ")
    page.click("Drain", "#dialog")
    fits("Drain ")
    page.press("Escape")
    show(page, "arrays")
    page.click("ct/", ".arrays")
    page.until("document.querySelector('#dialog img')?.naturalWidth > 0")
    fits("ct/")


_BUTTONS_SEEN = """[...document.querySelectorAll('#dialog .buttons button')].every((one) => {
  const [button, dialog] = [one.getBoundingClientRect(), document.getElementById('dialog').getBoundingClientRect()];
  return button.bottom <= Math.min(dialog.bottom, innerHeight) && button.top >= 0;
})"""


@pytest.mark.parametrize("width", [400, 900, 1400])
def test_ten_thousand_arrays_are_few_elements(page: Page, width: int) -> None:
    page.size(width)
    show(page, "arrays")
    assert page.eval("document.querySelector('.arrays [role=table]').getAttribute('aria-rowcount')") == "10001"
    page.eval("document.querySelector('.scroll').scrollTop = 1e9")
    page.until("[...document.querySelectorAll('.row')].some(one => one.innerText.includes('study-0499/series-19'))")
    assert page.eval("document.querySelectorAll('.row').length") < 60
    page.eval("document.querySelector('.scroll').scrollTop = 200000")
    page.until("[...document.querySelectorAll('.row')].every(one => one.innerText.length > 20)")
    assert page.eval("document.querySelectorAll('.row').length") < 60


def test_by_prefix_and_sorted(page: Page) -> None:
    show(page, "arrays")
    page.eval("document.querySelector('input[type=search]').focus()")
    page.type("ct/study-0012/")
    page.until("document.querySelector('.foot').innerText === '20 of 10,000'")
    page.click("Size", ".head")
    page.until("document.querySelector('[aria-sort=descending]')?.innerText.startsWith('Size')")
    page.click("Size", ".head")
    page.until("document.querySelector('[aria-sort=ascending]')?.innerText.startsWith('Size')")


def test_hostile_keys_are_text(page: Page) -> None:
    show(page, "arrays")
    page.until(f"document.querySelector('.arrays').innerText.includes({HOSTILE[0]!r})")
    assert page.eval("document.querySelectorAll('main script, main img').length") == 0
    page.click(HOSTILE[0], ".arrays")
    page.until(f"{TITLE} === {HOSTILE[0]!r} && document.querySelector('#dialog img')?.naturalWidth > 0")
    assert "Refused" not in str(page.said)


def test_html_cannot_be_made_of_text(page: Page) -> None:
    """If a script ever tried: trusted types stop it."""
    tried = (
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch (error) { return error.name } })()"
    )
    assert page.eval(tried) == "TypeError"
    page.said.clear()


def test_a_volume_has_slices(page: Page) -> None:
    show(page, "arrays")
    page.eval("document.querySelector('input[type=search]').focus()")
    page.type("ct/")
    page.until("document.querySelector('.foot').innerText.includes(' of ')")
    find = "[...document.querySelectorAll('.row')].find(one => one.innerText.includes('512×512×300'))"
    page.until(f"{find}?.querySelector('button').click() || {OPENS}")
    page.until("document.querySelector('#dialog .picture p')?.innerText === '[256, ...]'")
    slider = "document.querySelector('#dialog input[type=range]')"
    page.eval(f"{slider}.value = 7; {slider}.dispatchEvent(new Event('input'))")
    page.until("document.querySelector('#dialog .picture p').innerText === '[7, ...]'")


def test_trim(page: Page, one: Served) -> None:
    before = len(one.source._workers)
    page.click("Let idle workers go")
    page.until(f"{TITLE} === 'Let idle workers go'")
    page.click("Show which", "#dialog")
    page.until(f"{TITLE}.endsWith('would leave')")
    assert len(one.source._workers) == before
    page.click("Let ", "#dialog")
    page.until(f"{TITLE}.endsWith('left')")
    page.click("Close", "#dialog")
    left = len(one.source._workers)
    assert left < before
    page.until(f"document.querySelector('.facts dd').innerText === '{left}'")


def test_one_worker(page: Page, one: Served) -> None:
    row = max((row for row in one.source._workers if row["retirable"]), key=lambda row: row["unique"])
    page.click(str(row["pid"]), ".workers")
    page.click("Let it go", "#dialog")
    page.until(f"{TITLE} === '1 worker would leave'")
    page.click("Let 1 worker go", "#dialog")
    page.until(f"{TITLE} === '1 worker has left'")
    assert row["id"] not in {other["id"] for other in one.source._workers}


def test_wrong_bounds_are_told(page: Page) -> None:
    page.click("Let idle workers go")
    page.until(OPENS)
    page.eval("document.querySelector('[name=min_idle]').value = 5")
    page.click("Show which", "#dialog")
    page.until("document.querySelector('#dialog .problem')?.innerText.includes('is more than')")
    page.eval("document.querySelector('[name=min_idle]').value = 0")
    page.eval("document.querySelector('[name=max_memory]').value = 'much'")
    page.click("Show which", "#dialog")
    page.until("document.querySelector('#dialog .problem')?.innerText.includes('is no size: much')")
    assert page.eval("document.querySelectorAll('#dialog .problem').length") == 1
    page.press("Escape")
    page.until(f"!{OPENS}")


def test_drain(page: Page, one: Served) -> None:
    one.source.go_on.clear()
    show(page, "nodes")
    page.click("node-03", ".nodes")
    page.click("Drain", "#dialog")
    page.until(f"{TITLE}.startsWith('Drain ')")
    assert "Why it cannot go" in page.text()
    page.click("Drain it", "#dialog")
    page.until(f"{TITLE} === 'Draining has begun'")
    page.press("Escape")
    page.until(
        "!!document.querySelector('progress') && document.querySelector('main').innerText.includes('25 % of 4.0 GiB')"
    )
    one.source.go_on.set()
    page.until("document.querySelector('main').innerText.includes('copied to other nodes')")


def test_actions_that_fail_say_so(page: Page, one: Served) -> None:
    before = len(one.source._workers)
    page.click("Let idle workers go")
    page.click("Show which", "#dialog")
    page.until(f"{TITLE}.endsWith('would leave')")
    one.source.error = "the GCS went away"
    page.click("Let ", "#dialog")
    page.until("document.querySelector('#dialog .problem')?.innerText.includes('the GCS went away')")
    one.source.error = None
    assert len(one.source._workers) == before
    page.press("Escape")
    show(page, "nodes")
    one.source.go_on.clear()
    page.click("node-03", ".nodes")
    page.click("Drain", "#dialog")
    page.click("Drain it", "#dialog")
    page.until(f"{TITLE} === 'Draining has begun'")
    page.press("Escape")
    page.until("!!document.querySelector('progress')")
    one.source.error = "the GCS went away"
    one.source.go_on.set()
    page.until("/Draining .* failed: the GCS went away/.test(document.querySelector('main').innerText)")
    one.source.error = None
    page.until("document.getElementById('problem').hidden")


def test_no_worker_may_go(tab: Page) -> None:
    source = Played(20, 0, 2)
    source._workers = [row for row in source._workers if not row["retirable"]]
    with served(source) as one:
        tab.open(one.opened)
        tab.until("document.querySelectorAll('.workers .row').length > 5")
        tab.click("Let idle workers go")
        tab.click("Show which", "#dialog")
        tab.until(f"{TITLE} === 'No worker would leave'")
        assert tab.eval("document.querySelectorAll('#dialog button').length") == 1  # Close


def test_a_silent_node_and_what_was_not_checked(page: Page) -> None:
    show(page, "nodes")
    page.until("document.querySelector('main').innerText.includes('its keeper does not answer')")
    show(page, "doctor")
    page.until("document.querySelector('main').innerText.includes('not checked: shelves')")
    fix = page.eval("document.querySelector('.finding .fix').innerText")
    assert fix == "store the arrays with outlive:\n    outlive.open().put(volume)"
    page.click("6 more", ".finding")
    page.click("Look again")
    page.until("!!document.querySelector('details[open]')")  # what was opened stays so


def test_a_lost_cluster_and_its_return(page: Page, one: Served) -> None:
    one.source.error = "the GCS does not answer <b>"
    page.until("document.getElementById('problem').innerText.includes('the GCS does not answer <b>')")
    assert "What is shown was seen at" in page.text()
    assert page.eval("document.querySelectorAll('.row').length") > 5
    for view in ("nodes", "arrays"):
        page.eval(f"location.hash = '#{view}'")
        page.until("!document.getElementById('problem').hidden")
    one.source.error = None
    page.until("document.getElementById('problem').hidden && document.querySelectorAll('.arrays .row').length > 5")


def test_a_cluster_that_was_never_seen_has_no_figures(tab: Page) -> None:
    source = Played(20, 20, 2)
    source.error = "the GCS does not answer"
    with served(source) as one:
        tab.open(one.opened)
        for view in ("workers", "arrays", "nodes"):
            tab.eval(f"location.hash = '#{view}'") if view != "workers" else None
            tab.until(f"document.querySelector('.{view} .foot')?.innerText === 'Nothing has been seen yet.'")
            assert "Nothing has been seen yet" in tab.eval("document.getElementById('problem').innerText")
            assert tab.eval("document.querySelectorAll('.facts, .count:not(:empty)').length") == 0, view
        source.error = None
        tab.until("document.querySelectorAll('.nodes .row').length === 2")


def test_an_empty_cluster(tab: Page) -> None:
    with served(Played(0, 0, 0, hostile=False)) as one:
        tab.open(one.opened)
        for view, words in (("workers", "no worker process"), ("arrays", "no array with a key"), ("nodes", "No node")):
            tab.eval(f"location.hash = '#{view}'") if view != "workers" else None
            tab.until(f"document.querySelector('.{view} .foot')?.innerText.includes({words!r})")
            assert tab.eval("document.querySelector('.scroll').clientHeight") == 0, (view, "has room for no rows")


def test_a_server_that_ends_and_another_at_its_port(tab: Page) -> None:
    with served(Played(20, 20, 2)) as first:
        tab.open(first.opened)
        tab.until("document.querySelectorAll('.row').length > 5")
        port = int(first.url.rsplit(":", 1)[1].strip("/"))
    tab.until("document.getElementById('problem').innerText.includes('may have ended')")
    with served(Played(20, 20, 2), port=port):
        tab.until("document.getElementById('problem').innerText.includes('session has ended')")


def test_read_only(tab: Page) -> None:
    with served(Played(20, 20, 2), read_only=True) as one:
        tab.open(one.opened)
        tab.until("document.querySelectorAll('.row').length > 5")
        shown = "[...document.querySelectorAll('main button')].filter(one => one.checkVisibility())"
        assert tab.eval(f"{shown}.filter(one => /go/.test(one.innerText)).length") == 0
        assert "read-only" in tab.text()
        show(tab, "nodes")
        tab.click("node-01", ".nodes")
        tab.until(OPENS)
        assert "Drain" not in tab.eval("document.getElementById('dialog').innerText")


def test_by_the_keyboard_alone(page: Page) -> None:
    page.press("Tab")
    assert page.eval(FOCUSED) == "Skip to the view"
    for _ in range(2):
        page.press("Tab")
    assert page.eval(FOCUSED).startswith("Arrays")
    page.press("Enter")
    page.until("document.querySelectorAll('.arrays .row').length > 5")
    page.eval("document.querySelector('.row button').focus()")
    first = page.eval(FOCUSED)
    for _ in range(30):
        page.press("ArrowDown")
    page.until(f"{FOCUSED} && {FOCUSED} !== {first!r} && document.querySelector('.scroll').scrollTop > 0")
    at = page.eval(FOCUSED)
    page.press("Enter")
    page.until(f"{OPENS} && {TITLE} === {at!r}")
    page.press("Escape")
    page.until(f"!{OPENS}")
    assert page.eval(FOCUSED) == at  # the focus is back where it was


@pytest.mark.parametrize("width", [400, 900, 1400])
def test_the_ring_of_the_focus_is_whole(page: Page, width: int) -> None:
    page.size(width)
    for view in ("workers", "arrays", "nodes"):
        show(page, view)
        page.eval("document.querySelectorAll('.row button')[1].focus()")
        page.press("ArrowDown")
        page.until("document.activeElement.matches('.row button:focus-visible')")
        assert page.eval(_RING_CUT) == [], view


_RING_CUT = """(() => {
  const style = getComputedStyle(document.activeElement);
  const [width, offset] = [parseFloat(style.outlineWidth), parseFloat(style.outlineOffset)];
  const ring = document.activeElement.getBoundingClientRect();
  const cell = document.activeElement.parentElement.getBoundingClientRect(); // it cuts what is beyond it
  const by = width + offset - 0.5;
  const cut = { left: ring.left - by < cell.left, top: ring.top - by < cell.top,
    right: ring.right + by > cell.right, bottom: ring.bottom + by > cell.bottom };
  return width >= 2 ? Object.keys(cut).filter((side) => cut[side]) : ["there is no ring"];
})()"""


def focus(page: Page, name: str) -> None:
    """Press Tab until what has the focus begins so."""
    for _ in range(30):
        if page.eval("document.activeElement.matches('button, a')") and page.eval(FOCUSED).startswith(name):
            return
        page.press("Tab")
    raise AssertionError(f"Tab leads to no {name!r}, but to {page.eval(FOCUSED)!r}")


def test_workers_go_by_the_keyboard_alone(page: Page, one: Served) -> None:
    before = len(one.source._workers)
    focus(page, "Let idle workers go")
    page.press("Enter")
    page.until(f"{OPENS} && document.activeElement.name === 'max_idle'")
    page.press("Enter")
    page.until(f"{TITLE}.endsWith('would leave')")
    focus(page, "Let ")
    page.press("Enter")
    page.until(f"{TITLE}.endsWith('have left')")
    focus(page, "Close")
    page.press("Enter")
    page.until(f"!{OPENS}")
    assert len(one.source._workers) < before
    assert page.eval(FOCUSED).startswith("Let idle workers go")


def test_a_node_is_drained_by_the_keyboard_alone(page: Page, one: Served) -> None:
    show(page, "nodes")
    focus(page, "node-01")
    page.press("Enter")
    page.until(f"{TITLE}?.startsWith('Node ')")
    focus(page, "Drain ...")
    page.press("Enter")
    page.until(f"{TITLE}.startsWith('Drain ')")
    focus(page, "Drain it")
    page.press("Enter")
    page.until(f"{TITLE} === 'Draining has begun'")
    page.press("Escape")
    page.until("document.querySelector('main').innerText.includes('copied to other nodes')")
    assert ("drain", (one.source._nodes[1]["id"],)) in one.source.calls


def test_a_slice_and_a_sort_by_the_keyboard_alone(page: Page) -> None:
    show(page, "arrays")
    focus(page, "Size")
    page.press("Enter")
    page.until("document.querySelector('[aria-sort=descending]')?.innerText.startsWith('Size')")
    page.until("document.querySelector('.row').innerText.includes('150.0 MiB')")
    focus(page, "ct/")
    page.press("Enter")
    page.until("document.querySelector('#dialog .picture p')?.innerText === '[256, ...]'")
    for _ in range(5):
        if page.eval("document.activeElement.type === 'range'"):
            break
        page.press("Tab")
    page.press("ArrowDown")
    page.until("document.querySelector('#dialog .picture p').innerText === '[255, ...]'")


_NAMELESS = """
[...document.querySelectorAll('button, a, input, select, [role=table], dialog[open]')].filter((one) => {
  const named = one.innerText || one.labels?.length || one.matches("[aria-label], [aria-labelledby]");
  return one.checkVisibility() && !named;
}).map((one) => one.outerHTML)
"""


def test_everything_has_a_name_and_a_role(page: Page) -> None:
    for view in VIEWS:
        show(page, view)
        nameless = page.eval(_NAMELESS)
        assert nameless == [], view
        assert page.eval("document.querySelectorAll('nav [aria-current=page]').length") == 1
