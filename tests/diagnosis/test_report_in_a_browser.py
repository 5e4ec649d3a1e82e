import contextlib
import shutil

import pytest

from tests.diagnosis.cases import overlapping, past_eps, separable, several

pytestmark = pytest.mark.browser

pages = pytest.mark.parametrize("made", [separable, past_eps, several, overlapping])

# the least contrast of any text with the first opaque background behind it
CONTRAST = """
(selector) => {
  const parse = (text) => {
    const c = text.match(/[\\d.]+/g).map(Number);
    return c.length > 3 ? c : [...c, 1];
  };
  const light = ([r, g, b]) => {
    const linear = (v) => { v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const seen = [...document.querySelectorAll(selector)].filter(
    (e) => e.getClientRects().length && e.textContent.trim());
  return seen.map((e) => {
    const style = getComputedStyle(e);
    const ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const pair = [light(ink), light(behind(e))].sort((a, b) => b - a);
    return [(pair[0] + 0.05) / (pair[1] + 0.05), e.textContent.trim().slice(0, 40)];
  });
}
"""


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, path, **options):
    """A page, which must complain about nothing."""
    complaints = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("console", lambda m: complaints.append(m.text))
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("requestfailed", lambda r: complaints.append(r.url))
    page.on(
        "request",
        lambda r: r.url.startswith(("file:", "data:")) or complaints.append(r.url),
    )
    page.goto(path.as_uri())
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("width", [360, 1200])
@pages
def test_fits_the_screen(browser, saved, made, width):
    size = {"width": width, "height": 800}
    with opened(browser, saved[made], viewport=size) as page:
        verdict = page.locator("h1#verdict")
        assert verdict.is_visible()
        assert verdict.inner_text() == made().headline
        assert page.title() == made().headline
        box = verdict.bounding_box()
        assert box["y"] + box["height"] < 800  # seen without scrolling
        wide, inner = page.evaluate(
            "[document.documentElement.scrollWidth, window.innerWidth]"
        )
        assert wide <= inner
        # of each figure one of the two is shown, in letters that can be read
        for figure in page.locator("figure").all():
            shown = [svg for svg in figure.locator("svg").all() if svg.is_visible()]
            assert len(shown) == 1
            letters = [
                t.bounding_box()["height"] for t in shown[0].locator("text").all()
            ]
            assert min(letters) > 8.0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("made", [past_eps, several, overlapping])
def test_text_stands_out_from_its_background(browser, saved, made, scheme):
    with opened(browser, saved[made], color_scheme=scheme) as page:
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
        for selector in ("h1", "h2", "p", "td, th", "li", "figcaption", "svg text"):
            found = page.evaluate(CONTRAST, selector)
            if selector in ("h1", "p", "svg text"):
                assert found
            for ratio, text in found:
                assert ratio >= 4.5, (selector, text)


def test_the_page_needs_no_script(browser, saved):
    with opened(browser, saved[separable], java_script_enabled=False) as page:
        assert page.locator("h1#verdict").is_visible()
        assert page.locator("figure#ratios .wide svg").is_visible()
