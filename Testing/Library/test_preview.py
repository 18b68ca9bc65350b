"""The frame that a person looks at first."""

import numpy as np
import pytest
import torch
from FluoroDenoiseLib import preview
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.jobs import DenoiseSettings
from FluoroDenoiseLib.model_folder import Model, build_network
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
from FluoroDenoiseLib.preview import affordable_reach, denoise_one, preview_file
from FluoroDenoiseLib.recipe import PretrainRecipe
from FluoroDenoiseLib.targets import UsageError
from FluoroDenoiseLib.tiling import Tiled

CPU = choose("cpu")
NOISE = NoiseEstimate(PoissonGaussian(1.0, 0.0, 5.0), 0.0, 0.0)
FRAMES = np.random.default_rng(0).poisson(200, (9, 32, 40)).astype(np.uint16)


def model(guides="both", radius=1):
    torch.manual_seed(0)
    network = build_network(PretrainRecipe(name="tiny", radius=radius, guides=guides, widths=(8, 8), blocks=1))
    for parameter in network.parameters():  # a fresh network takes nothing away
        torch.nn.init.normal_(parameter, std=0.05)
    return Model(Tiled(network.eval()), {}, "tiny", "ab" * 32)


@pytest.mark.parametrize("guides, radius", [("both", 1), ("causal", 0), ("causal", 2)])
@pytest.mark.parametrize("index", [0, 4, 8])
def test_with_all_neighbours_it_is_the_frame_of_the_denoised_run(guides, radius, index):
    whole = denoise(FRAMES, model(guides, radius), NOISE, CPU, strength=0.7)
    alone = denoise_one(FRAMES, index, model(guides, radius).restorer, NOISE, CPU, reach=8, strength=0.7)
    torch.testing.assert_close(alone, torch.from_numpy(whole[index]), rtol=0, atol=0)


def test_it_sees_no_frame_beyond_its_reach():
    far = FRAMES.copy()
    far[[0, 1, 7, 8]] = 4000
    near, other = (denoise_one(frames, 4, model().restorer, NOISE, CPU, reach=2) for frames in (FRAMES, far))
    torch.testing.assert_close(near, other, rtol=0, atol=0)


def test_more_time_buys_more_neighbours(monkeypatch):
    assert preview.LEAST_REACH <= affordable_reach((64, 64), model().restorer, CPU) <= preview.MOST_REACH
    monkeypatch.setattr(preview, "SECONDS_FOR_NEIGHBOURS", 0)
    assert affordable_reach((64, 64), model().restorer, CPU) == preview.LEAST_REACH
    monkeypatch.setattr(preview, "SECONDS_FOR_NEIGHBOURS", 1e6)
    assert affordable_reach((64, 64), model().restorer, CPU) == preview.MOST_REACH


def test_a_file_gives_a_file_of_one_frame(tmp_path):
    np.save(tmp_path / "in.npy", FRAMES)
    said = preview_file(tmp_path / "in.npy", tmp_path / "out.npy", 4, model(), CPU, DenoiseSettings(noise=NOISE.model))
    clean = np.load(tmp_path / "out.npy")
    assert clean.shape == (1, 32, 40) and clean.dtype == np.uint16 and not np.array_equal(clean[0], FRAMES[4])
    assert said["output"] == str(tmp_path / "out.npy") and 2 <= said["reach"] <= 8


def test_what_cannot_be_previewed_is_refused(tmp_path):
    np.save(tmp_path / "in.npy", FRAMES)
    with pytest.raises(InputError, match="Frame 9 is asked for"):
        preview_file(tmp_path / "in.npy", tmp_path / "out.npy", 9, model(), CPU, DenoiseSettings())
    (tmp_path / "in.dcm").touch()
    with pytest.raises(UsageError, match=".npy"):
        preview_file(tmp_path / "in.dcm", tmp_path / "out.dcm", 0, model(), CPU, DenoiseSettings())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.dcm", "in.npy"]
