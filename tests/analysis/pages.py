"""A real browser on the page of a study, where there is one."""

import contextlib
import shutil

import pytest

from imer_ray.analysis import report
from imer_ray.results.study import load

BINARIES = ("chromium", "chromium-browser", "google-chrome")
WAIT_S = 60  # for what takes a moment on an idle machine
PLACE = """
const [x, y] = marks.at.get(arguments[0]), { xaxis, yaxis } = marks.place._fullLayout;
marks.place.scrollIntoView({ block: "center" });
const box = marks.place.getBoundingClientRect();
return [Math.round(box.left + xaxis._offset + xaxis.d2p(x)), Math.round(box.top + yaxis._offset + yaxis.d2p(y))];
"""


@contextlib.contextmanager
def browser(downloads=None, width=1280, height=1000, touch=False):
    """A headless Chromium with a window of this size; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")
    binary, driver = next(filter(None, map(shutil.which, BINARIES)), None), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    if touch:
        metrics = {"width": width, "height": height, "pixelRatio": 2.0, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


def draw(folder):
    """The page of a run, without the figures that a report has beside it, as the address of a file."""
    study = load(folder)
    page = folder / "page.html"
    page.write_text(report.page(study, study.varying[: report.MAX_AXES], {}), encoding="utf-8", errors="replace")
    return page.as_uri()


def until(opened, script, *arguments):
    """What a script returns, once that is true."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(opened, WAIT_S, poll_frequency=0.05).until(lambda b: b.execute_script(script, *arguments))


def at(opened, id):
    """Where in the window the mark of a point is, scrolled to."""
    return opened.execute_script(PLACE, id)


def complaints(opened):
    """What the browser itself has logged since it was last asked."""
    return [entry["message"] for entry in opened.get_log("browser")]
