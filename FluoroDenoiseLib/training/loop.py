"""The one training loop: draw, step, average, log, save; an iterator that its caller may leave at any time.

What is logged is what is minimised. A training that was stopped goes on from its last checkpoint when the same
recipe is started again in the same folder.
"""

from __future__ import annotations

import csv
import math
import platform
import time
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import Model, build_network, save_model, write_whole
from FluoroDenoiseLib.recipe import Recipe, load_recipe, save_recipe


class Progress(NamedTuple):
    step: int
    steps: int
    losses: dict[str, float]  # mean since the last report
    seconds: float


LossOfStep = Callable[[nn.Module, int], NamedTuple]


class Training:
    """Network, averaged weights and optimiser of one recipe, in memory and on disk."""

    def __init__(self, recipe: Recipe, folder: Path, compute: Compute, start: Model | None):
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.compute = recipe, folder, compute
        network = build_network(recipe)
        if start is not None:
            _take_weights(network, start)
        self.network = network.to(compute.torch_device, memory_format=torch.channels_last)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        self.step = 0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 1 % of the recipe's rate."""
        warm = min(1.0, (step + 1) / self.recipe.warmup_steps)
        decay = 0.505 + 0.495 * math.cos(math.pi * step / self.recipe.steps)
        return self.recipe.learning_rate * warm * decay

    def advance(self, loss_of_step: LossOfStep) -> NamedTuple:
        """One optimiser step; returns the loss terms, which are summed as they stand."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        with self.compute.autocast():
            losses = loss_of_step(self.network, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(self.recipe.ema_decay, self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)
        return losses

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def save_checkpoint(self) -> None:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
        tensors["step"] = torch.tensor(self.step)
        write_whole(self.checkpoint, safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))

    def resume(self) -> bool:
        """Go on from the checkpoint in the folder, if there is one. ModelError when it cannot be read."""
        if not self.checkpoint.exists():
            return False
        try:
            tensors = safetensors.torch.load_file(self.checkpoint, device=str(self.compute.torch_device))
        except safetensors.SafetensorError as error:
            raise ModelError(f"{self.checkpoint} is damaged; remove it to begin this training again.") from error
        part = lambda prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        self.network.load_state_dict(part("network."))
        self.average = part("average.")
        state = self.optimiser.state_dict()
        for name, value in part("optimiser.").items():
            index, key = name.split(".", 1)
            state["state"].setdefault(int(index), {})[key] = value.cpu() if key == "step" else value
        self.optimiser.load_state_dict(state)
        self.step = int(tensors["step"])
        return True


def run_training(
    recipe: Recipe,
    folder: Path,
    compute: Compute,
    loss_of_step: LossOfStep,
    data: str,
    start: Model | None = None,
    report_every: int = 50,
) -> Iterator[Progress]:
    """Train to the end of the recipe, yielding now and then; leaves a model folder, train.csv and checkpoints.

    data: one sentence about the training data for the model's card; nothing about patients. start: the model whose
    weights to begin with, instead of random ones.
    ModelError when the folder holds another recipe's training, or `start` another network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, recipe)
    training = Training(recipe, folder, compute, start)
    training.resume()
    began, losses_since = time.monotonic(), []
    log = folder / "train.csv"
    _forget_after(log, training.step)
    while training.step < recipe.steps:
        losses_since.append(training.advance(loss_of_step))
        step = training.step
        if step % report_every == 0 or step == recipe.steps:
            means = {name: float(np.mean([float(getattr(l, name).detach()) for l in losses_since])) for name in losses_since[0]._fields}
            losses_since = []
            _append(log, {"step": step, **means, "sum": sum(means.values()), "learning_rate": training.learning_rate(step)})
            yield Progress(step, recipe.steps, means, time.monotonic() - began)
        if step % recipe.checkpoint_every == 0 or step == recipe.steps:
            training.save_checkpoint()
            save_model(folder, training.average, recipe, card_of(recipe, training.step, data, compute, start))


def card_of(recipe: Recipe, step: int, data: str, compute: Compute, start: Model | None) -> dict:
    versions = {"FluoroDenoise": __version__, "torch": torch.__version__, "python": platform.python_version()}
    card = {"steps_done": step, "seed": recipe.seed, "data": data, "trained_on": compute.reason, "versions": versions}
    if start is not None:
        card["began_as"] = {key: start.card.get(key) for key in ("name", "weights_sha256", "steps_done", "recipe", "data")}
    return card


def _take_weights(network: nn.Module, start: Model) -> None:
    try:
        network.load_state_dict(start.restorer.restorer.state_dict())
    except RuntimeError as error:
        raise ModelError(f"Model {start.name} has another network than the recipe; start from one with the same.") from error


def _claim(folder: Path, recipe: Recipe) -> None:
    path = folder / "recipe.json"
    if path.exists() and load_recipe(path) != recipe:
        raise ModelError(f"{folder} holds a training by another recipe; choose another --out, or remove it.")
    save_recipe(recipe, path)


def _forget_after(log: Path, step: int) -> None:
    """Drop the rows of steps that were logged but not saved, since they will be done and logged again."""
    if step == 0:
        log.unlink(missing_ok=True)
    elif log.exists():
        head, *rows = log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and int(row.split(",")[0]) <= step]
        write_whole(log, "".join([head, *kept]).encode())


def _append(path: Path, row: dict) -> None:
    fresh = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
