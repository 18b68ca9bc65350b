"""Every measure of the safety report on cases whose answer is known."""

import dataclasses
import math

import numpy as np
import pytest

from FluoroDenoiseLib.evaluation import (
    safety_bias, safety_detectors, safety_flat, safety_lag, safety_observer, safety_residual, safety_sharpness,
)
from FluoroDenoiseLib.evaluation.rivals import gaussian, recursive_filter
from FluoroDenoiseLib.evaluation.safety import QUICK, measure
from FluoroDenoiseLib.evaluation.safety_contrast import COMMON, kept
from FluoroDenoiseLib.evaluation.safety_figures import round_ticks
from FluoroDenoiseLib.evaluation.safety_inserts import bar, cells, disc
from FluoroDenoiseLib.evaluation.safety_page import page
from FluoroDenoiseLib.evaluation.safety_rows import REQUIRED, SafetyReport, in_digits
from FluoroDenoiseLib.evaluation.safety_stage import Trials, anatomy_stage, flat_stage


def identity(frames, noise, strength=1.0):
    return np.asarray(frames, np.float32)


def recursive(weight):
    return lambda frames, noise: recursive_filter(frames, noise, weight)


@pytest.fixture(scope="module")
def runs():
    return safety_bias.moving_runs(1, (40.0,))


@pytest.fixture(scope="module")
def identity_sections():
    small = dataclasses.replace(QUICK, doses=(40.0,), lag=1, speeds=(0, 4), flat=3)
    return {section.check: section for section in measure(identity, None, small)}


def judged(section):
    return {row.name: row.passed for row in section.rows}


def found(section, name):
    return next(row.value for row in section.rows if row.name == name)


def test_frames_that_come_back_as_they_were_pass_all_that_is_required(identity_sections):
    assert set(REQUIRED) <= set(identity_sections)
    for check in (*REQUIRED, "B11"):
        assert identity_sections[check].passed, judged(identity_sections[check])


def test_an_object_has_the_contrast_asked_for():
    for stage in (flat_stage(64, 64), anatomy_stage(64, 64)):
        for shape in (disc(stage.size, 32, 32, 9), bar(stage.size, 32, 32, 2, 20)):
            clean, empty = (stage.clean(what[None])[0] for what in (stage.attenuation_of(shape, 2.0), stage.nothing(1)[0]))
            assert ((empty - clean) / np.sqrt(stage.law.variance(empty))).max() == pytest.approx(2.0, abs=0.02)
    with pytest.raises(ValueError, match="more quanta"):
        flat_stage(64, 64, quanta=5.0).attenuation_of(disc((64, 64), 32, 32, 9), 4.0)


def test_the_noise_of_a_stage_has_its_law_and_its_correlation():
    stage = flat_stage(96, 96)
    empty = stage.clean(stage.nothing(8))
    unit = (stage.noisy(empty, 3) - empty) / np.sqrt(stage.law.variance(empty))
    assert unit.std() == pytest.approx(1, abs=0.03)
    assert (unit[..., 1:] * unit[..., :-1]).mean() == pytest.approx(stage.correlation, abs=0.03)


def test_what_is_left_of_an_object_is_what_was_left_of_it():
    trials = Trials(flat_stage(144, 192), lambda frames, noise: 0.7 * frames, 6, [0])
    shares, _ = kept(trials, COMMON, 2.0)
    assert shares == pytest.approx(0.7, abs=0.06)  # the noise under an object is weaker, which does not cancel
    assert np.mean(shares) == pytest.approx(0.7, abs=0.01)


def test_a_recursive_filter_has_the_lag_that_it_must_have():
    section, ghosts = safety_lag.lag_sections(recursive(0.4), [0], stage=flat_stage(*safety_lag.field(1)))
    assert found(section, "disc 15 px, contrast 4: lag, frame 1") == pytest.approx(60, abs=2)
    assert found(section, "lag, frame 3 after the step") == pytest.approx(100 * 0.6**3, abs=3)
    assert found(section, "lag, frame 1 before the step") == pytest.approx(0, abs=1e-3)
    assert found(section, "amplitude of a single-frame event") == pytest.approx(0.4, abs=0.03)
    assert found(ghosts, "ghost after 1 frame") == pytest.approx(60, abs=3)
    assert found(ghosts, "ghost after 10 frames") == pytest.approx(100 * 0.6**10, abs=0.2)
    assert not section.passed


def test_a_lag_at_one_of_two_places_is_half_a_lag():
    stage = flat_stage(*safety_lag.field(2))
    names = [thing.name for thing in safety_lag.placed(2)]
    again = names.index("disc 15 px, contrast 4", 1)
    places = cells(stage.size, safety_lag.CELL)

    def restore(frames, noise):
        out = frames.copy()
        for index in (again, again + len(names)):  # where the disc is for the second time, vanishing and coming
            spot = (slice(None), *places[index][2])
            out[spot] = recursive(0.4)(frames, noise)[spot]
        return out

    section, ghosts = safety_lag.lag_sections(restore, [0], 2, stage)
    assert found(section, "disc 15 px, contrast 4: lag, frame 1") == pytest.approx(30, abs=1)
    assert found(section, "wire 2 px, contrast 4: lag, frame 1") == pytest.approx(0, abs=1e-3)
    assert found(ghosts, "ghost after 1 frame") == pytest.approx(30, abs=1.5)


def test_looking_ahead_is_seen_before_the_step():
    ahead = lambda frames, noise: (frames + np.concatenate([frames[1:], frames[-1:]])) / 2
    section, _ = safety_lag.lag_sections(ahead, [0], stage=flat_stage(*safety_lag.field(1)))
    assert found(section, "lag, frame 1 before the step") == pytest.approx(50, abs=3)
    assert found(section, "lag, frame 1 after the step") == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.8, 1.5])
def test_the_transfer_function_of_a_gaussian_blur_is_its_formula(sigma):
    x = np.arange(-safety_sharpness.REACH_PX + 0.125, safety_sharpness.REACH_PX, safety_sharpness.BIN_PX)
    step = np.array([0.5 * (1 + math.erf(at / (sigma * math.sqrt(2)))) for at in x])
    frequency, response = safety_sharpness.transfer(x, safety_sharpness.line_spread(x, step))
    total = sigma**2 + safety_sharpness.SMOOTHING_PX**2
    assert response == pytest.approx(np.exp(-2 * math.pi**2 * total * frequency**2), abs=0.02)
    assert safety_sharpness.half_frequency(frequency, response) == pytest.approx(math.sqrt(math.log(2) / (2 * math.pi**2 * total)), rel=0.03)


def test_a_blurred_edge_is_as_much_wider_as_the_blur_says():
    section = safety_sharpness.motion_section(lambda frames, noise: gaussian(frames, noise, 1.0), [0], (0, 8))
    plain = safety_sharpness.motion_section(identity, [0], (0, 8))
    assert plain.passed and not section.passed
    assert found(section, "width of the edge at 8 px a frame") == pytest.approx(found(section, "width of the edge at 0 px a frame"), rel=0.02)
    # Expected edge and wire: 2.0 and 2.6 px wide after focal spot and detector; the blur adds 2.355 in squares.
    assert 1.4 < found(section, "width of the edge at 0 px a frame") < 1.9
    assert 1.2 < found(section, "width of the wire at 0 px a frame") < 1.6


def test_smearing_over_frames_widens_what_moves_only():
    section = safety_sharpness.motion_section(recursive(0.5), [0], (0, 2))
    assert found(section, "width of the wire at 0 px a frame") < 1.02 < 1.1 < found(section, "width of the wire at 2 px a frame")


def test_grey_values_that_shift_are_a_bias(runs):
    shifted = [run.noisy + 0.01 * np.ptp(run.clean) for run in runs]
    mean, deciles = safety_bias.bias_sections(runs, shifted)
    assert not mean.passed and not deciles.passed
    pressed = [run.clean.mean() + 0.98 * (run.noisy - run.clean.mean()) for run in runs]
    _, deciles = safety_bias.bias_sections(runs, pressed)
    assert found(deciles, "slope of found on true grey at 40 quanta") == pytest.approx(0.98, abs=0.002) and not deciles.passed
    assert all(section.passed for section in safety_bias.bias_sections(runs, [run.clean for run in runs]))


def test_pictures_without_noise_are_not_to_be_smoothed(runs):
    smooth = safety_bias.noise_free_section(lambda frames, noise: gaussian(frames, noise, 2.0), runs[0])
    assert found(smooth, "moving anatomy: 99.9th percentile") > 0.5 and not smooth.passed


def test_a_block_of_correlated_noise_has_the_mean_it_must_have():
    stage = flat_stage(160, 160)
    unit = (stage.noisy(empty := stage.clean(stage.nothing(12)), 1) - empty) / np.sqrt(stage.law.variance(empty))
    # The quantum part of the noise is blurred by the detector as the stage's noise is.
    assert safety_residual.blocks(unit).std() == pytest.approx(safety_residual.block_sigma(stage.correlation), rel=0.06)


def test_what_a_blur_takes_from_edges_is_seen(runs):
    truth = safety_residual.residual_section(runs, [run.clean for run in runs])
    assert truth.passed
    blurred = safety_residual.residual_section(runs, [gaussian(run.clean, None, 4.0) for run in runs])
    assert not blurred.passed
    greedy = safety_residual.residual_section(runs, [run.clean - 0.3 * (run.noisy - run.clean) for run in runs])
    assert found(greedy, "variance over the noise's at 40 quanta") == pytest.approx(1.69, abs=0.01)


@pytest.mark.parametrize("kind, faint", [("disc", 0.8), ("wire", 1.6)])
def test_structures_that_are_invented_are_counted(kind, faint):
    stage = flat_stage(144, 144)
    empty = stage.clean(stage.nothing(1))[0]
    sigma, rng = math.sqrt(stage.law.variance(float(empty.mean()))), np.random.default_rng(0)
    invented = sum(disc(stage.size, *rng.uniform(10, 134, 2), 5) if kind == "disc" else bar(stage.size, *rng.uniform(10, 134, 2), 2, 30, rng.uniform(0, 3))
                   for _ in range(14))[16:-16, 16:-16]
    section = lambda strength: safety_flat.invention_section(
        Trials(stage, lambda frames, noise: np.broadcast_to(empty - strength * sigma * invented, frames.shape), 12, range(2)))
    for strength in (faint, 4.0):
        assert not section(strength).passed, strength
    assert section(0.0).passed


def test_a_detector_measures_the_contrast_of_its_own_kind():
    stage = flat_stage(96, 96)
    empty = stage.clean(stage.nothing(1))[0]
    for detector, shape in ((safety_detectors.blob_detector(), disc(stage.size, 40, 50, 5)),
                            (safety_detectors.line_detector(), bar(stage.size, 40, 50, 2, 26, np.pi / 4))):
        shown = stage.clean(stage.attenuation_of(shape, 2.0)[None])[0]
        assert detector.everywhere(shown) / detector.of_contrast_1(stage) == pytest.approx(2.0, rel=0.1)
        assert np.abs(detector.at(np.full((1, 96, 96), 700.0))).max() < 1e-9
        noise = np.stack([stage.noisy(empty[None], seed)[0] for seed in range(40)])
        found = safety_detectors.false_structures(detector, noise, noise, stage)
        assert found.used_to <= found.same == found.input <= found.allowed * found.looks


def test_a_rate_is_bounded_as_wilson_says():
    assert safety_detectors.upper_bound(10, 10_000) == pytest.approx(0.001672, abs=1e-6)
    assert safety_detectors.upper_bound(0, 1000) == pytest.approx(1.645**2 / (1000 + 1.645**2), rel=1e-6)


def test_white_noise_has_the_mean_frequency_of_all_frequencies_and_no_line():
    frames = np.random.default_rng(0).normal(size=(30, 96, 96))
    power = safety_flat.spectrum(frames)
    assert power.mean() == pytest.approx(1, rel=0.02)
    assert safety_flat.mean_frequency(power) == pytest.approx(safety_flat.radius().mean(), rel=0.01)
    assert safety_flat.strongest_line(power) < 5
    frames[:, ::4, ::4] += 1.0  # the grid of a network's strides
    assert safety_flat.strongest_line(safety_flat.spectrum(frames)) > 10


def test_detectability_is_that_of_the_formula():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    signal = np.array([1.0, 0.5, 0.0, -0.5])
    absent, present = (rng.normal(size=(20_000, 4)) @ mixing.T + shift for shift in (0, signal))
    expected = math.sqrt(signal @ np.linalg.solve(mixing @ mixing.T, signal))
    assert safety_observer.detectability(present, absent) == pytest.approx(expected, rel=0.02)


def test_the_observer_sees_a_gaussian_in_white_noise_as_well_as_can_be():
    width, rng = 8.0, np.random.default_rng(1)
    y, x = np.mgrid[-16:16, -16:16]
    signal = np.exp(-math.pi * (x**2 + y**2) / width**2)
    channels = safety_observer.laguerre_gauss(width)
    absent, present = (rng.normal(size=(4000, 1024)) @ channels.T + shift for shift in (0, signal.ravel() @ channels.T))
    assert safety_observer.detectability(present, absent) == pytest.approx(math.sqrt((signal**2).sum()), rel=0.05)


def test_the_observer_loses_nothing_to_the_identity_and_much_to_added_noise():
    def noisier(frames, noise):
        return frames + np.random.default_rng(int(frames[0, 0, 0])).normal(0, 2 * frames.std(), frames.shape)

    stage = flat_stage(192, 192)
    plain, worse = (safety_observer.observer_section(Trials(stage, restore, 12, range(3))) for restore in (identity, noisier))
    assert plain.passed and all(row.value == pytest.approx(1) for row in plain.rows)
    assert not any(row.passed for row in worse.rows)


def test_the_ticks_of_an_axis_are_round():
    assert round_ticks(4.2, 68.2) == [10, 20, 30, 40, 50, 60]
    assert round_ticks(0.0, 0.5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    for low, high in ((-3.1, 7.2), (0.93, 1.08), (10, 100)):
        assert 4 <= len(round_ticks(low, high)) <= 9


def test_the_page_stands_alone_and_names_what_fails(identity_sections):
    report = SafetyReport("stub", "0" * 64, "quick", tuple(identity_sections.values()))
    made = page(report, "Computed nowhere.")
    assert report.passed and "Passes" in made
    assert "<script" not in made and "http" not in made.replace("http-equiv", "") and "prefers-color-scheme" in made
    failing = dataclasses.replace(identity_sections["B7"].rows[0], passed=False, name="lag of <all>")
    sections = [dataclasses.replace(identity_sections["B7"], rows=(failing,)), identity_sections["B11"]]
    failed = SafetyReport("stub", "0" * 64, "quick", tuple(sections))
    assert not failed.passed and "lag of &lt;all&gt;" in page(failed, "")
    assert failed.verdict()["checks"] == {"B7": False, "B11": True} and len(failed.verdict()["failed"]) == 1


@pytest.mark.parametrize("value, text", [(1.10195, "1.102"), (1.10004, "1.10004"), (1.1, "1.1"), (1.13, "1.13"), (0.58515, "0.585"), (0, "0")])
def test_a_value_does_not_read_like_the_limit_that_it_misses(value, text):
    assert in_digits(value, "1.1 times the input's or less") == text
