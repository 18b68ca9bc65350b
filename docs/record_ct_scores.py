"""Ship a trained CT model with what was measured of it (docs/CT.md).

python docs/record_ct_scores.py TRAINED NAME ROWS.json [ROWS.json ...] [--data SENTENCE]

ROWS.json are those that `fluorodenoise evaluate-ct --models ... --out DIR` or docs/measure_ct_phantom.py wrote; of several places
only what they are together. The weights, the card and MODEL.md go to FluoroDenoiseLib/models/NAME.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from FluoroDenoiseLib.model_folder import SHIPPED, write_card

KEPT = ("psnr", "ssim", "rmse", "bias", "noise", "dprime_more", "dprime_low", "shown", "lost", "pairs")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("trained", type=Path)
parser.add_argument("name")
parser.add_argument("rows", type=Path, nargs="+")
parser.add_argument("--data", help="what it was trained on, in a sentence for the card")
options = parser.parse_args()
card = json.loads((options.trained / "model.json").read_text(encoding="utf-8"))
rows = [row for path in options.rows for row in json.loads(path.read_text(encoding="utf-8")) if ", place " not in row["scene"]]
noisy = {row["scene"]: row for row in rows if row["method"] == "noisy"}
scores = {}
for row in rows:
    if row["method"] == card["name"]:
        scores[row["scene"]] = {name: round(row[name], 3) for name in KEPT if row[name] is not None}
        if row["contrast"] is not None:
            scores[row["scene"]]["lesion_contrast"] = round(row["contrast"], 3)
        if row["psnr"] is not None:
            scores[row["scene"]]["gain_db"] = round(row["psnr"] - noisy[row["scene"]]["psnr"], 2)
card |= {"name": options.name, "scores": scores}
card["recipe"]["name"] = options.name
if options.data:
    card["data"] = options.data
target = SHIPPED / options.name
target.mkdir(exist_ok=True)
if options.trained.resolve() != target.resolve():
    shutil.copy(options.trained / "weights.safetensors", target / "weights.safetensors")
write_card(target, card)
print(f"{target}: {', '.join(scores)}")
