import json
from math import isnan, nan

import pytest
import torch

from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.compute import choose, describe
from FluoroDenoiseLib.evaluation.benchmark import Contestant, Reading, Timing, growth, in_turns, noisy_run, preset
from FluoroDenoiseLib.evaluation.benchmark_course import Growth, Outcome, Plan, run
from FluoroDenoiseLib.evaluation.benchmark_limits import Rates, Work, count_work
from FluoroDenoiseLib.evaluation.benchmark_precision import Departure, departures
from FluoroDenoiseLib.evaluation.benchmark_report import as_plain, draw, growth_table, precision_table, remarks, table, write_report
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.networks.refiner import RefinerUNet
from FluoroDenoiseLib.tiling import Tiled

CPU = choose("cpu")
GPUS = [one["device"] for one in describe() if one["usable"] and one["device"] != "cpu"]


def small_model(guides="causal"):
    return Model(Tiled(RefinerUNet(0, guides, (8, 12), 1).eval().requires_grad_(False)), {}, "small", "0")


def timed(seconds, name="small", batch=1, side=64, waits=()):
    contestant = Contestant(name, "cpu", "float32", side, lambda: None, batch)
    return Timing(contestant, tuple(Reading(2, one, one, waits) for one in seconds), nan)


def test_all_take_turns_and_none_goes_twice_in_a_row():
    order = []

    def named(name):
        return Contestant(name, "cpu", "float32", 8, lambda: order.append(name) or Reading(1, 1.0, 1.0))

    timings = list(in_turns([named("A"), named("B")], 3, CPU))
    assert order == ["A", "B"] + ["A", "B"] * 3  # the first turn of each warms up
    assert [len(one.readings) for one in timings] == [3, 3]


def test_ratios_are_taken_turn_by_turn():
    slowing = timed([2.0, 4.0, 8.0]), timed([20.0, 40.0, 80.0], "BM3D", None)
    assert slowing[0].times_faster_than(slowing[1]) == pytest.approx(10)
    assert slowing[0].seconds_a_frame == pytest.approx(2)


def test_waits_are_told_only_where_frames_go_one_by_one():
    assert timed([1.0], waits=(0.1, 0.2, 0.3)).wait_ms(50) == pytest.approx(200)
    assert isnan(timed([1.0], batch=8).wait_ms(95))


def test_every_frame_that_is_handed_over_comes_back_and_is_timed():
    for guides, batch in (("causal", 1), ("both", 1), ("both", 8)):
        reading = preset(small_model(guides), CPU, 32, 5, batch).turn()
        assert reading.frames == 5 and len(reading.waits_s) == (5 if batch == 1 else 0)
        assert all(wait > 0 for wait in reading.waits_s)


def test_the_growth_of_a_power_is_its_exponent():
    assert growth([1, 4, 16], [3, 12, 48]) == pytest.approx(1)
    assert growth([1, 4, 16], [1, 16, 256]) == pytest.approx(2)


def test_the_run_is_the_same_every_time_and_moves():
    assert (noisy_run(32, 3) == noisy_run(32, 3)).all()
    assert noisy_run(32, 3).shape == (3, 32, 32)


def test_the_work_of_a_convolution_is_counted_by_hand():
    class OneConvolution:
        radius, guides = 0, "none"

        def __call__(self, windows, guides=None):
            return torch.nn.functional.conv2d(windows, torch.ones(1, 1, 3, 3), padding=1)[:, 0]

    model = Model(Tiled(OneConvolution()), {}, "one", "0")
    work = count_work(model, CPU, 32, 2)
    assert work.flops == 2 * 9 * 32 * 32
    assert work.bytes >= 2 * 32 * 32 * 4  # at least the frame in and out


def test_the_work_grows_with_the_pixels():
    small, large = (count_work(small_model(), CPU, side, 3) for side in (64, 128))
    assert large.flops == pytest.approx(4 * small.flops, rel=0.01)


def test_the_limit_is_the_time_at_the_rates_of_the_machine():
    assert Work(3e9, 4e9).limit_s(Rates(flops=1e9, bytes=2e9)) == pytest.approx(5)


def outcome():
    plan = Plan(("small",), (64,), (1, 8), 2, 2)
    result = Outcome(plan, {"cpu": "a processor"}, [timed([2.0, 2.0]), timed([40.0, 40.0], "BM3D", None)])
    result.rates["cpu"] = Rates(1e11, 1e10)
    result.work["small", "cpu", 64] = Work(0.5e11, 0.0)
    result.departures = [Departure("small", "cpu", "float16", 0.25, 0.01, 1.5), Departure("small", "cpu", "bfloat16", 2.0, 0.2, 2.0)]
    result.growths = [Growth("small", "cpu", 1.02, 0.98), Growth("BM3D", "cpu", 1.9)]
    return result


def test_the_table_tells_ratios_and_the_share_of_the_limit():
    ours, rival = table(outcome()).splitlines()[2:]
    assert "20 times" in ours and "50 %" in ours
    assert "BM3D" in rival and "1 times" in rival
    small, quadratic = growth_table(outcome()).splitlines()[2:]
    harmless, not_so = precision_table(outcome()).splitlines()[2:]
    assert " yes " in harmless and " no " in not_so
    assert "^1.02" in small and "linear or better" in small and "more than linear" in quadratic


def test_a_report_is_four_files_and_its_json_holds_no_nan(tmp_path):
    write_report(outcome(), tmp_path, "fluorodenoise benchmark --out speed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark.json", "benchmark.md", "benchmark.png", "section.md"]
    plain = json.loads((tmp_path / "benchmark.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert plain == json.loads(json.dumps(as_plain(outcome())))
    assert plain["rows"][0]["times_faster_than"] == {"BM3D": 20.0}
    assert "fluorodenoise benchmark --out speed" in (tmp_path / "section.md").read_text()
    assert draw(outcome()).size[0] > 100 and remarks(outcome())


def test_fewer_digits_are_told_by_how_far_they_depart(monkeypatch):
    monkeypatch.setattr("FluoroDenoiseLib.evaluation.benchmark_precision.SIDE", 64)
    torch.manual_seed(0)
    model = small_model()
    torch.nn.init.normal_(model.restorer.restorer.head.weight, std=0.05)
    half, brain = sorted(departures(model, "cpu", 1), key=lambda one: one.largest)
    assert (half.precision, brain.precision) == ("float16", "bfloat16")
    assert 0 < half.rms <= half.largest


def test_the_command_prints_and_writes_what_it_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("FluoroDenoiseLib.evaluation.benchmark_course.rivals", lambda side: [])
    monkeypatch.setattr("FluoroDenoiseLib.evaluation.benchmark_course.LENGTHS_SIDE", 32)
    monkeypatch.setattr("FluoroDenoiseLib.evaluation.benchmark_precision.SIDE", 32)
    out = tmp_path / "speed"
    arguments = ["--presets", "fast", "--sizes", "32", "64", "--batch", "1", "--frames", "2", "--rounds", "1", "--device", "cpu"]
    assert main(["benchmark", *arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "64x64" in printed and "GFLOP/s" in printed and "cost grows" in printed
    rows = json.loads((out / "benchmark.json").read_text())["rows"]
    assert [(row["method"], row["side"]) for row in rows] == [("fast", 32), ("fast", 64)]
    assert all(row["seconds_a_frame"] > 0 and row["limit_s"] > 0 for row in rows)


def test_a_device_that_cannot_be_is_refused_in_a_sentence(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["benchmark", "--device", "everything"])
    assert refused.value.code == 2 and "is not a device" in capsys.readouterr().err


@pytest.mark.skipif(not GPUS, reason="no GPU of this machine can be used")
def test_a_gpu_is_measured_with_its_copies_and_its_memory():
    compute = choose(GPUS[0])
    steps = list(run(Plan(("fast",), (256,), (1, 8), 4, 1), [compute]))
    timings = [one for one in steps[-1][1].timings if one.contestant.device == compute.device]
    assert [one.contestant.batch for one in timings] == [1, 8]
    assert all(one.memory_mb > 0 and one.seconds_a_frame > 0 for one in timings)
