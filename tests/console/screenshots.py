"""`make screenshots`: the README's pictures of the console, from the home that `make demo` has left."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.console import chromium

from portico import Client
from portico.demos.run import own_home

_IMAGES = Path("docs/images")
_PLACE = "projects/portico/locations/us-central1"
_SIZE = 1180, 860
_ON_TOP = (
    """[...document.querySelectorAll("h2")].find(one => one.textContent === arguments[0]).scrollIntoView()"""
)


def main() -> None:
    home = own_home("bikes")
    command = [sys.executable, "-m", "portico.cli.main"]
    if not (home / "demo" / "results.json").exists():
        subprocess.run([*command, "demo"], check=True)
    server = subprocess.Popen(
        [*command, "up", "--home", str(home), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        client = Client(url)
        champion = client.steward("bikes")["status"]["champion"]["model"]
        # Each page, and the heading that is on top.
        pages = {
            "console-model": (f"{champion}?version=1", "How good it is"),
            "console-steward": (f"{_PLACE}/stewards/bikes", "Episodes"),
        }
        with tempfile.TemporaryDirectory() as profile:
            browser = chromium.start(Path(profile), *_SIZE)
            try:
                for name, (page, heading) in pages.items():
                    browser.get(f"{url}/-/console/{page}")
                    chromium.drawn(browser)
                    browser.execute_script(_ON_TOP, heading)
                    browser.save_screenshot(str(_IMAGES / f"{name}.png"))
                    print(_IMAGES / f"{name}.png")
            finally:
                browser.quit()
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
