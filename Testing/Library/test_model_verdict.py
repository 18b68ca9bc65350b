import json

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.safety_banner import banner_section
from FluoroDenoiseLib.evaluation.safety_bias import moving_runs, strength_section
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.jobs import facts_of
from FluoroDenoiseLib.model_card import model_markdown
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model, write_card
from FluoroDenoiseLib.model_range import range_warnings
from FluoroDenoiseLib.model_safety import judge_adapted
from FluoroDenoiseLib.model_verdict import verdict_in_words, verdict_of, verdict_warnings
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
from FluoroDenoiseLib.recipe import PretrainRecipe

CPU = choose("cpu", "float32")
RECIPE = PretrainRecipe(name="tiny", radius=0, guides="causal", widths=(8, 8), blocks=1)
FACTS = {"runs": 3, "frames": 30, "bits": [8, 16], "quanta": [5.0, 300.0], "frame_rate_hz": [7.5, 30.0],
         "noise_correlation": [0.0, 0.35], "domain": ["DISP", "LIN"]}
NOISE = NoiseEstimate(PoissonGaussian(4.0, 0.0, 2.0), 0.1, 0.0)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "model", build_network(RECIPE).state_dict(), RECIPE, {"data": "none", "facts": FACTS})
    return tmp_path / "model"


def judged(folder, passed, **changes):
    card = json.loads((folder / "model.json").read_text())
    verdict = {"passed": passed, "form": "quick", "weights_sha256": card["weights_sha256"], "version": "0", "checks": {"B7": passed},
               "failed": [] if passed else ["B7 lag 9 %, not 2 % or less"], "limits": ["B14 shift 70 %, not 25 % or less"], **changes}
    write_card(folder, {**card, "safety": verdict})
    return load_model(folder, CPU)


def run_of(grey=200, **changes):
    settings = dict(frame_time_s=1 / 15, bits_stored=12, intensity_relationship="LIN") | changes
    return FluoroRun.from_array(np.full((4, 16, 16), grey, np.uint16), **settings)


def test_a_model_that_fails_says_so_wherever_it_is_used(folder):
    failing = judged(folder, passed=False)
    assert "fails its safety report (B7 lag 9 %" in facts_of(run_of(), NOISE, failing, CPU)["warnings"][-1]
    assert "**These weights fail**" in (folder / "MODEL.md").read_text()
    passing = judged(folder, passed=True)
    assert facts_of(run_of(), NOISE, passing, CPU)["warnings"] == []
    page = (folder / "MODEL.md").read_text()
    assert "These weights pass the safety report" in page and "B14 shift" in page


def test_a_verdict_is_that_of_its_weights_only(folder):
    card = judged(folder, passed=False, weights_sha256="0" * 64).card
    assert verdict_of(card) is None and verdict_warnings(card) == ()
    assert "has not been checked" in verdict_in_words(card) and "has not been checked" in model_markdown(card)


@pytest.mark.parametrize(
    "changes, noise, words",
    [
        (dict(grey=4), NOISE, "0.71 quanta"),
        (dict(bits_stored=6), NOISE, "6 bits"),
        (dict(frame_time_s=1 / 60), NOISE, "60 frames a second"),
        (dict(intensity_relationship="LOG"), NOISE, "kind LOG"),
        ({}, NoiseEstimate(NOISE.model, 0.45, 0.0), "share 0.45"),
    ],
)
def test_a_run_outside_the_range_of_its_model_is_announced(changes, noise, words):
    warnings = range_warnings({"name": "tiny", "facts": FACTS}, run_of(**changes), noise)
    assert len(warnings) == 1 and words in warnings[0]


def test_what_is_in_range_or_not_known_is_not_announced():
    card = {"name": "tiny", "facts": FACTS}
    assert range_warnings(card, run_of(), NOISE) == ()
    assert range_warnings({"name": "tiny"}, run_of(bits_stored=6), NOISE) == ()
    flat = NoiseEstimate(PoissonGaussian(0.0, 0.0, 5.0), 0.1, 0.0)  # whose dose nobody can tell
    assert range_warnings(card, run_of(grey=4, intensity_relationship="UNKNOWN"), flat) == ()


def test_the_report_finds_the_banner_where_it_must_be():
    section = banner_section({"name": "tiny", "facts": FACTS})
    assert section.passed and len(section.rows) == 5


def test_an_adapted_model_is_judged_once_and_only_in_time(folder):
    assert "the minutes do not suffice" in judge_adapted(folder, CPU, there_is_time=False)
    judged(folder, passed=True)
    assert judge_adapted(folder, CPU, there_is_time=False).startswith("These weights pass the short safety report")


def test_a_report_that_is_interrupted_leaves_the_model_unjudged(folder):
    def stop():
        raise KeyboardInterrupt

    assert "was interrupted" in judge_adapted(folder, CPU, there_is_time=True, check=stop)
    assert verdict_of(load_model(folder, CPU).card) is None and not list(folder.glob("safety*"))


def test_a_report_without_a_folder_is_refused(capsys):
    assert main(["evaluate", "--safety", "fast"]) == 2
    assert "add --out DIR" in capsys.readouterr().err


def test_at_strength_0_a_model_passes_the_first_check(folder):
    model = load_model(folder, CPU)
    run = moving_runs(1, (40.0,))[0]
    assert strength_section(lambda frames, noise: denoise(frames, model, noise, CPU, strength=0), run).passed
    full = strength_section(lambda frames, noise: denoise(frames, model, noise, CPU), run)
    assert not full.passed


@pytest.mark.slow
def test_the_command_writes_page_json_and_verdict(folder, tmp_path, capsys):
    assert main(["evaluate", "--safety", str(folder), "--quick", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    described = json.loads((tmp_path / "out" / "safety.json").read_text())
    assert {row["check"] for row in described["rows"]} >= {"B1", "B2", "B3", "B4", "B6", "B7", "B8", "B9", "B11", "B12", "banner"}
    card = json.loads((folder / "model.json").read_text())
    assert card["safety"]["passed"] == described["passed"] and card["safety"]["weights_sha256"] == card["weights_sha256"]
    page = (tmp_path / "out" / "safety.html").read_text()
    assert "data:image/png;base64," in page and "<svg" in page
    assert "B1 Strength 0: passed" in capsys.readouterr().out
