"""Write what was measured into RESULTS.md, the README and the cards of the shipped models: `python docs/record_scores.py OUT...`.

Each OUT is a folder that `fluorodenoise evaluate --out OUT` wrote, or one with a section.md; they are shown in that order. Where
two of them hold the same scene, the README and the cards take the first. Means over the seeds; no number is typed by hand.
"""

import json
import sys
from pathlib import Path

from FluoroDenoiseLib.evaluation.results_page import write_page, write_readme
from FluoroDenoiseLib.evaluation.rows import Summary
from FluoroDenoiseLib.evaluation.scene_catalogue import GROUPS
from FluoroDenoiseLib.model_folder import write_card

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "FluoroDenoiseLib" / "models"
RESULTS = Path(__file__).with_name("RESULTS.md")
NAMES = ("psnr", "psnr_near", "contrast", "ssim")
ON_CARDS = (*GROUPS["main"], *GROUPS["limit"], "still")


def write_scores(folder: Path, summaries: list[Summary]) -> list[str]:
    """Put the scores of a shipped model into its card; the scenes they are of."""
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    noisy = {one.scene: one for one in summaries if one.method == "noisy"}
    scores = {
        one.scene: {
            "seeds": one.seeds,
            "gain_db": round(one.psnr - noisy[one.scene].psnr, 2),
            **{name: round(value, 3) for name in NAMES if (value := getattr(one, name)) == value},
        }
        for one in summaries
        if one.method == card["name"] and one.scene in ON_CARDS
    }
    if scores:
        write_card(folder, {**card, "scores": scores})
    return list(scores)


if __name__ == "__main__":
    evaluations = write_page([Path(folder) for folder in sys.argv[1:]], RESULTS)
    first: dict[tuple[str, str], Summary] = {}
    for one in (summary for evaluation in evaluations for summary in evaluation.summaries):
        first.setdefault((one.scene, one.method), one)
    print(f"{RESULTS.name} is written")
    readme = any(write_readme(ROOT / "README.md", evaluation.summaries) for evaluation in evaluations)
    print("README.md has the table" if readme else "README.md is left as it is")
    for path in sorted(MODELS.glob("*/model.json")):
        print(f"{path.parent.name}: scores of {', '.join(write_scores(path.parent, list(first.values()))) or 'nothing'}")
