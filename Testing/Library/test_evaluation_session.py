import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from FluoroDenoiseLib.cli_arguments import make_parser
from FluoroDenoiseLib.cli_evaluate import command_of
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import InputError, OutputError
from FluoroDenoiseLib.evaluation.rivals import RIVALS
from FluoroDenoiseLib.evaluation.rows import read_rows
from FluoroDenoiseLib.evaluation.session import Request, Session, load_models
from FluoroDenoiseLib.evaluation.showing import charts_of, draw
from FluoroDenoiseLib.evaluation.rows import Row, summarise
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe

CPU = choose("cpu")
TINY = PretrainRecipe(name="tiny", radius=0, guides="causal", widths=(8, 8), blocks=1)
KEPT = ("noisy", "recursive filter 0.2", "Gaussian")
SMALL = Request(("q30",), seeds=2, size=48, frames=5, without=tuple(rival.name for rival in RIVALS if rival.name not in KEPT))


def save_tiny(folder, seed=0):
    torch.manual_seed(seed)
    save_model(folder, build_network(TINY).state_dict(), TINY, {"data": "none"})
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_model(save_tiny(tmp_path_factory.mktemp("models") / "tiny"), CPU)


def test_every_row_is_on_disk_before_the_next_is_begun(tiny, tmp_path):
    session = Session(SMALL, [tiny], CPU, tmp_path, "fluorodenoise evaluate")
    for count, row in enumerate(session, 1):
        assert len(read_rows(tmp_path)) == count and row.method in (tmp_path / "table.md").read_text()
    assert count == 2 * (len(KEPT) + 1)
    about = json.loads((tmp_path / "session.json").read_text())
    assert about["models"] == {"tiny": tiny.sha256} and about["versions"]["FluoroDenoise"] and about["commands"] == ["fluorodenoise evaluate"]


def test_an_evaluation_goes_on_where_it_stopped(tiny, tmp_path):
    first = iter(Session(SMALL, [tiny], CPU, tmp_path, "command"))
    done = [next(first) for _ in range(3)]
    again = Session(SMALL, [tiny], CPU, tmp_path, "command")
    rest = list(again)
    assert len(done) + len(rest) == 2 * (len(KEPT) + 1) and not {row.key for row in done} & {row.key for row in rest}
    assert [row.psnr for row in again.rows] == [row.psnr for row in Session(SMALL, [tiny], CPU, tmp_path).rows]
    assert list(Session(SMALL, [tiny], CPU, tmp_path)) == []


def test_only_our_rows_are_made_again_with_other_weights(tiny, tmp_path):
    list(Session(SMALL, [tiny], CPU, tmp_path))
    other = load_model(save_tiny(tmp_path / "other", seed=1), CPU)
    again = Session(SMALL, [other], CPU, tmp_path)
    assert {row.method for row in again} == {"tiny"}
    assert len(again.rows) == 2 * (len(KEPT) + 1) and {row.weights for row in again.rows if row.method == "tiny"} == {other.sha256[:12]}


@pytest.mark.parametrize("change", [{"size": 64}, {"frames": 6}, {"noise": "true"}])
def test_rows_of_other_settings_never_share_a_table(tiny, tmp_path, change):
    list(Session(replace(SMALL, seeds=1), [], CPU, tmp_path))
    with pytest.raises(OutputError, match=next(iter(change))):
        Session(replace(SMALL, **change), [], CPU, tmp_path)


def test_a_folder_whose_record_is_broken_is_refused(tmp_path):
    (tmp_path / "session.json").write_text("[]")
    with pytest.raises(InputError, match="session.json"):
        Session(SMALL, [], CPU, tmp_path)


def test_costly_rivals_are_judged_on_as_many_seeds_as_asked(monkeypatch):
    cheap = replace(RIVALS[0], name="dear", costly=True)
    monkeypatch.setattr("FluoroDenoiseLib.evaluation.session.RIVALS", (cheap, RIVALS[0]))
    request = replace(SMALL, seeds=3, costly_seeds=2, without=())
    assert [row.seed for row in Session(request, [], CPU) if row.method == "dear"] == [0, 1]


def test_a_rival_that_is_missing_and_one_that_is_not_free_are_said(monkeypatch):
    absent = replace(RIVALS[0], name="magic", needs="no_such_package")
    bought = replace(RIVALS[0], name="bought", licence="not free.")
    monkeypatch.setattr("FluoroDenoiseLib.evaluation.session.RIVALS", (absent, bought))
    remarks = Session(replace(SMALL, without=()), [], CPU).remarks
    assert any("magic is left out" in remark for remark in remarks) and "bought: not free." in remarks


@pytest.mark.parametrize("request_, reason", [
    (replace(SMALL, scenes=("real",)), "--data"),
    (replace(SMALL, scenes=("knee",)), "--data"),
    (replace(SMALL, scenes=("projected",)), "--ct"),
    (replace(SMALL, scenes=("moon",)), "not known"),
    (replace(SMALL, without=("magic",)), "magic"),
])  # fmt: skip
def test_what_cannot_be_made_is_refused_in_a_sentence(request_, reason):
    with pytest.raises(InputError, match=reason):
        Session(request_, [], CPU)


def test_a_group_is_made_as_far_as_its_files_go():
    session = Session(replace(SMALL, scenes=("all",)), [], CPU)
    assert {"projected", "knee"}.isdisjoint(planned.name for planned in session.plan)
    assert any("projected is left out" in remark for remark in session.remarks) and any("real pictures" in remark for remark in session.remarks)


def test_models_have_names_of_their_own(tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    assert [model.name for model in load_models([str(folder), f"adapted={folder}"], CPU)] == ["tiny", "adapted"]
    for words in ([str(folder), str(folder)], [f"BM3D={folder}"]):
        with pytest.raises(InputError, match="NAME=FOLDER"):
            load_models(words, CPU)


def test_the_command_names_files_but_not_where_they_lie(tmp_path):
    options = make_parser().parse_args(["evaluate", "--scenes", "dose", "--presets", f"mine={tmp_path / 'model'}", "--ct", str(tmp_path / "ct.nii"),
                                        "--seeds", "2", "--without", "BM4D", "--out", str(tmp_path / "dose")])
    said = command_of(options)
    assert said == "fluorodenoise evaluate --scenes dose --presets mine=model --seeds 2 --ct ct.nii --without BM4D --out dose"


def test_the_best_and_the_worst_case_are_drawn(tiny, tmp_path):
    session = Session(SMALL, [tiny], CPU, tmp_path)
    list(session)
    assert set(draw(session)) == {"best.png", "worst.png"}
    cases = json.loads((tmp_path / "cases.json").read_text())
    assert cases["best"]["gain_db"] >= cases["worst"]["gain_db"] and cases["best"]["method"] == "tiny"
    assert np.ptp(np.array(Image.open(tmp_path / "best.png"))) > 100


def test_charts_are_drawn_where_two_places_are_known():
    def row(scene, psnr):
        return Row(scene, 0, "quality", "", psnr, psnr, 0.9, 0.9, 0.1, 1.0)

    assert set(charts_of(summarise([row("q8", 30.0), row("q30", 33.0)]), ["quality"])) == {"psnr_against_dose.png"}
    assert set(charts_of(summarise([row("wire0", 30.0), row("wire8", 33.0)]), ["quality"])) == {"contrast_against_speed.png"}
    assert charts_of(summarise([row("q8", 30.0)]), ["quality"]) == {}
