"""Judge the shipped models, write the verdicts into their cards and SAFETY.md: `python docs/record_safety.py OUT [NAME ...]`.

OUT/NAME gets the page and the numbers of each; a model that OUT has a report of with its present weights is not judged again.
No number is typed by hand.
"""

import json
import sys
from pathlib import Path

from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.evaluation.safety_rows import REQUIRED, in_digits
from FluoroDenoiseLib.model_folder import SHIPPED, write_card

PAGE = Path(__file__).with_name("SAFETY.md")
ABOUT = """# Safety report of the shipped models

Written by `docs/record_safety.py` from `fluorodenoise evaluate --safety NAME --out OUT/NAME`, which makes a page with pictures and
curves (safety.html) and all numbers (safety.json). Objects are simulated, so the truth is exact; noise has its seeds. What a model
must pass: {required}. The other checks tell its limits. A model that fails says so in every run that it denoises, in its card
and in 3D Slicer. `fluorodenoise adapt` ends with the short form of this report on the model that it made.

How it is measured: the same noise is shown with and without an object, and what became of the object is the difference (lag, ghosts,
sharpness, contrast); anatomy that moves is simulated quantum by quantum and compared with its expectation (bias, residual); empty
fields tell false structures and texture; a channelised Hotelling observer with Laguerre-Gauss channels tells detectability.
Contrasts are in standard deviations of the noise of one frame, at 50 quanta a pixel where nothing else is said. Lag, ghosts and
single-frame events are judged by things of contrast 4, that anybody sees in a single frame; fainter ones are reported.

"""


def described(out: Path, name: str) -> dict:
    """The report of a model, made if OUT has none of its weights."""
    card = json.loads((SHIPPED / name / "model.json").read_text(encoding="utf-8"))
    path = out / name / "safety.json"
    if not path.exists() or json.loads(path.read_text(encoding="utf-8"))["weights_sha256"] != card["weights_sha256"]:
        out.mkdir(exist_ok=True)
        code = main(["evaluate", "--safety", name, "--out", str(out / name)])
        if code:
            raise SystemExit(code)
    return json.loads(path.read_text(encoding="utf-8"))


def record(name: str, found: dict) -> None:
    fields = ("passed", "form", "weights_sha256", "version", "checks", "failed", "limits")
    card = json.loads((SHIPPED / name / "model.json").read_text(encoding="utf-8"))
    write_card(SHIPPED / name, {**card, "safety": {field: found[field] for field in fields}})


def table(reports: dict[str, dict]) -> str:
    lines = ["| check | quantity | rule | " + " | ".join(reports) + " |", "|---|---|---|" + "---|" * len(reports)]
    rows = [{(row["check"], row["name"]): row for row in found["rows"]} for found in reports.values()]
    for key, first in rows[0].items():
        cells = [cell(one.get(key)) for one in rows]
        lines.append(f"| {key[0]} | {key[1]} | {first['rule']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(row: dict | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    value = f"{in_digits(row['value'], row['rule'])} {row['unit']}".strip()
    return f"**{value}** fails" if row["passed"] is False else value


if __name__ == "__main__":
    out = Path(sys.argv[1])
    names = sys.argv[2:] or ["fast", "quality"]
    reports = {name: described(out, name) for name in names}
    for name, found in reports.items():
        record(name, found)
        print(f"{name}: {'passes' if found['passed'] else 'fails'}, {len(found['limits'])} limits beyond it")
    verdicts = "\n".join(f"- `{name}` {'passes' if found['passed'] else '**fails**'} (weights {found['weights_sha256'][:12]}, "
                         f"{found['form']} form, FluoroDenoise {found['version']}; {found['computed']})" for name, found in reports.items())
    PAGE.write_text(ABOUT.format(required=", ".join(REQUIRED)) + verdicts + "\n\n" + table(reports) + "\n", encoding="utf-8")
