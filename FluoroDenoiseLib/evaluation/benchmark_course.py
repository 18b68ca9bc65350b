"""A whole benchmark: which contestants meet on which device and size, and what is known when all are done."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from FluoroDenoiseLib.compute import Compute, choose, describe
from FluoroDenoiseLib.evaluation.benchmark import RIVAL_NAMES, Timing, growth, in_turns, preset, rivals
from FluoroDenoiseLib.evaluation.benchmark_limits import Rates, Work, count_work, measure_rates
from FluoroDenoiseLib.evaluation.benchmark_precision import Departure, departures
from FluoroDenoiseLib.evaluation.rivals import RIVALS
from FluoroDenoiseLib.model_folder import load_model

SMALLEST_SIDE = 256
"""Cost against frame size is judged from here on: below it the start of each operation counts more than its pixels."""
LENGTHS = (1, 2, 4)
"""Cost against the number of frames is judged on runs so many times as long as the others."""
LENGTHS_SIDE = 64


@dataclass(frozen=True)
class Plan:
    """presets: names or folders; sides: pixels; batches: sizes; frames: of each run; rounds: turns of each contestant."""

    presets: tuple[str, ...] = ("fast", "quality")
    sides: tuple[int, ...] = (512, 1024)
    batches: tuple[int, ...] = (1, 8)
    frames: int = 24
    rounds: int = 3


@dataclass(frozen=True)
class Growth:
    """The exponents of a method's seconds in the pixels of a frame and in the frames of a run; see benchmark.growth."""

    method: str
    device: str
    pixels: float
    frames: float = float("nan")


@dataclass
class Outcome:
    """All that was measured. work: of (preset, device, side); rates: of a device."""

    plan: Plan
    devices: dict[str, str] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    rates: dict[str, Rates] = field(default_factory=dict)
    work: dict[tuple[str, str, int], Work] = field(default_factory=dict)
    growths: list[Growth] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)

    def rival(self, name: str, side: int) -> Timing | None:
        found = (one for one in self.timings if (one.contestant.name, one.contestant.side) == (name, side))
        return next(found, None)

    def limit_s(self, timing: Timing) -> float:
        """The seconds that a frame of one of ours costs at this machine's own rates; nan for a rival."""
        one = timing.contestant
        work = self.work.get((one.name, one.device, one.side))
        return float("nan") if work is None else work.limit_s(self.rates[one.device])


def devices(word: str, precision: str) -> list[Compute]:
    """What `word` names: "all" (the CPU and every GPU that can be used), or a device as for every command."""
    if word != "all":
        return [choose(word, precision)]
    return [choose(str(one["device"]), precision) for one in describe() if one["usable"]]


def left_out() -> list[str]:
    """A sentence for each rival that is not installed."""
    return [rival.missing for rival in RIVALS if rival.name in RIVAL_NAMES and rival.missing]


def run(plan: Plan, computes: Sequence[Compute]) -> Iterator[tuple[str, Outcome]]:
    """Measure; after every step a sentence and what is known so far. Rivals run on the CPU, in turns with our presets."""
    outcome = Outcome(plan)
    names = {str(one["device"]): str(one["name"]) for one in describe()}
    for compute in computes:
        outcome.devices[compute.device] = f"{names[compute.device]}, {compute.precision}"
        rates = outcome.rates[compute.device] = measure_rates(compute)
        yield f"{compute.device}: {rates.flops / 1e9:.0f} GFLOP/s of convolution, {rates.bytes / 1e9:.1f} GB/s of copying", outcome
        models = [load_model(name, compute) for name in plan.presets]
        for side in sorted({SMALLEST_SIDE, *plan.sides} if min(plan.sides) > SMALLEST_SIDE else plan.sides):
            batches = plan.batches if side in plan.sides else plan.batches[:1]
            ours = [preset(model, compute, side, plan.frames, batch) for model, batch in itertools.product(models, batches)]
            others = rivals(side) if compute is computes[0] and side in plan.sides else []
            outcome.timings += in_turns([*ours, *others], plan.rounds, compute)
            for model in models:
                outcome.work[model.name, compute.device, side] = count_work(model, compute, side, plan.frames)
            yield f"{compute.device}: {side}x{side} is measured", outcome
        for model in models:
            lengths = [plan.frames * factor for factor in LENGTHS]
            runs = in_turns([preset(model, compute, LENGTHS_SIDE, length, 1) for length in lengths], plan.rounds, compute)
            by_length = growth(lengths, [length * one.seconds_a_frame for length, one in zip(lengths, runs)])
            outcome.growths.append(Growth(model.name, compute.device, _by_pixels(outcome, model.name, compute.device), by_length))
            outcome.departures += departures(model, compute.device, plan.rounds)
        yield f"{compute.device}: cost against size, length and precision is measured", outcome
    for name in RIVAL_NAMES:
        if any(one.contestant.name == name for one in outcome.timings):
            outcome.growths.append(Growth(name, "cpu", _by_pixels(outcome, name, "cpu")))


def _by_pixels(outcome: Outcome, name: str, device: str) -> float:
    """nan where only one size was measured."""
    costs = {}
    for one in outcome.timings:
        if (one.contestant.name, one.contestant.device) == (name, device):
            costs.setdefault(one.contestant.side**2, one.seconds_a_frame)
    return growth(list(costs), list(costs.values())) if len(costs) > 1 else float("nan")
