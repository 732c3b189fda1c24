"""A browser for tests of pages: headless Chromium by its driver, and what is asked of a page."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import time

import pytest


@contextlib.contextmanager
def chromium(profile):
    """A window; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    off = ("gpu", "quic", "background-networking", "component-update", "sync")
    for flag in ("headless", "no-sandbox", "no-first-run", *(f"disable-{what}" for what in off)):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield window
    finally:
        window.quit()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # the page is being drawn
            if value := condition():
                return value
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {condition}")


def keep(browser, name):
    """For a person: JFSR_SCREENSHOTS=FOLDER keeps what the browser shows."""
    if folder := os.environ.get("JFSR_SCREENSHOTS"):
        browser.save_screenshot(str(pathlib.Path(folder) / name))
