"""What a person sees of a training while it runs, and of its model afterwards."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from FluoroDenoiseLib.model_card import model_markdown
from FluoroDenoiseLib.model_folder import build_network, save_model, shipped_models, SHIPPED
from FluoroDenoiseLib.recipe import PretrainRecipe
from FluoroDenoiseLib.training.journal import Journal


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    for step in range(1, 6):
        journal.add(step, {"near": 0.5 / step, "far": 0.25}, 1e-3, None if step % 2 else -0.1 * step)
    return journal


def rows(journal):
    with open(journal.log, newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_holds_every_term_their_sum_the_rate_and_the_risk(journal):
    assert list(rows(journal)[1]) == ["step", "near", "far", "sum", "learning_rate", "risk"]
    assert [float(value) for value in rows(journal)[1].values()] == [2, 0.25, 0.25, 0.5, 1e-3, -0.2]
    assert [row["risk"] != "" for row in rows(journal)] == [False, True, False, True, False]


def test_steps_that_were_logged_but_not_saved_are_dropped(journal):
    with open(journal.log, "a") as file:
        file.write("6,0.1,0.2")  # as of a process that was killed while it wrote
    journal.go_on_from(4)
    journal.add(5, {"near": 9.0, "far": 0.25}, 1e-3, None)
    assert [row["step"] for row in rows(journal)] == ["1", "2", "3", "4", "5"] and rows(journal)[-1]["near"] == "9.0"


def test_every_term_their_sum_and_the_risk_are_drawn(journal):
    def colours():
        journal.draw()
        picture = np.asarray(Image.open(journal.folder / "train.png"))
        shades = {tuple(colour) for colour in picture.reshape(-1, 3) if len({*map(int, colour)}) == 3}
        return picture.shape[0], len(shades & {(220, 80, 60), (40, 120, 200), (60, 160, 90)})

    height, drawn = colours()
    assert drawn == 3
    for row in (without := rows(journal)):
        row["risk"] = ""
    with open(journal.log, "w", newline="") as file:
        writer = csv.DictWriter(file, without[0])
        writer.writeheader()
        writer.writerows(without)
    assert colours() == (height // 2, 3)


def test_previews_stand_in_a_row_named_by_their_step(journal):
    journal.show(500, [torch.rand(20, 24), torch.rand(20, 24), torch.rand(20, 24)])
    width, height = Image.open(journal.folder / "previews" / "step_000500.png").size
    assert width > 3 * height / 2
    journal.show(600, [])
    assert len(list((journal.folder / "previews").iterdir())) == 1


def test_the_card_says_what_a_user_must_know(tmp_path):
    recipe = PretrainRecipe(name="mine", radius=1, widths=(8, 8), blocks=1)
    facts = {"runs": 3, "frames": 30, "bits": [8, 12], "quanta": [5.21, 300.0], "frame_rate_hz": [7.5, 30.0], "domain": ["LIN", "LOG"]}
    made = {"data": "3 runs", "facts": facts, "risk": 0.0312, "seed": 7, "versions": {"torch": "2.13.0"},
            "scores": {"q30": {"seeds": 3, "psnr": 44.083, "gain_db": 14.25}, "still": {"seeds": 1, "psnr": 38.5}}}
    sha256 = save_model(tmp_path, build_network(recipe).state_dict(), recipe, made)
    page = (tmp_path / "MODEL.md").read_text(encoding="utf-8")
    for line in ("# mine", "| Bits stored | 8 - 12 |", "| Dose, quanta a pixel and frame | 5.2 - 300.0 |", "| Seed | 7 |",
                 "| Frame rate, frames a second | 7.5 - 30 |", "| q30 | 3 | 44.08 | 14.25 |", "| `widths` | 8, 8 |", sha256):
        assert line in page, line
    assert page == model_markdown(json.loads((tmp_path / "model.json").read_text()))


@pytest.mark.parametrize("name", shipped_models())
def test_the_card_of_a_shipped_model_can_be_written(name):
    card = json.loads((SHIPPED / name / "model.json").read_text())
    assert card["weights_sha256"] in model_markdown(card)
