"""The one training loop: draw, step, average, log, judge, save; an iterator that its caller may leave at any time.

What is logged is what is minimised. A training that was stopped, or killed, goes on from its last checkpoint when the
same recipe is started again in the same folder, and ends with the same weights.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Iterator, NamedTuple

import torch
from torch import Tensor

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.formats.held_folder import held_folder
from FluoroDenoiseLib.model_folder import Model, save_model, write_whole
from FluoroDenoiseLib.recipe import Recipe, load_recipe, recipe_to_dict
from FluoroDenoiseLib.training import distributed
from FluoroDenoiseLib.training.checkpoints import (
    Checkpoint, drop_old_checkpoints, newest_checkpoint, require_same_data, require_same_recipe, save_checkpoint,
)
from FluoroDenoiseLib.training.journal import Journal
from FluoroDenoiseLib.training.learner import Learner
from FluoroDenoiseLib.training.objective import Objective


class Progress(NamedTuple):
    step: int
    steps: int
    losses: dict[str, float]  # mean since the last report, over all processes
    seconds: float  # since this start
    risk: float | None  # the last one known
    remaining_s: float


def run_training(
    recipe: Recipe,
    folder: Path,
    compute: Compute,
    objective: Objective,
    start: Model | None = None,
    report_every: int = 50,
) -> Iterator[Progress]:
    """Train to the end of the recipe, yielding now and then; leaves a model folder with its card, train.csv, train.png,
    previews and the two last checkpoints.

    The model is the one of lowest risk, or the last where the objective knows no risk. start: the model whose weights to
    begin with, instead of random ones. Under torchrun all processes call this alike; the first one writes.
    ModelError when the folder holds a training by another recipe or on other data, or `start` another network;
    OutputError while another process trains there.
    """
    training = _Training(recipe, folder, compute, objective, start)
    with training.held():
        training.claim()
        training.resume()
        yield from _steps(training, report_every)


def _steps(training: _Training, report_every: int) -> Iterator[Progress]:
    recipe, objective, learner, journal = training.recipe, training.objective, training.learner, training.journal
    began, first_step, since = time.monotonic(), learner.step, []
    try:
        while learner.step < recipe.steps:
            since.append(learner.advance(objective))
            step = learner.step
            last = step == recipe.steps
            saving = last or step % recipe.checkpoint_every == 0
            showing = recipe.preview_every > 0 and (last or step % recipe.preview_every == 0)
            if not (saving or showing or step % report_every == 0):
                continue
            losses = _mean_over_processes(since)
            since = []
            if training.writes:
                training.report(losses, saving, showing)
            seconds = time.monotonic() - began
            remaining_s = seconds / (step - first_step) * (recipe.steps - step)
            yield Progress(step, recipe.steps, losses, seconds, training.risk, remaining_s)
    finally:
        if training.writes:
            journal.draw()


class _Training:
    """The learner of one folder, and everything that is written there."""

    def __init__(self, recipe: Recipe, folder: Path, compute: Compute, objective: Objective, start: Model | None) -> None:
        self.recipe, self.folder, self.compute, self.objective, self.start = recipe, folder, compute, objective, start
        self.learner = Learner(recipe, compute, start, getattr(objective, "beside", None))
        self.journal = Journal(folder)
        self.risk: float | None = None
        self.writes = distributed.rank() == 0
        self.manifest = dict(objective.manifest)
        if start is not None:
            self.manifest["starting weights"] = start.sha256

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else trains in the folder inside the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with held_folder(self.folder) if self.writes else nullcontext():
            yield

    def claim(self) -> None:
        """Make the folder this recipe's, and clear away what a killed process left half-written."""
        path = self.folder / "recipe.json"
        if self.writes:
            for unfinished in (*self.folder.glob(".*.tmp"), *self.folder.glob("previews/.*.tmp")):
                unfinished.unlink(missing_ok=True)
            drop_old_checkpoints(self.folder)
            if path.exists():
                require_same_recipe(self.folder, recipe_to_dict(load_recipe(path)), recipe_to_dict(self.recipe))
            else:
                write_whole(path, (json.dumps(recipe_to_dict(self.recipe), indent=2) + "\n").encode())
        distributed.wait_for_all()

    def resume(self) -> None:
        checkpoint = newest_checkpoint(self.folder)
        if checkpoint is not None:
            require_same_data(self.folder, checkpoint.values["manifest"], self.manifest)
            self.learner.restore(checkpoint)
            self.risk = checkpoint.values["risk"]
            if self.writes:
                self._note_other_processes(checkpoint)
                self.publish()
        if self.writes:
            self.journal.go_on_from(self.learner.step)

    def _note_other_processes(self, checkpoint: Checkpoint) -> None:
        before, now = checkpoint.values["processes"], distributed.count()
        if before != now:
            warnings.warn(f"This training began with {before} processes and goes on with {now}: its batches are of another "
                          "size from here, and so will be its weights.", stacklevel=2)

    def report(self, losses: dict[str, float], saving: bool, showing: bool) -> None:
        """Log a step; when saving also judge it, keep it, and make the model of it if it is the best.

        The checkpoint comes last of what belongs to a step, so that nothing is missing after a training that was killed.
        """
        learner = self.learner
        judged = learner.judge(self.objective) if saving else None
        self.risk = self.risk if judged is None else judged
        if showing:
            self.journal.show(learner.step, learner.preview(self.objective))
        self.journal.add(learner.step, losses, learner.learning_rate(learner.step), judged)
        if saving:
            self.journal.draw()
            values = {"manifest": self.manifest, "risk": self.risk, "processes": distributed.count()}
            save_checkpoint(self.folder, learner.checkpoint(**values))
            self.publish()

    def publish(self) -> None:
        """Write the model folder: the best weights so far, and their card."""
        save_model(self.folder, self.learner.best, self.recipe, self.card())

    def card(self) -> dict:
        """What the model's card says beyond recipe and name."""
        learner, objective, start = self.learner, self.objective, self.start
        card = {
            "steps_done": learner.step,
            "kept_step": learner.best_step,
            "risk": learner.best_risk,
            "seed": self.recipe.seed,
            "data": objective.description,
            "facts": objective.facts,
            "trained_on": self.compute.reason,
            "processes": distributed.count(),
            "versions": {"FluoroDenoise": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        if start is not None:
            kept = ("name", "weights_sha256", "steps_done", "recipe", "data", "facts")
            card["began_as"] = {key: start.card[key] for key in kept if key in start.card}
        return card


def _mean_over_processes(since: list[dict[str, Tensor]]) -> dict[str, float]:
    means = torch.stack([torch.stack([losses[name] for losses in since]).double().mean() for name in since[0]])
    distributed.average([means])
    return dict(zip(since[0], means.tolist()))
