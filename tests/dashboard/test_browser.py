"""The page in a real browser: each view, each action, errors and how it recovers, the keyboard, three widths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dashboard import browser
from tests.dashboard.browser import Page
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
        assert page.eval(_CONTRAST) == [], view


_CONTRAST = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (one) => (one / 255 <= 0.03928 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
  const light = (color) => color.slice(0, 3).map(linear)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (one) => { for (; one; one = one.parentElement) { const c = rgb(getComputedStyle(one).backgroundColor);
    if (c.length === 3 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && !one.disabled
      && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim())
      && !(one instanceof SVGElement) && !['OPTION', 'NOSCRIPT', 'TITLE'].includes(one.tagName)).filter((one) => {
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
  }).slice(0, 5).map((one) => one.className + ': ' + one.innerText);
})()"""


def test_ten_thousand_arrays_are_few_elements(page: Page) -> None:
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
    page.until(f"{TITLE} === '1 worker left'")
    assert row["id"] not in {other["id"] for other in one.source._workers}


def test_wrong_bounds_are_told(page: Page) -> None:
    page.click("Let idle workers go")
    page.until(OPENS)
    page.eval("document.querySelector('[name=min_idle]').value = 5")
    page.click("Show which", "#dialog")
    page.until("document.querySelector('#dialog .problem')?.innerText.includes('below min_idle')")
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


def test_a_silent_node_and_what_was_not_checked(page: Page) -> None:
    show(page, "nodes")
    page.until("document.querySelector('main').innerText.includes('its keeper does not answer')")
    show(page, "doctor")
    page.until("document.querySelector('main').innerText.includes('not checked: shelves')")
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
