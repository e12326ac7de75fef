"""A real browser for tests of pages: Chromium without a window, driven by Selenium; without one such tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("chromium", "chromedriver")
WORDS = ("--headless=new", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking")
PATIENCE = 120.0  # seconds, on a machine that has much else to do


@contextmanager
def chromium(downloads: Path | None = None, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """A browser of its own, with an empty profile; what it downloads goes into a folder."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"no {' and no '.join(missing)} on this machine (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in (*WORDS, f"--window-size={width},{height}"):
        options.add_argument(word)
    options.add_argument("--no-sandbox")  # which root cannot have, nor most containers
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.set_page_load_timeout(PATIENCE)
        browser.set_script_timeout(PATIENCE)
        yield browser
    finally:
        browser.quit()


def until(browser: Any, script: str, *values: Any) -> Any:
    """Wait until a script gives something true, and return that."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, PATIENCE, poll_frequency=0.1).until(lambda b: b.execute_script(script, *values))


def complaints(browser: Any) -> list[str]:
    """What the page's scripts and its rules have put on the browser's console since the last time."""
    return [entry["message"] for entry in browser.get_log("browser")]
