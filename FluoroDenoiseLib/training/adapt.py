"""Suit a model to one's own noisy runs in the time given, and keep the old one unless the new is better.

Noise understood -> frames prepared (a quarter of the time) -> trained on their risk -> both models judged on frames that
were held out. The difference of two risks on the same frames is known far better than either, so a gain that is no more
than chance is told from one that is.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, Sequence

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import ResourceError, UnsupportedError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats.whole_folder import whole_folder
from FluoroDenoiseLib.model_folder import Model, build_network, load_model, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, UnsupervisedRecipe, recipe_from_dict
from FluoroDenoiseLib.training.excerpts import excerpts, faster, seconds_a_frame
from FluoroDenoiseLib.training.loop import Progress, run_training
from FluoroDenoiseLib.training.perturbed_clips import PerturbedBank
from FluoroDenoiseLib.training.perturbed_runs import Understood
from FluoroDenoiseLib.training.risk import Comparison
from FluoroDenoiseLib.training.run_noise import RunNoise
from FluoroDenoiseLib.training.unsupervised import UnsupervisedObjective, remeasured

TIME_TO_PREPARE = 0.25  # share of the time
TIME_TO_TRAIN = 0.9  # share of what is left then
FEWEST_STEPS = 20
JUDGEMENTS = 5  # of the weights while they are trained
FINE_TUNING = dict(batch=4, patch=128, learning_rate=2e-4, warmup_steps=20, ema_decay=0.98, preview_every=0)
FROM_NOTHING = dict(batch=6, patch=96, learning_rate=1e-3, warmup_steps=50, ema_decay=0.99, preview_every=0)
KEPT_FILES = ("model.json", "MODEL.md", "weights.safetensors", "recipe.json", "train.csv", "train.png")


@dataclass(frozen=True)
class Outcome:
    """What became of an adaptation. risks in noise variances, nan where nothing could be judged."""

    kept: str  # "new" or "old"
    risk_before: float
    risk_after: float
    standard_error: float  # of the difference
    gain_db: float
    steps: int
    frames: int
    seconds: float
    sentence: str

    def as_dict(self) -> dict:
        """Plain values for JSON, which knows no nan."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


class Adaptation:
    """One adaptation: iterate over it for its progress; then `outcome` says how it ended and `folder` is a model.

    runs: those to suit; start: the model to begin with and to compare with, or to take the shape of if `bare`, which
    begins with random weights. minutes: wall time for everything; steps: of training, instead of as many as there is time
    for, so that a result can be had again. any_precision: whether to take the faster. check() is called often and may
    raise; then, as after any error, nothing is left behind.
    UnsupportedError for a model of another kind; ResourceError where the minutes do not suffice on this machine.
    """

    def __init__(
        self, runs: Sequence[FluoroRun], start: Model, folder: Path, compute: Compute, minutes: float, bare: bool = False,
        check: Callable[[], None] = lambda: None, any_precision: bool = False, steps: int | None = None,
    ) -> None:
        self.runs, self.start, self.folder, self.compute, self.bare, self.check = runs, start, folder, compute, bare, check
        self.seconds, self.steps = 60 * minutes, steps
        self.recipe = recipe_from_dict(start.card["recipe"])
        if not isinstance(self.recipe, (PretrainRecipe, UnsupervisedRecipe)):
            raise UnsupportedError(f"Model {start.name} cannot be adapted; only those that look at the recursion can, such as quality and fast.")
        if any_precision:
            self.compute = faster(start.restorer.restorer, self.recipe.radius, self.recipe.guides, compute)
        self.outcome: Outcome | None = None
        self.risk_before = math.nan

    def __iter__(self) -> Iterator[Progress]:
        self.began = time.monotonic()
        with whole_folder(self.folder, is_model) as ready:
            aside = ready / "training"
            aside.mkdir()
            understood, doubts = self._understood()
            if understood:
                yield from self._learn(understood, aside)
            elif self.bare:
                raise UnsupportedError(f"A network cannot learn from these runs alone, since {doubts[0]}; adapt a shipped model instead.")
            else:
                self._keep_old(aside, None, f"The weights stay as they were, since {doubts[0]}, so what is noise cannot be told.")
            for name in KEPT_FILES:
                if (aside / name).exists():
                    (aside / name).rename(ready / name)
            shutil.rmtree(aside)

    def _understood(self) -> tuple[list[Understood], list[str]]:
        """What there is time to prepare of the runs whose noise is understood, and the doubts about the others."""
        most = int(TIME_TO_PREPARE * self.seconds / seconds_a_frame(self.runs[0]))
        understood, doubts = [], []
        for index, run in excerpts(self.runs, most):
            self.check()
            noise = RunNoise.of(self.runs[index].frames)
            if noise.doubt is None:
                understood.append(Understood(run, noise))
            else:
                doubts.append(noise.doubt)
        if understood and doubts:
            warnings.warn(f"{len(doubts)} of {len(self.runs)} runs are left out: {doubts[0]}.", stacklevel=2)
        return understood, doubts

    def _learn(self, understood: list[Understood], aside: Path) -> Iterator[Progress]:
        old = build_network(self.recipe).to(self.compute.torch_device).eval() if self.bare else self.start.restorer.restorer
        first = self._recipe(steps=FEWEST_STEPS)
        remeasure = partial(remeasured, network=old, recipe=first, compute=self.compute, trained=not self.bare)
        bank = PerturbedBank(self._checked(understood), aside / "clips", first.perturbation, remeasure)
        objective = UnsupervisedObjective(first, bank, self.compute)
        before, judging_s = _timed(lambda: objective.tile_risks(old))
        self.risk_before = float(before.mean())
        objective.recipe = recipe = self._recipe(steps=self.steps or self._steps_in_time(objective, judging_s))
        for progress in run_training(recipe, aside, self.compute, objective, None if self.bare else self.start, report_every=5):
            yield progress
            self.check()
            if self._elapsed() > self.seconds and progress.risk is not None:
                break
        new = load_model(aside, self.compute)
        self._decide(Comparison.of(before, objective.tile_risks(new.restorer.restorer)), new, bank, aside)

    def _recipe(self, steps: int) -> UnsupervisedRecipe:
        shape = {name: getattr(self.recipe, name) for name in ("radius", "guides", "widths", "blocks", "turned")}
        settings = FROM_NOTHING if self.bare else FINE_TUNING
        return UnsupervisedRecipe(
            name="own" if self.bare else f"{self.start.name} adapted"[:60], **shape, **settings, steps=steps,
            checkpoint_every=max(1, math.ceil(steps / JUDGEMENTS)), precision=self.compute.precision,
        )

    def _checked(self, understood: list[Understood]) -> Iterator[Understood]:
        for one in understood:
            self.check()
            yield one

    def _steps_in_time(self, objective: UnsupervisedObjective, judging_s: float) -> int:
        """How many steps there is time for, by the time that two of them take."""
        network = copy.deepcopy(self.start.restorer.restorer).requires_grad_(True)
        for attempt in range(2):
            with self.compute.autocast():
                losses, began = None, time.monotonic()
                losses = objective.losses(network, attempt, range(objective.recipe.batch))
            sum(losses).backward()
            self.compute.synchronize()
            step_s = time.monotonic() - began
        left = TIME_TO_TRAIN * (self.seconds - self._elapsed()) - (JUDGEMENTS + 1) * judging_s
        steps = int(left / step_s)
        if steps < FEWEST_STEPS:
            needed = (self._elapsed() + ((JUDGEMENTS + 1) * judging_s + FEWEST_STEPS * step_s) / TIME_TO_TRAIN) / 60
            raise ResourceError(f"In {self.seconds / 60:g} minutes there is no time to learn on this machine; give --minutes {math.ceil(needed)} or more.")
        return steps

    def _decide(self, judged: Comparison, new: Model, bank: PerturbedBank, aside: Path) -> None:
        steps, frames = new.card["steps_done"], int(bank.facts["frames"])
        if not judged.is_better:
            sentence = (f"The weights stay as they were: after {steps} steps the estimated error on held-out frames is {judged.after:.4f} of the "
                        f"noise's variance instead of {judged.before:.4f}, which is not enough better (difference "
                        f"{judged.difference:+.4f}, uncertain by {judged.standard_error:.4f}).")
            self._keep_old(aside, judged, sentence, steps, frames)
            return
        decibel = "" if math.isnan(judged.gain_db) else f", that is {judged.gain_db:.2f} dB better"
        sentence = (f"The new weights are kept: the estimated error on held-out frames fell from {judged.before:.4f} to {judged.after:.4f} of the "
                    f"noise's variance{decibel} (difference {judged.difference:+.4f}, uncertain by {judged.standard_error:.4f}).")
        card = {name: value for name, value in new.card.items() if name not in ("format", "name", "recipe", "weights_sha256")}
        self.outcome = self._outcome("new", judged, sentence, steps, frames)
        weights = new.restorer.restorer.state_dict()
        save_model(aside, weights, recipe_from_dict(new.card["recipe"]), {**card, "adaptation": self.outcome.as_dict()})

    def _keep_old(self, aside: Path, judged: Comparison | None, sentence: str, steps: int = 0, frames: int = 0) -> None:
        self.outcome = self._outcome("old", judged, sentence, steps, frames)
        card = {name: value for name, value in self.start.card.items() if name not in ("format", "recipe", "weights_sha256")}
        old = build_network(self.recipe) if self.bare else self.start.restorer.restorer
        for stale in KEPT_FILES:
            (aside / stale).unlink(missing_ok=True)
        save_model(aside, old.state_dict(), self.recipe, {**card, "adaptation": self.outcome.as_dict()})

    def _outcome(self, kept: str, judged: Comparison | None, sentence: str, steps: int, frames: int) -> Outcome:
        nan = math.nan
        numbers = (nan,) * 4 if judged is None else (judged.before, judged.after, judged.standard_error, judged.gain_db)
        if kept == "old":
            numbers = (*numbers[:3], 0.0)
        return Outcome(kept, *numbers, steps, frames, round(self._elapsed(), 1), sentence)

    def _elapsed(self) -> float:
        return time.monotonic() - self.began


def _timed(work: Callable):
    began = time.monotonic()
    result = work()
    return result, time.monotonic() - began


def is_model(folder: Path) -> bool:
    """Whether a folder is a model, which may be replaced by another if that was asked for."""
    return (folder / "model.json").is_file()
