"""The page in a real Chromium: what one does, and what it then shows."""

import contextlib
import time

import pytest

from penchant.explorer import PRESETS, Features, State, compute
from penchant.explorer._serve import PAGES

pytestmark = pytest.mark.browser

POINTS = State().points
QUICK = "steps=300"

# where a point of the first plot is on the screen
PLACE = """
(at) => {
  const found = [];
  const walk = (view) => {
    if (view.frame && view.canvas_view) found.push(view);
    for (const child of view.children()) walk(child);
  };
  for (const root of Bokeh.index.roots) walk(root);
  const box = found[0].canvas_view.el.getBoundingClientRect();
  const { x_scale, y_scale } = found[0].frame;
  return [box.x + x_scale.compute(at[0]), box.y + y_scale.compute(at[1])];
}
"""


@contextlib.contextmanager
def opened(browser, server, query=QUICK, **options):
    """A page, which must complain about nothing and ask nobody else."""
    complaints = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(180_000)
    own = server.address, server.address.replace("http", "ws")
    page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on(
        "request",
        lambda r: (
            r.url.startswith((*own, "data:", "blob:")) or complaints.append(r.url)
        ),
    )
    page.goto(f"{server.address}?{query}")
    page.get_by_text("computed in").wait_for()
    yield page
    context.close()
    assert complaints == []


def cells(page, row):
    return page.locator(f'tr[data-row="{row}"] td').all_inner_texts()


def shown_state(page):
    return State.from_query(page.url.partition("?")[2])


def said(state):
    """By norm, margin and weights as the page has to write them, by the library."""
    shown = compute(state)
    assert isinstance(shown, Features)
    text = lambda v: f"{round(float(v), 4) + 0.0:.4f}".replace("-", "−")
    return {
        label: [", ".join(map(text, one.weights)), f"{float(one.margin):.4f}"]
        for label, one in shown.best.items()
    }


def settle(page, of=lambda state: True):
    """Wait until the page says what the library says of the state in its address."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        state = shown_state(page)
        rows = {label: cells(page, label)[:2] for label in ("ℓ1", "ℓ2", "ℓ∞")}
        if of(state) and rows == said(state):
            return state
        page.wait_for_timeout(100)
    raise AssertionError((page.url, rows, said(state)))


def turned_to(page, state):
    """Wait until the address, which follows the pictures, says this state."""
    page.wait_for_function("!location.search.includes('preset=')")
    end = time.monotonic() + 120
    while shown_state(page) != state and time.monotonic() < end:
        page.wait_for_timeout(100)
    assert shown_state(page) == state


def near(point, place):
    return all(abs(a - b) < 0.05 for a, b in zip(point, place, strict=False))


def drag(page, start, end, release=True):
    page.mouse.move(*page.evaluate(PLACE, start))
    page.mouse.down()
    page.mouse.move(*page.evaluate(PLACE, end), steps=12)
    if release:
        page.mouse.up()


@pytest.mark.slow
def test_a_point_is_dragged_and_the_numbers_are_the_librarys(browser, server):
    with opened(browser, server) as page:
        before = cells(page, "ℓ2")
        drag(page, POINTS[2][:2], [1.2, 0.4], release=False)
        # they move along, before the point is let go
        end = time.monotonic() + 120
        while cells(page, "ℓ2") == before and time.monotonic() < end:
            page.wait_for_timeout(50)
        assert cells(page, "ℓ2") != before
        page.mouse.up()
        # places on the way are shown too; the last one must not be lost
        state = settle(page, lambda s: near(s.points[2], (1.2, 0.4)))
        assert state.points[2][2] == 1
        assert state.points[:2] + state.points[3:] == POINTS[:2] + POINTS[3:]


@pytest.mark.slow
def test_points_are_added_relabelled_and_removed(browser, server):
    with opened(browser, server) as page:
        page.mouse.click(*page.evaluate(PLACE, [2.0, 2.6]))
        state = settle(page, lambda s: len(s.points) == 9)
        assert state.points[-1][2] == 1
        page.get_by_role("button", name="add a point").click()
        settle(page, lambda s: len(s.points) == 10)
        page.get_by_role("button", name="remove it").click()
        state = settle(page, lambda s: len(s.points) == 9)
        page.get_by_role("button", name="other class").click()
        *rest, (x, y, label) = state.points
        turned_to(page, state.but(points=(*rest, (x, y, -label))))


@pytest.mark.slow
def test_by_keyboard_alone(browser, server):
    with opened(browser, server) as page:
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate(
                    """() => { let e = document.activeElement;
                    while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
                    return e.getAttribute('aria-label') || e.textContent.trim()
                      || e.className || e.tagName; }"""
                )
            )
        text = " ".join(map(str, reached))
        for name in ("Two features", "other class", "figure, SVG", "add a point"):
            assert name in text
        field = page.get_by_label("x", exact=True)
        field.focus()
        field.fill("2.1")
        field.press("Enter")
        state = settle(page, lambda s: s.points[0][0] == 2.1)
        assert state.points[1:] == POINTS[1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_opens(browser, server, name):
    with opened(browser, server, f"preset={name}") as page:
        preset = PRESETS[name]
        assert page.get_by_role("heading", name=preset.title).is_visible()
        turned_to(page, preset.state)
        page.get_by_role("button", name=f"and with {preset.that}?").click()
        turned_to(page, preset.other)
        assert page.get_by_role("button", name=f"and with {preset.this}?").is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("query", [QUICK, "preset=batch-size-one", "preset=kink"])
def test_fits_a_phone(browser, server, query):
    with opened(browser, server, query, viewport={"width": 390, "height": 844}) as page:
        wide, inner = page.evaluate(
            "[document.documentElement.scrollWidth, window.innerWidth]"
        )
        assert wide <= inner


@pytest.mark.slow
def test_text_stands_out_from_its_background(browser, server):
    with opened(browser, server, "preset=overlap") as page:
        hosts = page.locator("h1, h2, p, td, th, label, button, summary, option")
        ratios = [
            page.evaluate(ONE, handle)
            for handle in hosts.element_handles()
            if handle.is_visible()
        ]
        assert len(ratios) > 20
        assert min(ratios) >= 4.5


# contrast of one element's text: the page's parts lie in shadow roots
ONE = """
(e) => {
  const parse = (text) => {
    const c = text.match(/[\\d.]+/g).map(Number);
    return c.length > 3 ? c : [...c, 1];
  };
  const light = ([r, g, b]) => {
    const linear = (v) => { v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const ink = parse(getComputedStyle(e).color);
  let back = [255, 255, 255, 1];
  for (let at = e; at; at = at.parentElement ?? at.getRootNode().host) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour[3] === 1) { back = colour; break; }
  }
  const pair = [light(ink), light(back)].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}
"""


@pytest.mark.slow
def test_two_browsers_do_not_disturb_each_other(browser, server):
    with opened(browser, server) as one, opened(browser, server) as other:
        before = [cells(other, label) for label in ("ℓ1", "ℓ2", "ℓ∞", "run")]
        drag(one, POINTS[2][:2], [1.2, 0.4])
        settle(one, lambda s: near(s.points[2], (1.2, 0.4)))
        other.wait_for_timeout(300)
        assert [cells(other, label) for label in ("ℓ1", "ℓ2", "ℓ∞", "run")] == before
        assert shown_state(other).points == POINTS


@pytest.mark.slow
def test_junk_in_the_address_gets_a_sentence(browser, server):
    query = "b1=%3Cscript%3Ealert(1)%3C/script%3E"
    with opened(browser, server, query) as page:
        alert = page.get_by_role("alert").inner_text()
        assert "b1 must be a number from 0 to 0.9999" in alert
        assert "<script>" in alert  # as text
        assert cells(page, "ℓ2")


@pytest.mark.slow
def test_one_page_too_many_is_told(browser, server):
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(contextlib.closing(browser.new_context()))
        pages = [context.new_page() for _ in range(PAGES + 1)]
        for page in pages:
            page.goto(f"{server.address}?{QUICK}")
        told = pages[-1].get_by_text("pages are open, which is all")
        told.wait_for(timeout=60_000)
    # once they are closed there is room again, as the sentence says
    again = browser.new_page()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        again.goto(f"{server.address}?{QUICK}")
        either = again.get_by_text("computed in").or_(
            again.get_by_text("pages are open, which is all")
        )
        either.wait_for(timeout=60_000)
        if again.get_by_text("computed in").is_visible():
            break
        again.wait_for_timeout(3000)
    assert again.get_by_text("computed in").is_visible()
    again.close()


@pytest.mark.slow
def test_figures_and_python_are_saved(browser, server):
    with opened(browser, server) as page:
        for label, head in (
            ("figure, SVG", b"<?xml"),
            ("figure, PNG", b"\x89PNG"),
            ("the Python", b"import numpy"),
        ):
            with page.expect_download() as download:
                page.get_by_text(label, exact=True).click()
            with open(download.value.path(), "rb") as file:
                assert file.read().startswith(head)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_figure_has_its_size(browser, server, name):
    # a figure of a fixed size once collapsed to the size of its axes' numbers
    with opened(browser, server, f"preset={name}") as page:
        page.wait_for_function(f"({SIZES})().length > 0")
        sizes = page.evaluate(SIZES)
        assert all(wide > 40 and high > 30 for wide, high in sizes), sizes


SIZES = """
() => {
  const found = [];
  const walk = (view) => {
    if (view.frame && view.canvas_view)
      found.push([view.frame.bbox.width, view.frame.bbox.height]);
    for (const child of view.children()) walk(child);
  };
  for (const root of Bokeh.index.roots) walk(root);
  return found;
}
"""
