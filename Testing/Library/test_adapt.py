import dataclasses
import json
import time

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import ModelError, ResourceError, UnsupportedError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, TeacherRecipe, UnsupervisedRecipe
from FluoroDenoiseLib.simulate import SimulationSettings, simulate
from FluoroDenoiseLib.training import adapt
from FluoroDenoiseLib.training.adapt import Adaptation
from FluoroDenoiseLib.training.excerpts import FEWEST, excerpts
from FluoroDenoiseLib.training.perturbed_clips import PerturbedBank
from FluoroDenoiseLib.training.perturbed_runs import Perturbed, Understood
from FluoroDenoiseLib.training.preparation import stabilised_truth
from FluoroDenoiseLib.training.run_noise import RunNoise
from FluoroDenoiseLib.training.unsupervised import (
    UnsupervisedObjective, detail_lost, train_unsupervised, understood_runs,
)
from FluoroDenoiseLib.worker import Worker

STEP = 0.2
CPU = choose("cpu", "float32")
SHAPE = dict(radius=1, guides="both", widths=(8, 8), blocks=1)
UNTRAINED = PretrainRecipe(name="tiny", **SHAPE)
LEARN = UnsupervisedRecipe(
    name="tiny", **SHAPE, steps=4, batch=2, patch=32, checkpoint_every=2, warmup_steps=1, precision="float32", preview_every=0
)
SCENE = SimulationSettings(size=(64, 64), frames=8, bits=14, quanta=40.0)


@pytest.fixture(scope="module")
def run():
    return simulate(SCENE, 3)


@pytest.fixture(scope="module")
def bank(run, tmp_path_factory):
    return PerturbedBank(understood_runs([run.noisy]), tmp_path_factory.mktemp("bank"), STEP)


def tiny_model(folder, change=lambda network: None, recipe=UNTRAINED):
    torch.manual_seed(0)
    network = build_network(recipe)
    change(network)
    save_model(folder, network.state_dict(), recipe, {"steps_done": 0, "data": "none"})
    return load_model(folder, CPU)


def noisy_head(network):
    """Adds a part of the frame's own noise to the output: any training takes it away."""
    with torch.no_grad():
        network.head.bias[:4] = 2.0


def adapted(monkeypatch, model, run, out, steps=25, learning_rate=1e-2, **more):
    monkeypatch.setitem(adapt.FINE_TUNING, "learning_rate", learning_rate)
    job = Adaptation([FluoroRun.from_array(run.noisy)], model, out, CPU, 60, steps=steps, **more)
    return job, list(job)


def test_a_perturbed_run_holds_both_halves(bank, run):
    planes = bank.runs[0].array("planes").astype(np.float32)
    assert planes.shape == (8, Perturbed.count, 64, 64)
    below, above = planes[:, Perturbed.noisy], planes[:, Perturbed.half + Perturbed.noisy]
    np.testing.assert_allclose((below + above) / 2, planes[:, Perturbed.target], atol=0.02)
    np.testing.assert_allclose((above - below) / (2 * STEP), planes[:, Perturbed.probe], atol=0.1)
    assert np.std(planes[:, Perturbed.probe]) == pytest.approx(1, abs=0.15)
    assert not np.array_equal(planes[:, Perturbed.forward], planes[:, Perturbed.half + Perturbed.forward])


def test_frames_that_judge_are_not_learned_from(bank):
    training, held_out = ({tuple(place) for place in frames.tolist()} for frames in (bank.training, bank.held_out))
    assert held_out and training and not training & held_out


@pytest.mark.slow
def test_of_many_runs_whole_runs_are_held_out(run, tmp_path):
    runs = [run.noisy, run.noisy[::-1], np.roll(run.noisy, 5, 1), np.roll(run.noisy, 9, 2), np.roll(run.noisy, 20, 2)]
    many = PerturbedBank(understood_runs(runs), tmp_path, STEP)
    assert not set(many.training[:, 0]) & set(many.held_out[:, 0])


def test_a_draw_depends_on_the_clips_alone(bank):
    draw = lambda clips, step=3: bank.draw(1, step, clips, 32, 1, "both", 0.5)
    both, second = draw(range(2)), draw(range(1, 2))
    assert torch.equal(both.windows[1], second.windows[0]) and torch.equal(both.guides[3], second.guides[1])
    assert not torch.equal(both.windows, draw(range(2), 4).windows)


@pytest.mark.slow
def test_the_risk_of_the_refiner_is_its_true_error(tmp_path):
    run = simulate(dataclasses.replace(SCENE, size=(128, 128), frames=10, correlation=0.2, quanta=60.0), 5)
    told = RunNoise(run.noise, 0.2, 1.0, 0.2, 0.0, 0.0, levels=(0.0,), variances=(1.0,))  # how well it is found out is another question
    bank = PerturbedBank([Understood(run.noisy, told)], tmp_path, STEP)
    objective = UnsupervisedObjective(LEARN, bank, CPU)
    truth = stabilised_truth(run.noise, torch.from_numpy(run.clean))
    planes = torch.from_numpy(bank.runs[0].array("planes").astype(np.float32))
    level = float((truth - planes[:, Perturbed.target]).mean())
    errors, risks = [], []
    for change in (lambda network: None, noisy_head):
        network = tiny_model(tmp_path / "model", change).restorer.restorer
        true = []
        for _, frame in bank.held_out:
            window, centre = planes[frame - 1 : frame + 2, Perturbed.noisy], planes[frame]
            estimate = network(window[None], centre[None, Perturbed.guides])[0]
            true.append(float((estimate + level - truth[frame]).square().mean()))
        errors.append(np.mean(true))
        risks.append(objective.tile_risks(network))
    difference = (risks[1] - risks[0]).double()
    uncertain = float(difference.std()) / len(difference) ** 0.5
    assert float(difference.mean()) == pytest.approx(errors[1] - errors[0], abs=4 * uncertain + 0.01)
    assert float(risks[0].mean()) == pytest.approx(errors[0], abs=0.06)


@pytest.mark.parametrize("risk", ["sure", "r2r"])
def test_an_unsupervised_training_leaves_a_model_chosen_by_its_risk(run, tmp_path, risk):
    recipe = dataclasses.replace(LEARN, risk=risk, perturbation=STEP if risk == "sure" else 0.5, fourier=0.1)
    steps = list(train_unsupervised(recipe, [run.noisy], tmp_path, CPU))
    card = load_model(tmp_path, CPU).card
    assert steps[-1].step == 4 and np.isfinite(card["risk"]) and card["kept_step"] in (2, 4)
    assert "no clean images" in card["data"]


def test_a_model_that_lets_noise_through_is_improved(monkeypatch, run, tmp_path):
    monkeypatch.setattr("FluoroDenoiseLib.training.risk.WORTHWHILE", 0.02)  # a few steps on a small run gain little
    model = tiny_model(tmp_path / "start", noisy_head)
    job, steps = adapted(monkeypatch, model, run, tmp_path / "own", steps=40)
    assert steps and job.outcome.kept == "new" and job.outcome.risk_after < job.outcome.risk_before
    card = json.loads((tmp_path / "own" / "model.json").read_text())
    assert card["began_as"]["weights_sha256"] == model.sha256 and "new weights" in card["adaptation"]["sentence"]
    assert load_model(tmp_path / "own", CPU).sha256 != model.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "start"]


def test_weights_that_do_not_get_better_stay(monkeypatch, run, tmp_path):
    job, _ = adapted(monkeypatch, model := tiny_model(tmp_path / "start"), run, tmp_path / "own", learning_rate=1e-9)
    assert job.outcome.kept == "old" and "stay as they were" in job.outcome.sentence
    assert load_model(tmp_path / "own", CPU).sha256 == model.sha256


def test_weights_stay_where_the_noise_is_not_understood(run, tmp_path):
    model = tiny_model(tmp_path / "start")
    smoothed = (run.noisy // 4096).astype(np.uint16)
    for frames, why in ((run.noisy[:3], "too short"), (np.zeros_like(run.noisy), "no noise"), (smoothed, "")):
        job = Adaptation([FluoroRun.from_array(frames)], model, tmp_path / "own", CPU, 60)
        assert list(job) == [] and job.outcome.kept == "old" and why in job.outcome.sentence
        assert load_model(tmp_path / "own", CPU).sha256 == model.sha256
        json.dumps(job.outcome.as_dict(), allow_nan=False)
    with pytest.raises(UnsupportedError, match="adapt a shipped model"):
        list(Adaptation([FluoroRun.from_array(run.noisy[:3])], model, tmp_path / "bare", CPU, 60, bare=True))
    assert not (tmp_path / "bare").exists()


def test_from_random_weights_it_needs_no_start(monkeypatch, run, tmp_path):
    job, _ = adapted(monkeypatch, tiny_model(tmp_path / "start"), run, tmp_path / "own", steps=30, bare=True)
    assert "began_as" not in json.loads((tmp_path / "own" / "model.json").read_text())
    assert np.isfinite(job.outcome.risk_before)


def test_too_little_time_is_said_and_leaves_nothing(run, tmp_path):
    job = Adaptation([FluoroRun.from_array(run.noisy)], tiny_model(tmp_path / "start"), tmp_path / "own", CPU, 0.0001)
    with pytest.raises(ResourceError, match="--minutes"):
        list(job)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["start"]


def test_a_cancelled_adaptation_leaves_nothing(run, tmp_path):
    job = Adaptation([FluoroRun.from_array(run.noisy)], tiny_model(tmp_path / "start"), tmp_path / "own", CPU, 60, steps=50)
    steps = iter(job)
    next(steps)
    steps.close()
    assert [path.name for path in tmp_path.iterdir()] == ["start"]


def test_worker_and_command_say_which_weights_are_kept(run, tmp_path, capsys):
    np.save(tmp_path / "short.npy", run.noisy[:3])
    tiny_model(tmp_path / "start")
    events = []
    # The few milliseconds suffice for no safety report, which would take most of this test's time.
    facts = {"do": "adapt", "out": str(tmp_path / "own"), "model": str(tmp_path / "start"), "minutes": 1e-4}
    lines = [json.dumps({"id": number, "runs": runs, **facts})
             for number, runs in enumerate(([str(tmp_path / "short.npy")], [str(tmp_path / "short.npy")], "short.npy"))]

    def all_lines():  # the end of the lines stops what still runs, so wait for the answers
        yield from lines
        while sum(event["event"] in ("done", "error") for event in events) < len(lines):
            time.sleep(0.01)

    Worker(all_lines(), events.append).run()
    done, there, wrong = (event for event in events if event["event"] in ("done", "error"))
    assert done["kept"] == "old" and "too short" in done["sentence"] and done["risk_before"] is None
    assert "the minutes do not suffice" in done["safety"]
    assert "exists already" in there["message"] and "list of paths" in wrong["message"]
    order = ["adapt", str(tmp_path / "short.npy"), "--out", str(tmp_path / "own"), "--model", str(tmp_path / "start"), "--overwrite"]
    assert main([*order, "--minutes", "0.0001"]) == 0 and "stay as they were" in capsys.readouterr().out


def test_only_models_with_guides_can_be_adapted(run, tmp_path):
    teacher = tiny_model(tmp_path / "teacher", recipe=TeacherRecipe(frames=3, width=4, levels=2))
    with pytest.raises(UnsupportedError, match="cannot be adapted"):
        Adaptation([FluoroRun.from_array(run.noisy)], teacher, tmp_path / "own", CPU, 5)


@pytest.mark.parametrize("words, code", [
    (["--out", "{there}"], 8), (["--out", "{tmp}/no/own"], 8), (["--out", "{tmp}/own", "--model", "nonesuch"], 7),
    (["--out", "{tmp}/own", "--minutes", "-1"], 2), (["--out", "{file}", "--overwrite"], 8),
])
def test_bad_orders_end_with_a_sentence(run, tmp_path, capsys, words, code):
    (tmp_path / "there").mkdir()
    np.save(tmp_path / "run.npy", run.noisy)
    places = dict(there=tmp_path / "there", tmp=tmp_path, file=tmp_path / "run.npy")
    try:
        ended = main(["adapt", str(tmp_path / "run.npy"), *(word.format(**places) for word in words)])
    except SystemExit as stopped:
        ended = stopped.code
    assert ended == code
    assert capsys.readouterr().err.startswith("fluorodenoise: ")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("field, value", [("risk", "guess"), ("perturbation", 0.0)])
def test_a_recipe_that_makes_no_risk_is_refused(field, value):
    with pytest.raises(ModelError, match=field):
        dataclasses.replace(LEARN, **{field: value})


def test_detail_that_is_not_lost_costs_nothing():
    generator = torch.Generator().manual_seed(0)
    clean = 4 * torch.randn(4, 64, 64, generator=generator)
    noise, other = (torch.randn(4, 64, 64, generator=generator) for _ in range(2))
    kept, lost = detail_lost(clean, clean + noise, other), detail_lost(0.5 * clean, clean + noise, other)
    assert kept < 0.2 and lost == pytest.approx(2, abs=0.3)


def test_excerpts_are_the_middles_and_keep_to_the_budget():
    runs = [FluoroRun.from_array(np.arange(40 * 64).reshape(40, 8, 8).astype(np.float32)) for _ in range(10)]
    few = excerpts(runs, 60)
    assert sum(len(run) for _, run in few) <= 60 and all(len(run) >= FEWEST for _, run in few)
    assert [index for index, _ in few] == sorted({index for index, _ in few}) and len(few) == 5
    _, first = few[0]
    np.testing.assert_array_equal(first.frames[0], runs[0].frames[(40 - len(first)) // 2])
    assert len(excerpts(runs, 1)) == 1 and len(excerpts(runs, 10_000)) == 10
