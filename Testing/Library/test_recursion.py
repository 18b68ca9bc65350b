import itertools

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.evaluation.metrics import data_range, psnr
from FluoroDenoiseLib.evaluation.oracle import reference_scene
from FluoroDenoiseLib.motion import smooth
from FluoroDenoiseLib.noise import PoissonGaussian
from FluoroDenoiseLib.recursion import BothWaysRecursion, Recursion, frame_noise_variance, largest_near


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def panning_run(count=10, size=64, speed=1.5, seed=0):
    """(clean, noisy), both [count, size, size], stabilised: smooth anatomy that pans by `speed` pixels a frame."""
    width = size + int(speed * count) + 8
    row = torch.fft.rfft(smooth(noise(size, width, seed=seed), 3.0) * 60)
    phase = -2j * torch.pi * torch.fft.rfftfreq(width)
    clean = torch.stack([torch.fft.irfft(row * torch.exp(phase * speed * t), width)[:, -size:] for t in range(count)])
    return clean, clean + noise(count, size, size, seed=seed + 1)


def causal(recursion, frames):
    steps, state = [], None
    for frame in frames:
        step, state = recursion.step(frame, state)
        steps.append(step)
    return steps


def test_a_still_run_of_pure_noise_is_averaged():
    count = 8
    frames = 5 + noise(count, 96, 96)
    last = causal(Recursion(process_variance=0.0), frames)[-1]
    error = last.estimate - 5
    assert error.mean().abs() < 0.02
    assert error.var() < 1.3 / count
    assert last.variance.median() < 1.5 / count


def test_the_variance_is_that_of_the_error():
    clean, noisy = panning_run()
    steps = causal(Recursion(), noisy)[4:]
    error = torch.stack([step.estimate for step in steps]) - clean[4:]
    ratio = (error.square() / torch.stack([step.variance for step in steps]))[:, 8:-8, 16:-8].mean()
    assert 0.5 < ratio < 2.0


def test_the_prediction_does_not_hold_the_noise_of_its_frame():
    clean, noisy = panning_run()
    step = causal(Recursion(), noisy)[-1]
    here, there = noisy[-1] - clean[-1], step.prediction - clean[-1]
    assert (here * there).mean().abs() < 0.1 * there.square().mean().sqrt()


def test_nothing_known_is_said_by_the_largest_variance():
    recursion = Recursion(unknown_variance=9.0)
    step, _ = recursion.step(noise(32, 32), None)
    assert torch.equal(step.prediction_variance, torch.full((32, 32), 9.0))
    assert (torch.stack([s.prediction_variance for s in causal(recursion, 20 * noise(4, 32, 32))]) <= 9.0).all()


def test_an_object_that_appears_is_followed_at_once():
    frames = noise(12, 64, 64)
    frames[8:, 20:40, 20:40] += 4.0
    estimates = [step.estimate[22:38, 22:38].mean() for step in causal(Recursion(), frames)]
    assert estimates[7].abs() < 0.3
    assert estimates[8] > 3.2 and estimates[9] > 3.6


@pytest.mark.parametrize("width", [2, 15])
def test_what_vanishes_leaves_little_behind(width):
    """Of contrast 4, which anybody sees in a single frame, under the same noise with and without it."""
    shown, empty = noise(12, 64, 64), noise(12, 64, 64)
    shown[:8, 20:44, 30 : 30 + width] += 4.0
    steps = [causal(Recursion(), frames) for frames in (shown, empty)]
    ghosts = [(one.estimate - other.estimate)[22:42, 30 : 30 + width].mean() / 4 for one, other in zip(*steps)]
    assert ghosts[7] > 0.95
    assert abs(ghosts[8]) < 0.1 and abs(ghosts[11]) < 0.02


@pytest.mark.parametrize("speed", [3, 6])
def test_a_fast_thin_wire_leaves_no_trail(speed):
    frames = noise(8, 64, 64)
    for t, frame in enumerate(frames):
        frame[:, 4 + speed * t : 6 + speed * t] -= 4.0
    last = causal(Recursion(), frames)[-1].estimate.mean(0)
    assert last[4 + speed * 7 : 6 + speed * 7].mean() < -3.2
    assert last[4 + speed * 6 : 6 + speed * 6].mean() > -0.6


def test_a_flash_does_not_persist():
    frames = noise(8, 64, 64)
    frames[0] = 15 + 6 * frames[0]
    steps = causal(Recursion(), frames)
    assert steps[0].variance.mean() > 20
    assert steps[1].estimate.mean().abs() < 0.5
    assert steps[-1].estimate.var() < 0.3


def test_a_frame_as_noisy_as_the_stabiliser_says_counts_as_one():
    assert frame_noise_variance(smooth(noise(64, 64), 5.0) * 50 + noise(64, 64, seed=1)) == 1
    assert frame_noise_variance(4 * noise(64, 64)).item() == pytest.approx(16, rel=0.1)


def test_what_pans_into_the_image_is_not_claimed_to_be_known():
    _, noisy = panning_run(speed=6.0)
    step = causal(Recursion(), noisy)[-1]
    assert step.prediction_variance[:, :4].mean() > 4 * step.prediction_variance[:, 12:-12].mean()


@pytest.mark.parametrize("count, block, lookahead", [(1, 4, 2), (3, 4, 2), (6, 4, 2), (11, 4, 2), (5, 1, 0)])
def test_both_ways_gives_every_frame_once_and_holds_few(count, block, lookahead):
    frames = noise(count, 24, 24)
    run, given = BothWaysRecursion(Recursion(), block, lookahead), []
    for frame in frames:
        given += run.push(frame)
        assert len(run.held) < block + lookahead
    given += run.flush()
    assert not run.held
    assert torch.equal(torch.stack([step.frame for step in given]), frames)
    together = list(Recursion().both_ways(frames, block, lookahead))
    for one, other in zip(given, together):
        assert all(torch.equal(a, b) for a, b in itertools.zip_longest(one, other))


def test_a_frame_does_not_change_when_frames_beyond_its_lookahead_do():
    _, first = panning_run(count=9, size=32)
    second = first.clone()
    second[6:] += 10
    one, other = (list(Recursion().both_ways(run, block=4, lookahead=2)) for run in (first, second))
    assert all(torch.equal(a, b) for t in range(4) for a, b in zip(one[t], other[t]))


def test_the_future_predicts_without_the_past_and_the_present():
    _, noisy = panning_run(count=6, size=32)
    changed = noisy.clone()
    changed[:2] = 0
    one, other = (list(Recursion().both_ways(run))[2] for run in (noisy, changed))
    assert torch.equal(one.backward, other.backward) and not torch.equal(one.forward, other.forward)


def test_the_last_frame_has_no_future_and_is_the_causal_one():
    _, noisy = panning_run(count=5, size=32)
    last = list(Recursion().both_ways(noisy))[-1]
    assert torch.equal(last.backward_variance, torch.full((32, 32), Recursion().unknown_variance))
    assert torch.allclose(last.estimate, causal(Recursion(), noisy)[-1].estimate, atol=1e-5)


def test_a_change_of_size_is_refused():
    _, state = Recursion().step(noise(16, 16), None)
    with pytest.raises(ValueError, match="16x16"):
        Recursion().step(noise(16, 20), state)


def test_the_reference_scene_reaches_its_numbers():
    scene = reference_scene()
    law = PoissonGaussian(gain=1.0, pedestal=0.0, read_noise=2.0)
    frames = law.stabilise(torch.from_numpy(scene.noisy.astype(np.float32)))
    steps = list(Recursion().both_ways(frames, block=16, lookahead=8))
    judged, span = slice(2, 18), data_range(scene.clean)

    def decibels(estimates):
        return psnr(law.unstabilise(torch.stack(estimates)).numpy()[judged], scene.clean[judged], span)

    assert decibels([step.estimate for step in causal(Recursion(), frames)]) > 32.4
    assert decibels([step.estimate for step in steps]) > 35.3


def test_a_step_does_not_depend_on_the_blocks_it_is_made_in(monkeypatch):
    _, noisy = panning_run(count=4)
    expected = causal(Recursion(), noisy)[-1]
    monkeypatch.setattr("FluoroDenoiseLib.motion.CACHED_PIXELS", 64 * 10)
    for one, another in zip(causal(Recursion(), noisy)[-1], expected):
        assert torch.allclose(one, another, atol=1e-3)


@pytest.mark.parametrize("size, reach", [((9, 33), 3), ((3, 2), 3), ((16, 16), 1), ((5, 7), 0)])
def test_the_largest_near_is_that_of_max_pooling(size, reach):
    values = noise(*size).square()
    pooled = torch.nn.functional.max_pool2d(values[None, None], 2 * reach + 1, 1, reach)[0, 0]
    assert torch.equal(largest_near(values, reach), pooled)
