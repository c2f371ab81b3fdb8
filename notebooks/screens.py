"""Take the pictures of the page: light, dark, and as narrow as a telephone.

python notebooks/screens.py             # into notebooks/gallery
python notebooks/screens.py --out DIR   # elsewhere

Needs chromium with its driver, and pip install selenium 'logitlab[serve]'.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = (
    "--headless --hide-scrollbars --no-sandbox --disable-gpu --disable-quic "
    "--no-first-run --disable-background-networking --disable-component-update --disable-sync"
)
SCREENS = {
    "light": ("", 1240, 800, "light"),
    "dark": ("", 1240, 800, "dark"),
    "narrow": ("", 380, 800, "light"),
    "writing": ("#text=Once+upon+a+time&temperature=0.9&seed=7&tab=writing", 1240, 800, "light"),
}


def take(browser: Any, address: str, fragment: str, width: int, height: int, ground: str) -> bytes:
    size = {"width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": ground}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")
    browser.get(f"{address}{fragment}")
    time.sleep(2)
    if "writing" in fragment:
        browser.find_element("id", "far").click()
        time.sleep(3)
        browser.execute_script("document.querySelectorAll('.tok')[3].focus({preventScroll: true})")
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return base64.b64decode(picture)


def main() -> None:
    from selenium import webdriver

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gallery")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    words = [sys.executable, "-m", "logitlab", "explore", "--port", "0", "--no-browser"]
    with (
        tempfile.TemporaryDirectory() as profile,
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().split(" ")[2]
        for word in [*WORDS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(word)
        driver = webdriver.ChromeService(shutil.which("chromedriver"))
        with webdriver.Chrome(options, driver) as browser:
            for name, how in SCREENS.items():
                (folder / f"explore-{name}.png").write_bytes(take(browser, address, *how))
        server.terminate()


if __name__ == "__main__":
    main()
