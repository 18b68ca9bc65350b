import numpy as np
import pytest
import torch

from FluoroDenoiseLib.motion import smooth
from FluoroDenoiseLib.noise import PoissonGaussian
from FluoroDenoiseLib.training.risk import Comparison, Stein, recorrupted, stein, tiled
from FluoroDenoiseLib.training.run_noise import RunNoise

FRAMES, SIDE, STEP = 24, 96, 0.2
WHITE = dict(correlation=0.0, persistence=0.0, recursion=0.0)
KINDS = {
    "white": WHITE,
    "correlated": {**WHITE, "correlation": 0.3},
    "persistent": {**WHITE, "correlation": 0.2, "persistence": 0.1},
    "recursed": {**WHITE, "persistence": 0.45, "recursion": 0.45},
}


def noise_of(kind, variances=(1.0, 1.0)):
    return RunNoise(PoissonGaussian(0.0, 0.0, 1.0), 0.0, 0.0, **KINDS[kind], levels=(0.0, 10.0), variances=variances)


def truth():
    """Structure of a few pixels that drifts, [T, H, W], about 0 to 10."""
    pattern = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    pattern = 5 + 12 * smooth(pattern, 2.0)[0]
    return torch.stack([pattern.roll((t, 2 * t), (0, 1)) for t in range(FRAMES)]).clamp(0, 10)


def filtered(run):
    """A linear filter over space and time, one that reaches the frames beside."""
    mixed = run.clone()
    mixed[1:-1] = 0.25 * run[:-2] + 0.5 * run[1:-1] + 0.25 * run[2:]
    return smooth(mixed, 0.7)


def gated(run):
    """A filter that depends on the run: smooth where neighbouring frames agree, the frame itself elsewhere."""
    flat = filtered(run)
    trust = torch.exp(-smooth(run - flat, 1.0).square())
    return trust * flat + (1 - trust) * run


def undone(noise, run):
    return torch.stack([noise.undone(frame, run[t - 1] if t else None) for t, frame in enumerate(run)])


@pytest.mark.parametrize("denoiser", [filtered, gated])
@pytest.mark.parametrize("kind", KINDS)
def test_the_estimated_error_is_the_true_one(kind, denoiser):
    noise, clean = noise_of(kind), truth()
    if noise.recursion:  # what the vendor's filter makes of the clean frames lags behind them
        lagged = [clean[0]]
        for frame in clean[1:]:
            lagged.append(torch.lerp(frame, lagged[-1], noise.recursion))
        lagged = torch.stack(lagged)
    else:
        lagged = clean
    run = lagged + torch.stack(list(noise.more(lagged, seed=1)))
    probe = torch.stack(list(noise.more(lagged, seed=2)))
    below, above = denoiser(run - STEP * probe), denoiser(run + STEP * probe)
    judged = slice(2, -1)
    parts = stein(*(frames[judged] for frames in (below, above, undone(noise, run), undone(noise, probe))), STEP)
    tiles = sum(tiled(part, 32) for part in parts)
    true = float((above - clean)[judged].square().mean())
    error = float(tiles.std()) / len(tiles) ** 0.5
    assert abs(float(tiles.mean()) - true) < 4 * error + 0.01 * noise.variance_undone
    assert float(tiles.mean()) == pytest.approx(float((denoiser(run) - clean)[judged].square().mean()), rel=0.15)


def test_recorruption_and_stein_agree_on_which_filter_is_better():
    noise, clean = noise_of("correlated"), truth()
    run = clean + torch.stack(list(noise.more(clean, seed=1)))
    step = 0.5
    probe = torch.stack(list(noise.more(clean, seed=2)))
    above = run + step * probe
    losses = {sigma: float(recorrupted(smooth(above, sigma), run, probe, step).mean()) for sigma in (0.5, 1.0, 3.0)}
    true = {sigma: float((smooth(above, sigma) - clean).square().mean()) for sigma in losses}
    assert min(losses, key=losses.get) == min(true, key=true.get)
    assert losses[3.0] - losses[1.0] == pytest.approx(true[3.0] - true[1.0], abs=0.05)


def test_a_network_gains_nothing_by_telling_perturbed_frames_from_others():
    """One that passes all of a frame's noise unless there is more of it than there should be, and then none: its error is 0
    on perturbed frames, and the pair says so; against the unperturbed frame the estimate would be far below it."""
    noise, clean = noise_of("white"), truth()
    run = clean + torch.stack(list(noise.more(clean, seed=1)))
    probe = torch.stack(list(noise.more(clean, seed=2)))

    step = 0.5

    def wary(frames):
        excess = (frames - clean).square().mean((1, 2), keepdim=True)
        return clean + (frames - clean) * (excess < 1 + step**2 / 2)

    below, above = wary(run - step * probe), wary(run + step * probe)
    true = float((above - clean).square().mean())
    assert true < 0.05
    assert float(sum(part.mean() for part in stein(below, above, run, probe, step))) == pytest.approx(true, abs=0.05)
    naive = (wary(run) - run).square().mean() - 1 + 2 * (probe * (above - wary(run))).mean() / step
    assert float(naive) < -0.5


@pytest.mark.parametrize("kind", KINDS)
def test_more_noise_has_the_variance_and_the_correlations_it_states(kind):
    noise = noise_of(kind, variances=(0.5, 2.0))
    frames = torch.full((30, 128, 128), 5.0)
    made = torch.stack(list(noise.more(frames, seed=3)))
    between = ((0.5**0.5 + 2.0**0.5) / 2) ** 2  # half way up the levels
    assert float(made.var()) == pytest.approx(between, rel=0.04)
    along = float((made[:, :, 1:] * made[:, :, :-1]).mean() / made.square().mean())
    in_time = float((made[1:] * made[:-1]).mean() / made.square().mean())
    assert along == pytest.approx(noise.correlation, abs=0.03)
    assert in_time == pytest.approx(noise.persistence, abs=0.03)
    once_more = undone(noise, made)[5:]
    assert float(once_more.var() / made.var()) == pytest.approx(noise.variance_undone, rel=0.05)


def test_a_vendors_filter_is_undone():
    noise = noise_of("recursed")
    went_in = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(0))
    came_out = [went_in[0]]
    for frame in went_in[1:]:
        came_out.append(torch.lerp(frame, came_out[-1], 0.45))
    torch.testing.assert_close(undone(noise, torch.stack(came_out)), went_in, atol=1e-5, rtol=1e-5)


def test_a_difference_is_believed_only_beyond_chance_and_a_quarter_of_the_risk():
    generator = torch.Generator().manual_seed(0)
    before = 1 + 0.5 * torch.rand(200, generator=generator)
    chance = 0.1 * torch.randn(200, generator=generator)
    better = Comparison.of(before, before - 0.4 + chance)
    assert better.is_better and better.difference == pytest.approx(-0.4, abs=3 * better.standard_error)
    assert better.gain_db == pytest.approx(10 * np.log10(better.before / better.after))
    assert not Comparison.of(before, before - 0.2 + chance).is_better, "far beyond chance, but a sixth of the risk"
    assert not Comparison.of(before, before + 0.1 * chance - 0.1 * chance.mean()).is_better
    assert not Comparison.of(before[:1], before[:1] - 1).is_better


def test_tiles_of_frames_smaller_than_one_are_the_frames():
    assert tiled(torch.ones(3, 20, 20), 64).shape == (3,)
    assert tiled(torch.ones(2, 130, 70), 64).shape == (4,)
    assert isinstance(stein(*(torch.zeros(1, 4, 4) for _ in range(4)), 0.1), Stein)
