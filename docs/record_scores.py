"""Write measured scores into the cards of shipped models: `python docs/record_scores.py OUT...`.

Each OUT is a folder that `fluorodenoise evaluate --out OUT` wrote. Means over the seeds; nothing is typed by hand.
"""

import json
import sys
from pathlib import Path

from FluoroDenoiseLib.evaluation.report import Row, summarise
from FluoroDenoiseLib.model_folder import write_whole

MODELS = Path(__file__).resolve().parents[1] / "FluoroDenoiseLib" / "models"
NAMES = ("psnr", "psnr_near", "contrast", "ssim")


def rows_of(folder: Path) -> list[Row]:
    entries = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return [Row(**{name: float("nan") if value is None else value for name, value in entry.items()}) for entry in entries]


if __name__ == "__main__":
    summaries = summarise([row for folder in sys.argv[1:] for row in rows_of(Path(folder))])
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
        write_whole(path, (json.dumps(card, indent=2) + "\n").encode())
        print(f"{path}: scores of {', '.join(card['scores']) or 'nothing'}")
