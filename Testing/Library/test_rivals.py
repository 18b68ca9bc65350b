import math

import numpy as np
import pytest

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.metrics import psnr
from FluoroDenoiseLib.evaluation.report import evaluate, left_out
from FluoroDenoiseLib.evaluation.rivals import FEW, RIVALS, Rival, best_setting, climb, recursive_filter, timed
from FluoroDenoiseLib.evaluation.rows import Row, beside_equals, efficiency_table, read_rows, summarise, table, write_rows
from FluoroDenoiseLib.evaluation.scenes import EvaluationScene, evaluation_scenes, still_scene
from FluoroDenoiseLib.evaluation.temporal_filters import variance_conditioned_average
from FluoroDenoiseLib.evaluation.working_memory import WorkingMemory
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

LAW = NoiseEstimate(PoissonGaussian(2.0, 10.0, 3.0), 0.0, 0.0)
CPU = choose("cpu")


@pytest.fixture
def scene():
    """A still wave with a dark line across it, and noise of LAW."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:48, :48]
    without = np.broadcast_to(150 + 60 * np.sin(row / 8) * np.cos(column / 9), (6, 48, 48)).copy()
    clean = without.copy()
    clean[:, :, 20:22] *= 0.8
    noisy = 10 + 2 * rng.poisson((clean - 10) / 2) + 3 * rng.standard_normal(clean.shape)
    near = np.zeros(clean.shape, bool)
    near[:, :, 16:26] = True
    return EvaluationScene("wave", 0, noisy, clean, without, near, LAW)


@pytest.mark.parametrize("rival", [pytest.param(rival, id=rival.name, marks=[pytest.mark.slow] if rival.costly else []) for rival in RIVALS[1:]])
def test_every_rival_improves_a_still_scene_and_keeps_its_mean(rival, scene):
    if rival.missing:
        pytest.skip(rival.missing)
    result = timed(rival, scene.noisy[:3], LAW, rival.settings[0])
    assert result.estimate.shape == (3, 48, 48) and result.cpu_s >= 0
    assert psnr(result.estimate, scene.clean[:3], scene.span) > psnr(scene.noisy[:3], scene.clean[:3], scene.span) + 0.5
    assert abs(result.estimate.mean() - scene.clean[:3].mean()) < 1.5


def test_the_recursive_filter_is_its_recursion():
    noisy = np.random.default_rng(1).random((4, 2, 2)).astype(np.float32)
    filtered = recursive_filter(noisy, LAW, 0.2)
    assert np.allclose(filtered[3], 0.2 * noisy[3] + 0.8 * filtered[2])


def test_a_rival_without_its_package_is_left_out_with_a_sentence(scene):
    absent = Rival("magic", (1.0,), "", recursive_filter, needs="no_such_package")
    assert list(evaluate([], [scene], CPU, rivals=[absent])) == []
    assert left_out([absent]) == ("magic is left out: the Python package no_such_package is not installed.",)


def test_a_rival_is_judged_with_its_best_setting(scene):
    rival = Rival("recursive", (1.0, 0.1, 0.3), "weight", recursive_filter, frame_by_frame=False)
    rows = list(evaluate([], [scene], CPU, noise="true", rivals=[rival, RIVALS[0]]))
    assert rows[0].setting in ("0.1 weight", "0.3 weight") and rows[0].psnr > rows[1].psnr + 2
    assert rows[1].contrast == pytest.approx(1, abs=0.1) and rows[0].sigma_ratio == 1


def test_all_methods_are_told_the_same_noise(scene):
    told = []
    spy = Rival("spy", (0.0,), "", lambda noisy, noise, _: told.append(noise) or noisy)
    list(evaluate([], [scene], CPU, rivals=[spy, spy]))
    assert told[0] == told[1] and told[0] != LAW


def test_our_models_are_judged_like_the_rest(scene):
    class Centre:
        radius, guides = 1, "none"

        def __call__(self, windows, guides=None):
            return windows[:, 1]

    model = Model(Centre(), card={}, name="does nothing", sha256="")
    noisy, ours = evaluate([model], [scene], CPU, rivals=RIVALS[:1])
    assert ours.method == "does nothing" and ours.psnr == pytest.approx(noisy.psnr, abs=0.2)


def test_ceilings_come_after_the_methods(scene):
    clear = EvaluationScene("wave", 0, scene.noisy, scene.clean, scene.without_tools, scene.near, LAW,
                            lambda: iter([("truth", scene.clean[scene.judged])]))  # fmt: skip
    rows = list(evaluate([], [clear], CPU, rivals=RIVALS[:1]))
    assert [row.method for row in rows] == ["noisy", "truth"] and rows[1].contrast == pytest.approx(1)


def test_the_report_holds_every_row_and_the_means_of_the_seeds(tmp_path):
    rows = [Row("q8", seed, "ours", "", 30.0 + seed, math.nan, math.nan, 0.9, 0.1, 1.0) for seed in (0, 2)]
    summary = summarise(rows)
    assert len(summary) == 1 and summary[0].psnr == 31 and summary[0].psnr_spread == 1 and summary[0].seeds == 2
    assert "31.00 (1.00)" in table(summary) and "nan" not in table(summary)
    write_rows(rows, tmp_path / "new", ["BM3D is left out."])
    assert "BM3D is left out." in (tmp_path / "new" / "table.md").read_text()
    assert len((tmp_path / "new" / "rows.csv").read_text().splitlines()) == 3
    assert "NaN" not in (tmp_path / "new" / "rows.json").read_text()


def test_nvca_averages_what_its_noise_explains_and_nothing_else():
    law = NoiseEstimate(PoissonGaussian(0.0, 0.0, 1.0), 0.0, 0.0)
    frames = np.zeros((5, 7, 7), np.float32)
    frames[2, 3, 3], frames[1, 3, 4], frames[3, 2, 3] = 5.0, 6.5, 8.0  # 1.5 sigma and 3 sigma from the pixel, all else 5
    filtered = variance_conditioned_average(frames, law, 2.0)
    assert filtered[2, 3, 3] == pytest.approx((5.0 + 6.5) / 2)
    assert filtered[2, 0, 0] == 0


def test_nvca_expects_more_noise_where_it_is_brighter():
    law = NoiseEstimate(PoissonGaussian(1.0, 0.0, 0.0), 0.0, 0.0)
    for grey, kept in ((4.0, False), (100.0, True)):
        frames = np.full((1, 5, 5), grey, np.float32)
        frames[0, 2, 3] += 6
        assert (variance_conditioned_average(frames, law, 1.0)[0, 2, 1] > grey) == kept


@pytest.mark.parametrize("best", range(6))
def test_climbing_finds_the_top_of_one_hill_without_trying_all(best):
    tried = []
    assert climb((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), lambda setting: tried.append(setting) or -abs(setting - 1 - best)) == best + 1
    assert len(tried) == len(set(tried)) <= 6 and (best != 3 or len(tried) == 3)


def test_a_costly_rival_is_judged_on_few_frames_in_the_middle(scene):
    sizes = []
    costly = Rival("slow", (1.0, 2.0, 3.0), "", lambda noisy, noise, _: sizes.append(noisy.shape) or noisy, costly=True)
    row = next(evaluate([], [scene], CPU, rivals=[costly]))
    assert row.frames == FEW and sizes[-1][0] == FEW and all(size[0] == 1 for size in sizes[:-1])


def test_a_rival_with_a_window_is_tried_on_the_middle_of_few_frames(scene):
    seen = []
    windowed = Rival("window", (1.0, 2.0), "", lambda noisy, noise, _: seen.append(noisy.shape) or noisy, frame_by_frame=False, reach=1)
    assert best_setting(windowed, scene, LAW) in windowed.settings and seen == [(3, 24, 24)] * 2


def test_without_a_truth_only_niqe_is_told_and_rivals_take_their_middle_setting():
    noisy = np.random.default_rng(0).normal(100, 10, (3, 70, 70))
    unknown = EvaluationScene("clinic", 0, noisy, None, None, np.zeros(noisy.shape, bool), None)
    rival = Rival("recursive", (0.1, 0.3, 0.6), "weight", recursive_filter, frame_by_frame=False)
    row = next(evaluate([], [unknown], CPU, rivals=[rival]))
    assert row.setting == "0.3 weight" and math.isnan(row.psnr) and row.niqe > 0
    assert "clinic" in table(summarise([row])) and "nan" not in table(summarise([row]))


def test_late_frames_are_also_judged_by_themselves_and_near_tools(scene):
    whole = np.concatenate([scene.clean, scene.clean, scene.clean[:3]])  # 15 frames: judged are 2 to 12, late 10 to 12
    near, wrong = np.zeros(whole.shape, bool), np.full(whole.shape, 4.0)
    near[:, :, 16:26] = True
    wrong[10:], wrong[10:, :, 16:26] = 2.0, 1.0
    long = EvaluationScene("wave", 0, whole + wrong, whole, whole, near, LAW)
    row = next(evaluate([], [long], CPU, rivals=[RIVALS[0]], noise="true"))
    decibels = lambda error: 20 * math.log10(long.span) - 10 * math.log10(error)
    assert row.psnr_near_late == pytest.approx(decibels(1)) and row.psnr_near == pytest.approx(decibels((8 * 16 + 3) / 11))
    assert row.psnr_late == pytest.approx(decibels((38 * 4 + 10) / 48))


def test_efficiency_is_the_share_of_what_the_oracle_reaches():
    known = dict(setting="", psnr_near=1.0, contrast=1.0, ssim=1.0, cpu_s=0.1, sigma_ratio=1.0, frames=16)
    levels = {"ours": (37.0, 38.0), "oracle, past frames": (41.0, 41.0), "oracle, all frames": (40.0, 42.0),
              "oracle, past frames, tool known": (42.0, 42.0), "oracle, all frames, tool known": (47.0, 47.0)}
    ours, past, best, *_ = found = summarise([Row("reference", 0, name, psnr=psnr, psnr_late=late, **known) for name, (psnr, late) in levels.items()])
    assert ours.efficiency == pytest.approx(10**-0.3) and ours.efficiency_causal == pytest.approx(10**-0.3)
    assert ours.efficiency_given == pytest.approx(0.1) and ours.efficiency_causal_given == pytest.approx(10**-0.4)
    assert best.efficiency == past.efficiency_causal == 1 and math.isnan(past.efficiency)
    assert "0.50" in efficiency_table(found)


def test_a_mean_over_fewer_seeds_stands_beside_our_own_over_the_same():
    def row(method, seed, psnr, weights=""):
        return Row("q8", seed, method, "", psnr, 1.0, 1.0, 0.9, 0.1, 1.0, weights=weights)

    rows = [row("noisy", 0, 10.0), row("noisy", 1, 20.0), row("BM3D", 0, 15.0), row("ours", 0, 16.0, "abc"), row("ours", 1, 26.0, "abc")]
    found = {one.method: one.psnr for one in summarise(beside_equals(rows))}
    assert found == {"noisy": 15.0, "ours": 21.0, "BM3D, seed 0": 15.0, "ours, seed 0": 16.0}
    assert beside_equals(rows[:2]) == rows[:2]


def test_what_was_not_measured_takes_no_column():
    row = Row("still", 0, "ours", "", 30.0, math.nan, math.nan, 0.9, 0.1, 1.0)
    assert "near tool" not in table(summarise([row])) and "SSIM" in table(summarise([row]))


def test_working_memory_is_what_a_computation_holds_at_most():
    with WorkingMemory() as memory:
        np.ones(10_000_000).sum()
    if math.isnan(memory.peak_mb):
        pytest.skip("this system does not count the peak of a process")
    assert 75 < memory.peak_mb < 200
    with WorkingMemory() as memory:
        pass
    assert memory.peak_mb < 20


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [Row("q8", 0, "ours", "", 30.0, math.nan, math.nan, 0.9, 0.1, 1.0, weights="abc")]
    write_rows(rows, tmp_path)
    assert str(read_rows(tmp_path)) == str(rows) and read_rows(tmp_path / "none") == []
    (tmp_path / "rows.json").write_text('[{"what": 1}]')
    with pytest.raises(InputError, match="rows.json"):
        read_rows(tmp_path)


def test_simulated_scenes_can_be_made_again():
    first, second = (next(evaluation_scenes(["q30"], seeds=1, size=64, frames=5)) for _ in range(2))
    assert np.array_equal(first.noisy, second.noisy) and first.near.any()
    assert first.noise("true").model.gain > 0
    with pytest.raises(InputError, match="not known"):
        next(evaluation_scenes(["moon"]))


def test_a_still_run_is_judged_by_its_reference_without_its_drift():
    truth = np.linspace(100.0, 200.0, 400).reshape(20, 20)
    scene = still_scene(np.stack([truth, 1.1 * truth]), truth)
    assert psnr(scene.noisy, scene.clean, scene.span) > 150
    with pytest.raises(InputError, match="true noise"):
        scene.noise("true")
