"""CT through the worker with a real model folder: what Slicer's scalar volumes go through."""

import json
import threading

import numpy as np
import pytest
import torch
from ct_examples import ct_hu, ct_series
from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.formats.ct import read_ct
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import CtSlicesRecipe, PretrainRecipe
from FluoroDenoiseLib.worker import Worker
from test_ct_reading import hu_of, save

RECIPES = {"ct": CtSlicesRecipe(name="tiny-ct", widths=(8, 8), blocks=1), "xray": PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, recipe in RECIPES.items():
        torch.manual_seed(0)
        save_model(folder / name, build_network(recipe).state_dict(), recipe, {})
    return folder


def answers(**request):
    """The events of one request, done in this process."""
    events, ended = [], threading.Event()

    def hear(event):
        events.append(event)
        if event["event"] in ("done", "error", "cancelled"):
            ended.set()

    def lines():
        yield json.dumps({"id": 1, "device": "cpu", **request})
        ended.wait(300)

    Worker(lines(), hear).run()
    return events


def test_a_volume_is_denoised_through_npy_files(tmp_path, models):
    np.save(tmp_path / "in.npy", ct_hu())
    started, *slices, done = answers(do="denoise", frames=str(tmp_path / "in.npy"), output=str(tmp_path / "out.npy"),
                                     model=str(models / "ct"), kind="volume")
    assert started["event"] == "started" and started["kind"] == "volume" and started["model"] == "tiny-ct" and started["count"] == 5
    assert [event["index"] for event in slices] == list(range(5)) and done["frames"] == 5
    clean = np.load(tmp_path / "out.npy")
    assert clean.dtype == np.int16 and clean.shape == ct_hu().shape and not np.array_equal(clean, ct_hu())


def test_a_slice_is_previewed_as_it_will_be(tmp_path, models):
    np.save(tmp_path / "in.npy", ct_hu())
    common = {"frames": str(tmp_path / "in.npy"), "model": str(models / "ct"), "kind": "volume", "strength": 0.5}
    answers(do="denoise", output=str(tmp_path / "all.npy"), **common)
    *_, done = answers(do="preview", output=str(tmp_path / "one.npy"), index=3, **common)
    assert done["reach"] == 1 and np.array_equal(np.load(tmp_path / "one.npy"), np.load(tmp_path / "all.npy")[3:4])


def test_thin_slices_are_denoised_with_their_neighbours_and_thick_ones_without(tmp_path, models):
    hu = ct_hu().astype(np.float32) + np.random.default_rng(0).normal(0, 30, ct_hu().shape).astype(np.float32)
    np.save(tmp_path / "in.npy", hu)
    common = {"frames": str(tmp_path / "in.npy"), "model": str(models / "ct"), "kind": "volume"}
    made = {}
    for name, told in (("thin", {"spacing_mm": [1, 0.8, 0.8]}), ("thick", {"spacing_mm": [5, 1, 1]}), ("unstated", {})):
        started, *_, done = answers(do="denoise", output=str(tmp_path / f"{name}.npy"), **common, **told)
        assert done["event"] == "done" and started["spacing_mm"] == told.get("spacing_mm", [5, 1, 1])
        made[name] = np.load(tmp_path / f"{name}.npy")
        *_, one = answers(do="preview", output=str(tmp_path / f"{name}1.npy"), index=2, **common, **told)
        np.testing.assert_allclose(np.load(tmp_path / f"{name}1.npy")[0], made[name][2], atol=1e-3)
        assert one["reach"] == RECIPES["ct"].radius + (3 if name == "thin" else 0)
    assert np.array_equal(made["thick"], made["unstated"])
    assert np.abs(made["thin"] - made["thick"]).max() > 1


@pytest.mark.parametrize(("told", "words"), [
    ({"spacing_mm": [0, 1, 1]}, "three distances"), ({"spacing_mm": 2}, "three distances"), ({"spacing_mm": [1, 1]}, "three distances"),
    ({"spacing_mm": [1, 1, 1], "model": "xray"}, "leave it out"), ({"spacing_mm": [1, 1, 1], "frames": "in.nrrd"}, "its own spacing"),
])  # fmt: skip
def test_a_spacing_that_makes_no_sense_is_refused_in_one_sentence(tmp_path, models, told, words):
    np.save(tmp_path / "in.npy", ct_hu())
    save(tmp_path / "in.nrrd", ct_hu())
    source = tmp_path / told.get("frames", "in.npy")
    *_, last = answers(do="denoise", frames=str(source), output=str(tmp_path / f"out{source.suffix}"),
                       spacing_mm=told["spacing_mm"], model=str(models / told.get("model", "ct")))
    assert last["event"] == "error" and last["exit_code"] == 2 and words in last["message"]
    assert not (tmp_path / f"out{source.suffix}").exists()


def test_a_folder_of_volumes_is_denoised(tmp_path, models):
    ct_series(tmp_path / "in" / "a")
    ct_series(tmp_path / "in" / "b", SeriesInstanceUID="1.2.3", RescaleSlope=0)
    events = answers(do="folder", source=str(tmp_path / "in"), target=str(tmp_path / "out"), model=str(models / "ct"))
    assert {**events[-1], "seconds": 0} == {"id": 1, "event": "done", "target": str(tmp_path / "out"), "done": 1, "there": 0, "failed": 1, "seconds": 0}
    states = [(event["name"], event["state"]) for event in events if event["event"] == "file"]
    assert states == [("a", "started"), ("a", "done"), ("b", "started"), ("b", "failed")] and len(read_ct(tmp_path / "out" / "a")) == 5


@pytest.mark.parametrize(("model", "kind", "code", "words"), [
    ("xray", "volume", 4, "choose the preset ct"),
    ("ct", "run", 4, "choose the preset quality or fast"),
    ("ct", "film", 2, '"run" or "volume"'),
])  # fmt: skip
@pytest.mark.parametrize("do", ["denoise", "preview"])
def test_a_model_for_the_other_kind_is_refused_in_one_sentence(tmp_path, models, do, model, kind, code, words):
    np.save(tmp_path / "in.npy", ct_hu())
    which = {"index": 0} if do == "preview" else {}
    events = answers(do=do, frames=str(tmp_path / "in.npy"), output=str(tmp_path / "out.npy"), model=str(models / model), kind=kind, **which)
    assert events[-1]["event"] == "error" and events[-1]["exit_code"] == code and words in events[-1]["message"]
    assert not (tmp_path / "out.npy").exists()


def test_the_command_takes_a_model_of_ones_own(tmp_path, models, capsys):
    source, target = ct_series(tmp_path / "in"), tmp_path / "out"
    assert main(["denoise", str(source), str(target), "--model", str(models / "ct"), "--device", "cpu"]) == 0
    before, after = hu_of(read_ct(source)), hu_of(read_ct(target))
    assert not np.array_equal(before, after) and np.isfinite(after).all() and "by tiny-ct" in capsys.readouterr().out
    assert main(["denoise", str(source), str(tmp_path / "no"), "--model", str(models / "xray"), "--device", "cpu"]) != 0
    assert "--preset ct" in capsys.readouterr().err
