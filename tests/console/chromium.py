"""Debian's chromium for tests, and axe, which judges its pages for screen readers and keyboards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import axe_selenium_python
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from tests.waiting import until

_QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
          "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
          "--hide-scrollbars")  # fmt: skip
# Plotly's maps have a style of their own, which they try to put into every page and our policy forbids.
_OF_MAPS = "Applying inline style"
_SERIOUS = ("serious", "critical")


def start(profile: Path, width: int = 1280, height: int = 900, dark: bool = False) -> webdriver.Chrome:
    """A browser with a new profile in that folder. Where chromium is missing this fails: without one a console is not
    tested."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser and driver, "Install Debian's packages chromium and chromium-driver to test the console."
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*_QUIET, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(argument)
    if dark:
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    made.set_page_load_timeout(240)
    made.set_script_timeout(240)
    return made


def drawn(browser: webdriver.Chrome) -> None:
    """Waits until every chart of the page is drawn."""
    script = "return [...document.querySelectorAll('.plot')].every(place => 'drawn' in place.dataset)"
    until(lambda: browser.execute_script(script), "every chart is drawn")


def faults(browser: webdriver.Chrome) -> list[str]:
    """What axe finds that is serious."""
    [script] = Path(axe_selenium_python.__file__).parent.rglob("axe.min.js")
    browser.execute_script(script.read_text())
    found: dict[str, Any] = browser.execute_async_script(
        "const done = arguments[arguments.length - 1]; axe.run().then(done)"
    )
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in _SERIOUS
    ]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's own log says went wrong."""
    log: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [one["message"] for one in log if one["level"] == "SEVERE" and _OF_MAPS not in one["message"]]
