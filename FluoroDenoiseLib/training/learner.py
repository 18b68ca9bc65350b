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
from FluoroDenoiseLib.recipe import CtCycleRecipe, Recipe
from FluoroDenoiseLib.training import distributed
from FluoroDenoiseLib.training.checkpoints import Checkpoint
from FluoroDenoiseLib.training.objective import Beside, Objective

LARGEST_GRADIENT = 1.0
WEIGHT_DECAY = 1e-4


class Learner:
    """Network and optimiser of one recipe. averaged: the exponential average of the weights, which is what is judged.

    beside: what an adversarial objective trains with it; the optimiser then has the parameters of the network first.
    """

    def __init__(self, recipe: Recipe, compute: Compute, start: Model | None, beside: Beside | None = None) -> None:
        _seed(recipe.seed, "weights")
        self.recipe, self.compute = recipe, compute
        network = build_network(recipe)
        if start is not None:
            _take_weights(network, start)
        self.network = network.to(compute.torch_device, memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.partner = nn.Module() if beside is None else beside.partner.to(compute.torch_device)
        self.opponent = nn.Module() if beside is None else beside.opponent.to(compute.torch_device)
        settings = {"lr": recipe.learning_rate, "weight_decay": WEIGHT_DECAY}
        if beside is not None:
            settings["betas"] = (beside.momentum, 0.999)
        self.optimiser = torch.optim.AdamW(self._learning(), **settings)
        self.rival = None if beside is None else torch.optim.AdamW(self.opponent.parameters(), **settings)
        # float16 loses small gradients; elsewhere this passes everything through.
        self.scaler = torch.amp.GradScaler(compute.torch_device.type, enabled=compute.precision == "float16")
        self.step = 0
        self.best: dict[str, Tensor] | None = None
        self.best_risk: float | None = None
        self.best_step = 0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to 1 % of the recipe's rate, or what `flat_share` of a recipe says."""
        warm = min(1.0, (step + 1) / self.recipe.warmup_steps)
        if isinstance(self.recipe, CtCycleRecipe):
            falling = self.recipe.steps * (1 - self.recipe.flat_share)
            return self.recipe.learning_rate * warm * min(1.0, (self.recipe.steps - step) / max(falling, 1.0))
        decay = 0.505 + 0.495 * math.cos(math.pi * step / self.recipe.steps)
        return self.recipe.learning_rate * warm * decay

    def advance(self, objective: Objective) -> dict[str, Tensor]:
        """One optimiser step over all micro-batches of all processes; returns this process's mean of each term."""
        for optimiser in self._optimisers():
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate(self.step)
            optimiser.zero_grad(set_to_none=True)
        parts = [self._micro_batch(objective, part) for part in range(self.recipe.accumulate)]
        self._average_over_processes()
        for optimiser in self._optimisers():
            self.scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], LARGEST_GRADIENT)
            self.scaler.step(optimiser)
        self.scaler.update()
        self.step += 1
        self._average_over_steps()
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def _micro_batch(self, objective: Objective, part: int) -> dict[str, Tensor]:
        batch, accumulate = self.recipe.batch, self.recipe.accumulate
        first = (distributed.rank() * accumulate + part) * batch
        _seed(self.recipe.seed, "clips", self.step, first)
        clips = range(first, first + batch)
        self.opponent.requires_grad_(False)
        with self.compute.autocast():
            losses = objective.losses(self.network, self.step, clips)
        self.scaler.scale(sum(losses) / accumulate).backward()
        terms = losses._asdict()
        if self.rival is not None:
            self.opponent.requires_grad_(True)
            with self.compute.autocast():
                opposed = objective.opposition(self.network, self.step, clips)
            self.scaler.scale(sum(opposed) / accumulate).backward()
            terms |= opposed._asdict()
        return {name: loss.detach().float() for name, loss in terms.items()}

    def _learning(self) -> list[nn.Parameter]:
        return [*self.network.parameters(), *self.partner.parameters()]

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        return [self.optimiser] if self.rival is None else [self.optimiser, self.rival]

    def _average_over_processes(self) -> None:
        if distributed.count() == 1:
            return
        parameters = [*self._learning(), *self.opponent.parameters()]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.average(parameter.grad for parameter in parameters)
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
        tensors |= {f"partner.{name}": value for name, value in self.partner.state_dict().items()}
        tensors |= {f"opponent.{name}": value for name, value in self.opponent.state_dict().items()}
        for name, optimiser in zip(("optimiser", "rival"), self._optimisers()):
            tensors |= _state_of(optimiser, name)
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
        self.partner.load_state_dict(checkpoint.part("partner."))
        self.opponent.load_state_dict(checkpoint.part("opponent."))
        for name, optimiser in zip(("optimiser", "rival"), self._optimisers()):
            _restore_state(optimiser, checkpoint.part(f"{name}."))
        self.scaler.load_state_dict(checkpoint.values["scaler"])
        self.best_risk, self.best_step = checkpoint.values["best_risk"], checkpoint.values["best_step"]
        self.step = checkpoint.step


def _state_of(optimiser: torch.optim.Optimizer, called: str) -> dict[str, Tensor]:
    states = optimiser.state_dict()["state"].items()
    return {f"{called}.{index}.{name}": value for index, state in states for name, value in state.items()}


def _restore_state(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = optimiser.param_groups[0]["params"]
    state = optimiser.state_dict()
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        if key != "step":
            value = torch.empty_like(parameters[int(index)], requires_grad=False).copy_(value)
        state["state"].setdefault(int(index), {})[key] = value
    optimiser.load_state_dict(state)


def _seed(*parts: object) -> None:
    """Seed torch on every device from these values."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big"))


def _take_weights(network: nn.Module, start: Model) -> None:
    try:
        network.load_state_dict(start.restorer.restorer.state_dict())
    except RuntimeError as error:
        raise ModelError(f"Model {start.name} has another network than the recipe; start from one with the same.") from error
