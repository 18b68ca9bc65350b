"""Draw docs/reader_page.png: the page of a reader study of the sample run, as Chromium shows it.

    python docs/draw_reader_page.py
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Library")]

from browser import Browser
from FluoroDenoiseLib import cli


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page, picture = folder / "study.html", folder / "page.png"
        cli.main(["readers", str(page), str(ROOT / "docs" / "samples" / "moving_xa.dcm"), "--seed", "2"])
        with Browser(folder / "profile", folder) as browser:
            browser.resize(1440, 800)
            browser.open(page)
            browser.write("A. Reader")
            browser.press("Enter")
            browser.wait_until("document.querySelectorAll('.question').length > 0 && find('notice').textContent === ''")
            browser.press("p")
            browser.run("viewer.goTo(8)")
            for score in "45":
                browser.press(score)
            browser.screenshot(picture)
        with Image.open(picture) as drawn:
            drawn.convert("RGB").quantize(256).save(ROOT / "docs" / "reader_page.png", optimize=True)


if __name__ == "__main__":
    main()
