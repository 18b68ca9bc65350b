"""Step 2: its terms, what may and may not reach the student through them, and that it learns."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.errors import InputError, ModelError
from FluoroDenoiseLib.jobs import train_recipe
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import StudentRecipe, TeacherRecipe, load_recipe
from FluoroDenoiseLib.simulate import SimulationSettings, simulate
from FluoroDenoiseLib.training.prepared_runs import PreparedRun
from FluoroDenoiseLib.training.student import StudentObjective, student_losses, train_student, unit_noise
from FluoroDenoiseLib.training.student_bank import StudentBank, StudentClips, write_targets
from FluoroDenoiseLib.training.teacher import train_teacher
from FluoroDenoiseLib.windows import window_indices

CPU = choose("cpu", "float32")
TINY = StudentRecipe(name="tiny", width=4, levels=2, steps=6, batch=2, patch=32, checkpoint_every=3, warmup_steps=2, precision="float32")
TEACHER = TeacherRecipe(name="taught", frames=5, width=2, levels=2, norm="batch")


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clips_of(size=32):
    """A still scene: frame and targets differ by noise alone, and a corner moves."""
    moving = torch.zeros(2, size, size)
    moving[:, :8, :8] = 1
    return StudentClips(noise(0, 2, size, size), 0.2 * noise(1, 2, size, size), 0.5 * noise(2, 2, size, size), moving)


@pytest.fixture(scope="module")
def runs():
    return [simulate(SimulationSettings(size=(48, 48), frames=5), seed).noisy for seed in range(4)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    save_model(folder, build_network(TEACHER).state_dict(), TEACHER, {})
    return load_model(folder, CPU)


@pytest.fixture(scope="module")
def bank(runs, teacher, tmp_path_factory):
    return StudentBank(runs, tmp_path_factory.mktemp("clips"), teacher, TINY, CPU)


@pytest.mark.parametrize("matrix", ["confidence", "ldl", "none"])
def test_the_edge_term_is_a_tenth_to_a_half_of_the_recursion_term_at_the_start(matrix):
    clips = clips_of(64)
    losses = student_losses(clips.noisy, clips, StudentRecipe(matrix=matrix))
    assert 0.1 < losses.edge / losses.recursion < 0.5


@pytest.mark.parametrize("matrix", ["confidence", "ldl", "none"])
@pytest.mark.parametrize("term", ["recursion", "distillation", "edge", "fourier"])
def test_a_weight_of_zero_leaves_its_term_out_and_a_double_one_doubles_it(matrix, term):
    clips, recipe = clips_of(), StudentRecipe(matrix=matrix, fourier=0.5)
    whole = getattr(student_losses(clips.noisy, clips, recipe), term)
    double = getattr(student_losses(clips.noisy, clips, dataclasses.replace(recipe, **{term: 2 * getattr(recipe, term)})), term)
    without = getattr(student_losses(clips.noisy, clips, dataclasses.replace(recipe, **{term: 0.0})), term)
    assert without == 0 and whole > 0 and double == pytest.approx(2 * whole.item(), rel=1e-5)


def test_still_pixels_follow_the_filter_and_moving_ones_the_teacher():
    clips = clips_of()
    recipe = StudentRecipe(edge=0.0)
    estimate = clips.noisy.clone().requires_grad_()
    losses = student_losses(estimate, clips, recipe)
    by_filter, = torch.autograd.grad(losses.recursion, estimate, retain_graph=True)
    by_teacher, = torch.autograd.grad(losses.distillation, estimate)
    assert not by_filter[:, :8, :8].any() and by_filter[:, 8:, 8:].all()
    assert by_teacher[:, :8, :8].all() and not by_teacher[:, 8:, 8:].any()


@pytest.mark.parametrize("alone", ["recursion", "distillation"])
def test_without_a_choice_the_one_that_is_left_holds_everywhere(alone):
    other = {"recursion": "distillation", "distillation": "recursion"}[alone]
    estimate = clips_of().noisy.clone().requires_grad_()
    losses = student_losses(estimate, clips_of(), StudentRecipe(edge=0.0, **{other: 0.0}))
    slopes, = torch.autograd.grad(getattr(losses, alone), estimate)
    assert slopes.all()


@pytest.mark.parametrize("matrix", ["confidence", "ldl", "none"])
def test_nothing_is_learned_through_targets_or_matrix(matrix):
    clips = StudentClips(*(part.requires_grad_() for part in clips_of()))
    estimate = noise(7, 2, 32, 32).requires_grad_()
    recipe = StudentRecipe(matrix=matrix)
    sum(student_losses(estimate, clips, recipe)).backward()
    alone = estimate.detach().clone().requires_grad_()
    sum(student_losses(alone, StudentClips(*(part.detach() for part in clips)), recipe)).backward()
    assert torch.equal(estimate.grad, alone.grad)
    assert clips.noisy.grad is None


def test_the_bank_asks_a_teacher_that_stays_as_it_is(runs, teacher, bank, tmp_path):
    before = {name: value.clone() for name, value in teacher.restorer.restorer.state_dict().items()}
    StudentBank(runs[:1], tmp_path, teacher, TINY, CPU)
    after = teacher.restorer.restorer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())  # its batch norm's averages too
    assert not teacher.restorer.restorer.training
    assert bank.manifest["teacher"] == teacher.sha256 and len(bank.manifest) == 5


@pytest.mark.parametrize("centre", range(5))
def test_no_target_of_a_frame_holds_its_noise_at_the_ends_of_a_run_neither(teacher, tmp_path, centre):
    targets = []
    for name, factor in (("as it is", 1.0), ("another", -5.0)):
        folder = tmp_path / name
        folder.mkdir()
        frames = noise(8, 5, 32, 32)
        frames[centre] *= factor
        np.save(folder / "frames.npy", frames.numpy())
        run = PreparedRun(folder, "", {"noise_correlation": 0.0})
        write_targets(run, folder, teacher, dataclasses.replace(TINY, flow=False), CPU)
        targets.append(np.load(folder / "targets.npy")[centre, :2])
    assert np.array_equal(*targets)


def test_a_trained_teacher_has_no_derivative_with_respect_to_its_centre_frame(runs, tmp_path):
    recipe = dataclasses.replace(TEACHER, norm="group", steps=2, batch=2, patch=32, warmup_steps=1, preview_every=0, precision="float32")
    list(train_teacher(recipe, runs, tmp_path, CPU))
    restorer = load_model(tmp_path, CPU).restorer
    for centre in range(4):
        frames = noise(9, 4, 32, 32).requires_grad_()
        slopes, = torch.autograd.grad(restorer(frames[window_indices(centre, 2, 4)][None]).square().sum(), frames)
        assert not slopes[centre].any() and slopes[[i for i in range(4) if i != centre]].flatten(1).any(1).sum() >= 2


def test_other_settings_make_other_targets_and_the_same_ones_none(runs, teacher, tmp_path):
    StudentBank(runs[:1], tmp_path, teacher, TINY, CPU)
    made = set(tmp_path.iterdir())
    StudentBank(runs[:1], tmp_path, teacher, dataclasses.replace(TINY, edge=0.5, width=8), CPU)
    assert set(tmp_path.iterdir()) == made
    for change in ({"flow": False}, {"filter_weight": 0.4}, {"recursion_form": "variance"}):
        StudentBank(runs[:1], tmp_path, teacher, dataclasses.replace(TINY, **change), CPU)
    assert len(set(tmp_path.iterdir()) - made) == 3


def test_a_clip_depends_on_seed_step_and_its_number_alone(bank):
    both, second = bank.draw(3, 7, range(2), 32), bank.draw(3, 7, range(1, 2), 32)
    assert all(torch.equal(a[1:], b) for a, b in zip(both, second))
    assert both.noisy.shape == (2, 32, 32) and both.moving.min() >= 0 and both.moving.max() <= 1


def test_the_loss_falls_and_the_risk_with_it(bank):
    objective = StudentObjective(TINY, bank, CPU)
    torch.manual_seed(1)
    network = build_network(TINY)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    sums, risk = [], risk_of(objective, network)
    for step in range(25):
        losses = sum(objective.losses(network, step, range(4)))
        optimiser.zero_grad()
        losses.backward()
        optimiser.step()
        sums.append(losses.item())
    assert np.mean(sums[-5:]) < 0.9 * np.mean(sums[:5])
    assert risk_of(objective, network) < risk


@torch.no_grad()
def risk_of(objective, network):
    return objective.risk(network)


class Blend(torch.nn.Module):
    """x -> share * x, whose risk is known: (1 - share)^2 * signal + share^2 * noise."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, windows):
        return self.share * windows[:, 0]


def test_the_risk_is_the_squared_error_though_it_never_sees_the_truth(bank):
    objective = StudentObjective(TINY, bank, CPU)
    frames = [(frame, correlation) for frame, correlation in bank.judging_frames()]
    signal = np.mean([frame.square().mean().item() - 1 for frame, _ in frames])
    for share in (0.0, 0.6, 1.0):
        # 8 frames of 48 x 48: the noise's own variance is known to 2 %, and is estimated from few frames.
        assert risk_of(objective, Blend(share)) == pytest.approx((1 - share) ** 2 * signal + share**2, abs=0.1)


def test_the_probe_of_the_risk_has_the_variance_and_the_correlation_it_states():
    probe = unit_noise((256, 256), 0.3, seed=0)
    assert probe.var().item() == pytest.approx(1, rel=0.05)
    assert (probe[:, 1:] * probe[:, :-1]).mean().item() == pytest.approx(0.3, abs=0.03)


def test_what_cannot_teach_is_refused(runs, bank, teacher, tmp_path):
    save_model(tmp_path / "student", build_network(TINY).state_dict(), TINY, {})
    with pytest.raises(ModelError, match="no teacher; train one"):
        StudentBank(runs, tmp_path, load_model(tmp_path / "student", CPU), TINY, CPU)


@pytest.mark.parametrize("change, sentence", [
    ({"matrix": "motion"}, "confidence, ldl, none"), ({"recursion_form": "kalman"}, "fixed, variance"),
    ({"filter_weight": 1.0}, "make no filter"), ({"neighbours": 0}, "make no filter"), ({"edge": -0.1}, "0 or more"),
    ({"recursion": 0.0, "distillation": 0.0}, "not both 0"), ({"recursion_form": "variance", "flow": False}, "follows the motion"),
])
def test_a_recipe_that_makes_no_student_is_refused(change, sentence):
    with pytest.raises(ModelError, match=sentence):
        dataclasses.replace(TINY, **change)


def test_a_trained_student_is_a_model_that_denoises(runs, teacher, tmp_path):
    *_, last = train_student(TINY, runs, teacher, tmp_path / "student", CPU)
    assert last.step == 6 and last.risk is not None
    model = load_model(tmp_path / "student", CPU)
    assert denoise(runs[0], model, compute=CPU).shape == runs[0].shape
    assert model.restorer.radius == 0 and model.card["recipe"]["kind"] == "student"
    with pytest.raises(ModelError, match="teacher"):  # another teacher is other data
        folder = tmp_path / "other"
        weights = {name: 1.01 * value if value.is_floating_point() else value for name, value in teacher.restorer.restorer.state_dict().items()}
        save_model(folder, weights, TEACHER, {})
        list(train_student(TINY, runs, load_model(folder, CPU), tmp_path / "student", CPU))


def test_a_teacher_that_went_astray_is_refused(runs, tmp_path):
    weights = build_network(TEACHER).state_dict()
    weights["tail.1.bias"].fill_(1e6)
    save_model(tmp_path / "astray", weights, TEACHER, {})
    with pytest.raises(ModelError, match="not finite"):
        StudentBank(runs[:1], tmp_path / "clips", load_model(tmp_path / "astray", CPU), TINY, CPU)


def test_a_teacher_that_sees_its_centre_is_warned_of(runs, tmp_path):
    seeing = dataclasses.replace(TEACHER, blind=False)
    save_model(tmp_path / "seeing", build_network(seeing).state_dict(), seeing, {})
    with pytest.warns(UserWarning, match="sees its centre frame"):
        list(train_student(dataclasses.replace(TINY, steps=1), runs[:1], load_model(tmp_path / "seeing", CPU), tmp_path / "out", CPU))


def test_a_student_without_a_teacher_and_a_teacher_without_a_student_are_refused(tmp_path):
    with pytest.raises(ModelError, match="student and needs a teacher"):
        next(train_recipe(TINY, tmp_path, tmp_path / "out"))
    with pytest.raises(InputError, match="is not a student"):
        next(train_recipe(TEACHER, tmp_path, tmp_path / "out", teacher="anything"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["teacher_small", "student"])
def test_the_recipes_of_both_steps_can_be_built(name):
    recipe = load_recipe(Path(__file__).parents[2] / "docs" / "recipes" / f"{name}.json")
    assert build_network(recipe) is not None
    if name == "student":
        assert (recipe.recursion, recipe.distillation, recipe.filter_weight, recipe.fourier) == (1.0, 1.0, 0.2, 0.0)
