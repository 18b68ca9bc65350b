"""What a person sees of a training: train.csv, its curves in train.png, and a strip of previews now and then."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Sequence

from torch import Tensor

from FluoroDenoiseLib.model_folder import write_whole
from FluoroDenoiseLib.pictures import curves, one_below_the_other, save_picture, strip

NOT_TERMS = ("step", "sum", "learning_rate", "risk")


class Journal:
    """The log of the training in `folder`, one row for each report: every term that is minimised, their sum, the
    learning rate, and the risk where it was computed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "train.csv"

    def go_on_from(self, step: int) -> None:
        """Drop the rows of steps that were logged but not saved, since they will be done and logged again."""
        if step == 0:
            self.log.unlink(missing_ok=True)
        elif self.log.exists():
            head, *rows = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [row for row in rows if row.endswith("\n") and int(row.split(",")[0]) <= step]
            write_whole(self.log, "".join([head, *kept]).encode())

    def add(self, step: int, losses: dict[str, float], learning_rate: float, risk: float | None) -> None:
        row = {"step": step, **losses, "sum": sum(losses.values()), "learning_rate": learning_rate,
               "risk": "" if risk is None else risk}
        text = io.StringIO()
        writer = csv.DictWriter(text, row, lineterminator="\n")
        if not self.log.exists():
            writer.writeheader()
        writer.writerow(row)
        with open(self.log, "a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())

    def draw(self) -> None:
        """Draw train.png from the log, if there is one: terms and sum, and below them the risk."""
        if not self.log.exists():
            return
        with open(self.log, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        terms = [name for name in rows[0] if name not in NOT_TERMS] if rows else []
        shown = terms if len(terms) == 1 else [*terms, "sum"]
        series = {name: [float(row[name]) for row in rows] for name in shown}
        picture = curves(series, [int(row["step"]) for row in rows], "step")
        judged = [(int(row["step"]), float(row["risk"])) for row in rows if row["risk"]]
        if judged:
            steps, risks = zip(*judged)
            picture = one_below_the_other([picture, curves({"risk": risks}, steps, "step", logarithmic=False)])
        save_picture(picture, self.folder / "train.png")

    def show(self, step: int, images: Sequence[Tensor]) -> None:
        """Put images [H, W] in a row into previews/step_<step>.png, all through the window of the last one."""
        if not images:
            return
        previews = self.folder / "previews"
        previews.mkdir(exist_ok=True)
        save_picture(strip([image.numpy() for image in images], f"step {step}"), previews / f"step_{step:06d}.png")
