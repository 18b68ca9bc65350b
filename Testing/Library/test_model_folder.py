import json

import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, TeacherRecipe

CPU = choose("cpu")
RECIPE = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "model", build_network(RECIPE).state_dict(), RECIPE, {"data": "none"})
    return tmp_path / "model"


def test_a_saved_model_reads_back_the_same(folder):
    model = load_model(folder, CPU)
    windows, guides = torch.randn(1, 3, 16, 16), torch.rand(1, 4, 16, 16) + 0.5
    torch.manual_seed(0)
    torch.testing.assert_close(model.restorer(windows, guides), build_network(RECIPE)(windows, guides))
    assert model.name == "tiny" and model.restorer.radius == 1 and model.restorer.guides == "both"


def test_weights_that_half_precision_holds_are_stored_in_half_the_space_and_read_back_the_same(folder, tmp_path):
    network = build_network(RECIPE)
    network.load_state_dict({name: tensor.half() for name, tensor in network.state_dict().items()})
    sha256 = save_model(tmp_path / "half", network.state_dict(), RECIPE, {})
    half, single = ((place / "weights.safetensors").stat().st_size for place in (tmp_path / "half", folder))
    assert half < 0.65 * single  # the names take room as well
    windows, guides = torch.randn(1, 3, 16, 16), torch.rand(1, 4, 16, 16) + 0.5
    model = load_model(tmp_path / "half", CPU)
    restored = model.restorer(windows, guides)
    assert restored.dtype == torch.float32 and torch.equal(restored, network.eval()(windows, guides))
    assert save_model(tmp_path / "again", model.restorer.restorer.state_dict(), RECIPE, {}) == sha256


def test_altered_weights_are_refused(folder):
    blob = bytearray((folder / "weights.safetensors").read_bytes())
    blob[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(blob)
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(folder, CPU)


def test_weights_of_another_network_are_refused(folder):
    card = json.loads((folder / "model.json").read_text())
    card["recipe"]["widths"] = [8, 16]
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="do not fit"):
        load_model(folder, CPU)


def test_a_newer_format_is_refused_with_both_versions(folder):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "format": 99}))
    with pytest.raises(ModelError, match="format 99.*format 1"):
        load_model(folder, CPU)


def test_a_folder_without_a_model_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load_model(tmp_path / "nowhere", CPU)


def test_every_recipe_builds_its_network():
    for recipe in (RECIPE, TeacherRecipe(width=4, levels=2, frames=3)):
        assert sum(p.numel() for p in build_network(recipe).parameters()) > 0
