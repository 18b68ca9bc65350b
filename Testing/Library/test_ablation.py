"""The ablation on a toy: it runs, and its sentences follow from its numbers."""

import dataclasses
import json

import pytest

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.recipe import StudentRecipe, TeacherRecipe
from FluoroDenoiseLib.training import ablation
from FluoroDenoiseLib.training.ablation import FULL, VARIANTS, Row, Size, ablate, noisy_runs
from FluoroDenoiseLib.training.ablation_report import report, verdict, write_report

CPU = choose("cpu", "float32")


class Toy(Size):
    """An ablation of networks that learn nothing, in seconds."""

    def teacher(self, seeing):
        return TeacherRecipe(width=2, levels=2, blind=not seeing, steps=1, batch=1, patch=32, preview_every=0, precision="float32")

    def student(self, variant, seed):
        small = StudentRecipe(name=variant.name, width=2, levels=2, steps=1, batch=1, patch=32, preview_every=0, seed=seed,
                              precision="float32")
        return dataclasses.replace(small, **variant.changes)


@pytest.mark.slow
def test_every_variant_is_trained_and_judged_and_the_table_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "VARIANTS", (VARIANTS[0], VARIANTS[7]))
    toy = Toy(steps=1, runs=2, seeds=1, scenes=1, side=64, frames=5)
    rows = list(ablate(tmp_path, toy, CPU, CPU))
    assert [row.method for row in rows][-2:] == [variant.name for variant in ablation.VARIANTS] and len(rows) == 7
    write_report(rows, toy, tmp_path)
    text = (tmp_path / "ABLATION.md").read_text()
    assert all(f"| {row.method} |" in text for row in rows) and "wire contrast" in text
    assert len(json.loads((tmp_path / "ablation.json").read_text())["rows"]) == 7


def test_the_runs_to_learn_from_are_made_once_and_are_noisy_frames_alone(tmp_path):
    size = Size(runs=1, side=64, frames=3)
    first, = noisy_runs(tmp_path, size)
    stamp = (tmp_path / "run_64_3_0000" / "noisy.npy").stat().st_mtime_ns
    again, = noisy_runs(tmp_path, size)
    assert (first == again).all() and first.shape == (3, 64, 64)
    assert (tmp_path / "run_64_3_0000" / "noisy.npy").stat().st_mtime_ns == stamp


def rows_of(method, changes):
    return [Row(method, seed, 0, 38 + seed + change, 0.9, 34.0, 0.7, 0.0) for seed, change in enumerate(changes)]


@pytest.mark.parametrize("changes, sentence", [
    ([-1.0, -1.1, -0.9], "worse: the edge term earns its place"),
    ([1.0, 1.1, 0.9], "better: the edge term does not earn its place"),
    ([-1.0, 1.0, 0.1], "no difference that counts"),
    ([-0.02, -0.02, -0.02], "no difference that counts"),
])
def test_a_term_earns_its_place_if_its_absence_is_worse_than_chance(changes, sentence):
    rows = rows_of(FULL, [0, 0, 0]) + rows_of("no edge term", changes)
    said, = verdict(VARIANTS[3], rows)
    assert said.startswith("**no edge term**: PSNR") and said.endswith(sentence + ".")
    assert said in report(rows, Size(seeds=3))


def test_what_helps_one_measure_and_hurts_another_is_said_to():
    rows = rows_of(FULL, [0, 0, 0]) + [dataclasses.replace(row, contrast=0.8) for row in rows_of("no flow", [-1, -1, -1])]
    assert verdict(VARIANTS[9], rows)[0].endswith("better in one measure and worse in another.")


def test_one_pair_is_never_more_than_chance():
    rows = rows_of(FULL, [0]) + rows_of("no flow", [-5])
    assert "no difference that counts" in verdict(VARIANTS[9], rows)[0]
    assert verdict(VARIANTS[5], rows) == []


def test_every_variant_makes_a_valid_recipe_and_differs_from_the_full_one():
    recipes = [(Size().student(variant, 0), variant.seeing) for variant in VARIANTS]
    assert len({(*dataclasses.replace(recipe, name="").__dict__.values(), seeing) for recipe, seeing in recipes}) == len(VARIANTS)
