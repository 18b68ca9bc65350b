"""The page of a reader study: one HTML file that holds all pictures and asks nothing of the network.

Its policy forbids the browser every connection. Pictures are known by codes, cases by others, and the order of both in
the file is that of the codes, so the page tells a reader nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.resources import files

from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.evaluation.readers_key import QUESTIONS, SCALE

MOST_BYTES = 400_000_000
PARTS = {"/* STYLE */": "style.css", "/* PICTURES */": "pictures.js", "/* STUDY */": "study.js"}


@dataclass(frozen=True)
class PageCase:
    """What the page knows of a run. pictures: codes. window: the first levels of black and white.

    low, step: of GreyLevels, so that the window can be shown in stored values. inverted: low values are white.
    """

    code: str
    pictures: tuple[str, ...]
    width: int
    height: int
    frames: int
    frame_time_s: float
    window: tuple[int, int]
    low: float
    step: float
    inverted: bool


@dataclass
class PagePictures:
    """The packed frames of every code, with an eye on what a browser can open."""

    frames: dict[str, list[str]] = field(default_factory=dict)
    bytes: int = 0

    def add(self, code: str, packed: str) -> None:
        """Keep a frame of a picture. OutputError where the page would be larger than browsers open well."""
        self.frames.setdefault(code, []).append(packed)
        self.bytes += len(packed) + 1
        if self.bytes > MOST_BYTES:
            raise OutputError(f"The page would be larger than {MOST_BYTES / 1e6:.0f} MB, which browsers do not open well; "
                              "give fewer runs, or shorter ones with --frames.")


def page(study: str, cases: list[PageCase], pictures: PagePictures) -> Iterator[str]:
    """The text of the page, in pieces. study: its number, by which the CSVs find their key again."""
    folder = files("FluoroDenoiseLib.evaluation") / "readers_page"
    text = (folder / "page.html").read_text(encoding="utf-8")
    for mark, name in PARTS.items():
        text = text.replace(mark, (folder / name).read_text(encoding="utf-8"))
    facts = {"study": study, "scale": SCALE, "questions": [asdict(one) for one in QUESTIONS], "cases": [asdict(one) for one in cases]}
    head, _, tail = text.replace("{/* FACTS */}", json.dumps(facts).replace("<", "\\u003c")).partition("<!-- FRAMES -->")
    yield head
    for code in sorted(pictures.frames):
        yield f'<script type="text/plain" id="{code}">'
        yield "\n".join(pictures.frames[code])
        yield "</script>\n"
    yield tail
