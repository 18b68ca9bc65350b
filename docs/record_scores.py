"""Write measured scores into the cards of the shipped models and into RESULTS.md: `python docs/record_scores.py OUT...`.

Each OUT is a folder that `fluorodenoise evaluate --out OUT` wrote. Means over the seeds; no number is typed by hand.
"""

import json
import sys
from pathlib import Path

from FluoroDenoiseLib.evaluation.report import Row, summarise, table
from FluoroDenoiseLib.model_folder import write_card

MODELS = Path(__file__).resolve().parents[1] / "FluoroDenoiseLib" / "models"
RESULTS = Path(__file__).with_name("RESULTS.md")
ABOUT = """# Results

Written by `docs/record_scores.py` from what these commands measured (all methods of a scene in one run, told the same noise,
estimated from the noisy frames):

```sh
pip install bm3d     # optional rival; its licence allows non-commercial use only
fluorodenoise evaluate --scenes q8 reference --frames 10 --ct CT --still docs/samples/still_2bm.tif docs/samples/still_2bm_reference.tif --out OUT_A
fluorodenoise evaluate --scenes q30 q120 --frames 10 --ct CT --out OUT_B
python docs/record_scores.py OUT_A OUT_B
```

CT is the Visible Human Female pelvis (National Library of Medicine, public domain); its right half, seen from the front, which
no training run showed. q8, q30, q120: three slabs that move apart, a wire 2.4 px wide at 3.5 px a frame, spatially correlated
noise, so many quanta a pixel, 512x512, three seeds (PSNR with its standard deviation over them). reference: two rigid layers,
white noise, 256x256. still: a real run on a flat panel, judged by the mean of 48 other frames, which has noise of its own. PSNR and
SSIM are over the 0.1st to 99.9th percentile of the truth; near tool: within 4 px; contrast: the share of the tool's that is kept.
A rival with settings is shown with those of best PSNR. CPU seconds are processor seconds on a busy two-core machine: their
ratios mean something, they do not.

"""
NAMES = ("psnr", "psnr_near", "contrast", "ssim")


def rows_of(folder: Path) -> list[Row]:
    entries = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return [Row(**{name: float("nan") if value is None else value for name, value in entry.items()}) for entry in entries]


if __name__ == "__main__":
    summaries = summarise([row for folder in sys.argv[1:] for row in rows_of(Path(folder))])
    RESULTS.write_text(ABOUT + table(summaries) + "\n", encoding="utf-8")
    for path in sorted(MODELS.glob("*/model.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        noisy = {one.scene: one for one in summaries if one.method == "noisy"}
        card["scores"] = {
            one.scene: {
                "seeds": one.seeds,
                "gain_db": round(one.psnr - noisy[one.scene].psnr, 2),
                **{name: round(value, 3) for name in NAMES if (value := getattr(one, name)) == value},
            }
            for one in summaries
            if one.method == card["name"]
        }
        write_card(path.parent, card)
        print(f"{path}: scores of {', '.join(card['scores']) or 'nothing'}")
