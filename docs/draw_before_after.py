"""Draw docs/before_after.png, the README's picture: `python docs/draw_before_after.py` with FluoroDenoise installed.

Both sample runs, each denoised by the preset `quality`, a row each: noisy, denoised, removed, truth (or reference).
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import load_model
from FluoroDenoiseLib.pictures import GAP, PAPER, comparison, save_picture

DOCS = Path(__file__).resolve().parent
ROWS = (
    ("moving_xa.dcm", "moving_xa_truth.nrrd", "truth"),
    ("still_2bm.tif", "still_2bm_reference.tif", "mean of 48 other frames"),
)
SHOWN = 8


def row(noisy_name: str, truth_name: str, truth_title: str, model_name: str) -> Image.Image:
    compute = choose()
    model = load_model(model_name, compute)
    noisy, truth = (np.stack(list(read_run(DOCS / "samples" / name).frames)) for name in (noisy_name, truth_name))
    clean = denoise(noisy, model, compute=compute)
    shown_truth = truth[min(SHOWN, len(truth) - 1)]
    return comparison(noisy[SHOWN], clean[SHOWN], f"denoised ({model.name})", shown_truth, truth_title)


if __name__ == "__main__":
    rows = [row(*names, *(sys.argv[1:2] or ["quality"])) for names in ROWS]
    sheet = Image.new("RGB", (rows[0].width, sum(one.height for one in rows) + GAP * (len(rows) - 1)), PAPER)
    top = 0
    for one in rows:
        sheet.paste(one, (0, top))
        top += one.height + GAP
    save_picture(sheet, DOCS / "before_after.png")
