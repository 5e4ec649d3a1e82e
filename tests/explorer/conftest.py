import shutil
import time
import urllib.request

import pytest

from penchant.explorer import State, compute, serve


@pytest.fixture(scope="session")
def server():
    """A server in this process, so that what the tests compiled serves it too."""
    pytest.importorskip("panel")
    compute(State(steps=300))
    running = serve(State(steps=300), wait=False)
    for _ in range(400):
        try:
            urllib.request.urlopen(running.address + "favicon.ico", timeout=5).close()
            break
        except OSError:
            time.sleep(0.05)
    yield running
    running.stop()


@pytest.fixture(scope="session")
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
