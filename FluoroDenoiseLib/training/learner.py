"""What learns: the network, its averaged weights, the optimiser and the best weights so far, one step at a time.

Everything is a function of the recipe, the data and the step: random numbers of a micro-batch are seeded from the seed,
the step and the first clip. So there is no random state to keep beside what `checkpoint` keeps.
"""

from __future__ import annotations

import copy
import hashlib
import math

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import Model, build_network
from FluoroDenoiseLib.recipe import Recipe
from FluoroDenoiseLib.training import distributed
from FluoroDenoiseLib.training.checkpoints import Checkpoint
from FluoroDenoiseLib.training.objective import Objective

LARGEST_GRADIENT = 1.0
WEIGHT_DECAY = 1e-4


class Learner:
    """Network and optimiser of one recipe. averaged: the exponential average of the weights, which is what is judged."""

    def __init__(self, recipe: Recipe, compute: Compute, start: Model | None) -> None:
        _seed(recipe.seed, "weights")
        self.recipe, self.compute = recipe, compute
        network = build_network(recipe)
        if start is not None:
            _take_weights(network, start)
        self.network = network.to(compute.torch_device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY)
        # float16 loses small gradients; elsewhere this passes everything through.
        self.scaler = torch.amp.GradScaler(compute.torch_device.type, enabled=compute.precision == "float16")
        self.step = 0
        self.best: dict[str, Tensor] | None = None
        self.best_risk: float | None = None
        self.best_step = 0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 1 % of the recipe's rate."""
        warm = min(1.0, (step + 1) / self.recipe.warmup_steps)
        decay = 0.505 + 0.495 * math.cos(math.pi * step / self.recipe.steps)
        return self.recipe.learning_rate * warm * decay

    def advance(self, objective: Objective) -> dict[str, Tensor]:
        """One optimiser step over all micro-batches of all processes; returns this process's mean of each term."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.optimiser.zero_grad(set_to_none=True)
        parts = [self._micro_batch(objective, part) for part in range(self.recipe.accumulate)]
        self._average_over_processes()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._average_over_steps()
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _micro_batch(self, objective: Objective, part: int) -> dict[str, Tensor]:
        batch, accumulate = self.recipe.batch, self.recipe.accumulate
        first = (distributed.rank() * accumulate + part) * batch
        _seed(self.recipe.seed, "clips", self.step, first)
        with self.compute.autocast():
            losses = objective.losses(self.network, self.step, range(first, first + batch))
        self.scaler.scale(sum(losses) / accumulate).backward()
        return {name: loss.detach().float() for name, loss in losses._asdict().items()}

    def _average_over_processes(self) -> None:
        if distributed.count() == 1:
            return
        for parameter in self.network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.average(parameter.grad for parameter in self.network.parameters())
        distributed.average(buffer for buffer in self.network.buffers() if buffer.is_floating_point())

    def _average_over_steps(self) -> None:
        decay = min(self.recipe.ema_decay, self.step / (self.step + 10))
        averaged = self.averaged.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                averaged[name].lerp_(value, 1 - decay)
            else:
                averaged[name].copy_(value)

    def judge(self, objective: Objective) -> float | None:
        """The risk of the averaged weights; they are kept if none before had a lower one. ModelError if they are broken."""
        if not all(bool(value.isfinite().all()) for value in self.averaged.state_dict().values()):
            raise ModelError(
                f"The weights are no longer finite at step {self.step}; train with a lower learning_rate in another --out."
            )
        _seed(self.recipe.seed, "risk")
        with torch.no_grad():
            risk = objective.risk(self.averaged)
        if risk is None or self.best_risk is None or risk < self.best_risk:
            self.best = {name: value.detach().clone() for name, value in self.averaged.state_dict().items()}
            self.best_risk, self.best_step = risk, self.step
        return risk

    def preview(self, objective: Objective) -> list[Tensor]:
        _seed(self.recipe.seed, "previews")
        with torch.no_grad():
            return [image.detach().float().cpu() for image in objective.previews(self.averaged)]

    def checkpoint(self, **values: object) -> Checkpoint:
        """Everything that the next step depends on; `values` are kept beside it."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.averaged.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in (self.best or {}).items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
        best = {"best_risk": self.best_risk, "best_step": self.best_step}
        return Checkpoint(self.step, tensors, {**best, "scaler": self.scaler.state_dict(), **values})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what `checkpoint` was made of."""
        self.network.load_state_dict(checkpoint.part("network."))
        self.averaged.load_state_dict(checkpoint.part("average."))
        best = checkpoint.part("best.")
        # Laid out in memory like the network's own, so that the same kernels compute the same bits.
        like = self.network.state_dict()
        self.best = {name: torch.empty_like(like[name]).copy_(value) for name, value in best.items()} or None
        parameters = dict(enumerate(self.network.parameters()))
        state = self.optimiser.state_dict()
        for name, value in checkpoint.part("optimiser.").items():
            index, key = name.split(".", 1)
            if key != "step":
                value = torch.empty_like(parameters[int(index)], requires_grad=False).copy_(value)
            state["state"].setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict(state)
        self.scaler.load_state_dict(checkpoint.values["scaler"])
        self.best_risk, self.best_step = checkpoint.values["best_risk"], checkpoint.values["best_step"]
        self.step = checkpoint.step


def _seed(*parts: object) -> None:
    """Seed torch on every device from these values."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big"))


def _take_weights(network: nn.Module, start: Model) -> None:
    try:
        network.load_state_dict(start.restorer.restorer.state_dict())
    except RuntimeError as error:
        raise ModelError(f"Model {start.name} has another network than the recipe; start from one with the same.") from error
