import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import FrameDenoiser, denoise_frames
from FluoroDenoiseLib.networks.refiner import RefinerUNet
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
from FluoroDenoiseLib.tiling import Tiled

CPU = choose("cpu", "float32")
NOISE = NoiseEstimate(PoissonGaussian(gain=4.0, pedestal=10.0, read_noise=3.0), 0.2, 0.0, ())


class WindowMean:
    """The simplest restorer that looks at its whole window."""

    guides = "none"

    def __init__(self, radius):
        self.radius = radius

    def __call__(self, windows, guides=None):
        return windows.mean(1)


def refiner(radius, guides):
    torch.manual_seed(radius)
    network = RefinerUNet(radius, guides, (8, 12), 1).eval()
    torch.nn.init.normal_(network.head.weight, std=0.05)
    return Tiled(network)


def noisy_run(count, height=24, width=20, seed=0):
    return np.random.default_rng(seed).poisson(60, (count, height, width)).astype(np.uint16) * 4


def restored(restorer, run, batch):
    return torch.stack(list(denoise_frames(run, FrameDenoiser(restorer, NOISE, CPU, batch))))


@pytest.mark.parametrize("guides", ["none", "causal", "both"])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_a_run_is_denoised_the_same_live_and_offline(radius, guides):
    restorer = WindowMean(radius) if guides == "none" else refiner(radius, guides)
    for count in (1, 2, 3, 4, 5, 6, 8, 10):
        run = noisy_run(count)
        live = restored(restorer, run, batch=1)
        assert len(live) == count
        for batch in (2, 3, 8, 20):
            assert torch.equal(live, restored(restorer, run, batch))


@pytest.mark.parametrize("guides", ["none", "causal"])
def test_a_frame_does_not_change_when_frames_after_its_window_do(guides):
    radius = 2
    restorer = WindowMean(radius) if guides == "none" else refiner(radius, guides)
    run = noisy_run(9)
    changed = run.copy()
    changed[6:] = 999
    before, after = restored(restorer, run, 8), restored(restorer, changed, 8)
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4], after[4])


def test_with_guides_from_both_sides_a_frame_does_not_change_after_its_block_and_lookahead():
    restorer = refiner(1, "both")
    run = noisy_run(40)
    changed = run.copy()
    changed[24:] = 999
    before, after = restored(restorer, run, 8), restored(restorer, changed, 8)
    assert torch.equal(before[:15], after[:15])
    assert not torch.equal(before[16], after[16])


def test_strength_zero_gives_the_input_bit_for_bit():
    run = noisy_run(5)
    clean = list(denoise_frames(run, FrameDenoiser(refiner(1, "both"), NOISE, CPU, strength=0.0)))
    assert np.array_equal(np.stack(clean), run.astype(np.float32))


def test_strength_mixes_input_and_full_effect():
    run = noisy_run(4)
    full = torch.stack(list(denoise_frames(run, FrameDenoiser(WindowMean(1), NOISE, CPU))))
    half = torch.stack(list(denoise_frames(run, FrameDenoiser(WindowMean(1), NOISE, CPU, strength=0.5))))
    expected = 0.5 * (full + torch.from_numpy(run.astype(np.float32)))
    torch.testing.assert_close(half, expected)


def test_a_noiseless_run_comes_back_unchanged():
    run = np.full((6, 9, 7), 321, np.uint16)
    still = NoiseEstimate(PoissonGaussian(0.0, 0.0, 0.0), 0.0, 0.0, ())
    clean = list(denoise_frames(run, FrameDenoiser(refiner(2, "both"), still, CPU)))
    assert len(clean) == 6 and all((frame == 321).all() for frame in clean)


def test_the_memory_of_a_denoiser_does_not_grow_with_the_run():
    denoiser = FrameDenoiser(refiner(2, "both"), NOISE, CPU)
    held = []
    for frame in noisy_run(80):
        denoiser.push(frame)
        held.append(len(denoiser._prepared) + len(denoiser._waiting))
    assert max(held) <= 16 + 8 + 8 + 5
    assert max(held[30:55]) == max(held[55:])


def test_strength_beyond_one_is_refused():
    with pytest.raises(ValueError, match="between 0"):
        FrameDenoiser(WindowMean(0), NOISE, CPU, strength=1.5)
