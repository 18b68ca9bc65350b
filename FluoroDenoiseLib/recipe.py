"""Training recipes: everything that decides a model, as plain frozen values that go to disk before the first step.

A recipe is JSON with a "kind". Unknown or mistyped fields are refused by name, so a misspelt setting cannot be
silently ignored.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from FluoroDenoiseLib.errors import ModelError


@dataclass(frozen=True)
class TrainingRecipe:
    """What every training states.

    batch: clips of a process in a micro-batch; accumulate: micro-batches of an optimiser step, for batches that memory
    does not hold at once. patch: pixels on a side of a clip. ema_decay: of the averaged weights, which are what is kept.
    checkpoint_every, preview_every: steps; 0 previews none. seed: of weights and clips.
    Raises ModelError for a number that makes no training.
    """

    name: str = "model"
    steps: int = 4_000
    batch: int = 8
    accumulate: int = 1
    patch: int = 96
    learning_rate: float = 2e-4
    warmup_steps: int = 100
    ema_decay: float = 0.999
    precision: str = "bfloat16"
    checkpoint_every: int = 250
    preview_every: int = 500
    seed: int = 0
    kind: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "patch", "warmup_steps", "checkpoint_every", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ModelError(f"Recipe field {name!r} is {getattr(self, name)} but must be above 0; correct it in the recipe.")
        for name in ("preview_every", "seed"):
            if getattr(self, name) < 0:
                raise ModelError(f"Recipe field {name!r} is {getattr(self, name)} but must be 0 or more; correct it in the recipe.")
        if not 0 <= self.ema_decay < 1:
            raise ModelError(f"Recipe field 'ema_decay' is {self.ema_decay} but must lie in [0, 1); correct it in the recipe.")


@dataclass(frozen=True)
class PretrainRecipe(TrainingRecipe):
    """Supervised training of a refiner on simulated runs, whose truth is known exactly.

    radius: neighbouring frames on each side, unaligned. guides: the recursion's predictions that go in beside them,
    "causal" (from the past) or "both" (past and future). widths: channels at 1/2, 1/4, 1/8 ... of the resolution.
    turned: once trained, restore every picture upright and a quarter turn round, and take the mean: twice the time.
    tool_weight: how much more an error on a fully visible tool costs than one on anatomy; a plain mean over pixels
    rewards a network that fades wires it is unsure of. tool_share: part of the clips drawn on a tool. balanced: every clip
    counts by the logarithm of its error, as PSNR does; otherwise high doses count most, since they have most to get wrong.
    contrast_weight: of the error in the contrast of tools, beside the distance itself; ghost_share: the part of it that ghosts
    have, fading has the rest. edge_weight: how much more an error on a full edge costs. flank_share: part of the tool_weight
    that holds beside a tool, too; where only the tool itself counts, a network that is unsure of its place draws it wider.
    """

    name: str = "quality"
    radius: int = 2
    guides: str = "both"
    widths: tuple[int, ...] = (48, 96, 144)
    blocks: int = 2
    turned: bool = False
    steps: int = 12_000
    batch: int = 12
    patch: int = 128
    learning_rate: float = 6e-4
    warmup_steps: int = 200
    tool_weight: float = 6.0
    tool_share: float = 0.5
    balanced: bool = False
    contrast_weight: float = 0.0
    ghost_share: float = 0.5
    edge_weight: float = 0.0
    flank_share: float = 0.0
    checkpoint_every: int = 500
    kind: str = "pretrain"


@dataclass(frozen=True)
class TeacherRecipe(TrainingRecipe):
    """Step 1 of Jeon et al.: MSR2AU-Net learns the centre frame from its neighbours alone, without clean images."""

    name: str = "teacher"
    frames: int = 5
    width: int = 32
    levels: int = 4
    recurrences: int = 2
    norm: str = "group"
    blind: bool = True
    kind: str = "teacher"


@dataclass(frozen=True)
class StudentRecipe(TrainingRecipe):
    """Step 2 of Jeon et al., mended: a single-frame student of the frozen teacher and of a recursive target.

    width, levels, norm: of StudentUNet. distillation, recursion, edge, fourier: weights of the terms, 0 leaves one out.
    filter_weight: w of the recursive filter; neighbours: frames on each side that it averages. matrix: the cross-fusion
    matrix, "confidence" (motion), "ldl" (the paper's code) or "none" (1 everywhere). recursion_form: "fixed" (that w) or
    "variance" (the tracked one). flow: whether neighbours are warped to the centre. wavelet: of the edge term.
    """

    name: str = "student"
    width: int = 32
    levels: int = 4
    norm: str = "none"
    distillation: float = 1.0
    recursion: float = 1.0
    edge: float = 0.2
    fourier: float = 0.0
    filter_weight: float = 0.2
    neighbours: int = 2
    matrix: str = "confidence"
    recursion_form: str = "fixed"
    flow: bool = True
    wavelet: str = "haar"
    kind: str = "student"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("matrix", ("confidence", "ldl", "none")), ("recursion_form", ("fixed", "variance"))):
            if getattr(self, name) not in known:
                raise ModelError(f"Recipe field {name!r} is {getattr(self, name)!r}; use one of {', '.join(known)}.")
        if min(self.distillation, self.recursion, self.edge, self.fourier) < 0 or self.distillation + self.recursion == 0:
            raise ModelError("A student's weights are 0 or more, and 'distillation' and 'recursion' not both 0; correct the recipe.")
        if not 0 < self.filter_weight < 1 or self.neighbours < 1:
            raise ModelError(
                f"Recipe fields 'filter_weight' {self.filter_weight} and 'neighbours' {self.neighbours} make no filter; use a "
                "weight between 0 and 1 and at least 1 neighbour."
            )
        if self.recursion_form == "variance" and not self.flow:
            raise ModelError('Recursion form "variance" always follows the motion; set "flow": true, or take the form "fixed".')


@dataclass(frozen=True)
class UnsupervisedRecipe(TrainingRecipe):
    """The refiner of PretrainRecipe, learned from noisy runs alone.

    risk: what stands in for the error, "sure" (Stein's estimate) or "r2r" (recorruption). perturbation: the noise added for
    it, in units of the run's own: 0.1 is 1 % more in variance than the network will meet, and large against rounding; for
    recorruption 0.5 is usual. outstanding_share: part of the clips drawn round things that the recursion does not follow.
    fourier: weight of the Fourier-amplitude term, 0 leaves it out.
    """

    name: str = "unsupervised"
    radius: int = 2
    guides: str = "both"
    widths: tuple[int, ...] = (48, 96, 144)
    blocks: int = 2
    turned: bool = False
    patch: int = 128
    risk: str = "sure"
    perturbation: float = 0.1
    outstanding_share: float = 0.25
    fourier: float = 0.0
    kind: str = "unsupervised"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.risk not in ("sure", "r2r"):
            raise ModelError(f"Recipe field 'risk' is {self.risk!r} but must be \"sure\" or \"r2r\"; correct it in the recipe.")
        if not 0 < self.perturbation <= 1:
            raise ModelError(f"Recipe field 'perturbation' is {self.perturbation} but must lie in (0, 1]; correct it in the recipe.")


@dataclass(frozen=True)
class CtSlicesRecipe(TrainingRecipe):
    """The refiner on the slices of CT volumes, whose neighbours take the place of frames.

    learn: from "truth" (the volumes are taken for noise-free, and noise of tomography at every dose is put in), "sure"
    (Stein's estimate on noisy volumes) or "neighbours" (the noisy slice next to those the network sees, where alike).
    radius: neighbouring slices on each side; with 0 each slice is alone. perturbation: as of UnsupervisedRecipe.
    drawn_share: part of the clips of "truth" with discs, vessels and blobs drawn in; thing_weight: how much more an error on
    them costs than one elsewhere, where they stand out of the noise, since a plain mean rewards fading what is small.
    """

    name: str = "ct"
    learn: str = "truth"
    radius: int = 1
    widths: tuple[int, ...] = (32, 64, 96)
    blocks: int = 2
    patch: int = 96
    perturbation: float = 0.1
    drawn_share: float = 0.5
    thing_weight: float = 0.0
    kind: str = "ct-slices"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learn not in ("truth", "sure", "neighbours"):
            raise ModelError(f"Recipe field 'learn' is {self.learn!r} but must be \"truth\", \"sure\" or \"neighbours\"; correct it.")
        for name in ("radius", "thing_weight"):
            if getattr(self, name) < 0:
                raise ModelError(f"Recipe field {name!r} is {getattr(self, name)} but must be 0 or more; correct it in the recipe.")
        if not 0 < self.perturbation <= 1:
            raise ModelError(f"Recipe field 'perturbation' is {self.perturbation} but must lie in (0, 1]; correct it in the recipe.")


@dataclass(frozen=True)
class CtCycleRecipe(TrainingRecipe):
    """Unpaired training on low-dose and normal-dose slices of different patients, after Pu et al. (arXiv 2605.00793).

    width, blocks, norm: of both generators. adversarial, cycle, identity, perceptual: weights of the terms. pool:
    earlier fakes that the discriminators are shown. flat_share: part of the steps before the learning rate falls linearly
    to 0. critic_width, feature_width: of discriminators and features.
    """

    name: str = "ct-cycle"
    width: int = 64
    blocks: int = 6
    norm: str = "instance"
    adversarial: float = 1.0
    cycle: float = 10.0
    identity: float = 5.0
    perceptual: float = 0.1
    pool: int = 50
    flat_share: float = 0.5
    critic_width: int = 64
    feature_width: int = 32
    patch: int = 128
    batch: int = 4
    warmup_steps: int = 1
    kind: str = "ct-cycle"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in ("instance", "none"):
            raise ModelError(f"Recipe field 'norm' is {self.norm!r} but must be \"instance\" or \"none\"; correct it in the recipe.")
        if min(self.adversarial, self.cycle, self.identity, self.perceptual) < 0 or not 0 <= self.flat_share <= 1:
            raise ModelError("The weights of a cycle are 0 or more and 'flat_share' lies in [0, 1]; correct the recipe.")
        for name in ("width", "blocks", "pool", "critic_width", "feature_width"):
            if getattr(self, name) < 1:
                raise ModelError(f"Recipe field {name!r} is {getattr(self, name)} but must be 1 or more; correct it in the recipe.")


Recipe = PretrainRecipe | TeacherRecipe | StudentRecipe | UnsupervisedRecipe | CtSlicesRecipe | CtCycleRecipe
KINDS: dict[str, type] = {
    "pretrain": PretrainRecipe, "teacher": TeacherRecipe, "student": StudentRecipe, "unsupervised": UnsupervisedRecipe,
    "ct-slices": CtSlicesRecipe, "ct-cycle": CtCycleRecipe,
}


def recipe_from_dict(values: dict) -> Recipe:
    """The recipe that `values` states. ModelError for an unknown kind, an unknown field or a value of another type."""
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelError(f'Recipe kind {kind!r} is unknown; write "kind": one of {", ".join(KINDS)}.')
    recipe_type = KINDS[kind]
    defaults = {field.name: field.default for field in fields(recipe_type)}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise ModelError(f"Recipe field {unknown[0]!r} is unknown for {kind}; known are {', '.join(defaults)}.")
    return recipe_type(**{name: _checked(name, value, defaults[name]) for name, value in values.items()})


def _checked(name: str, value: object, default: object) -> object:
    if isinstance(default, tuple) and isinstance(value, (list, tuple)) and all(type(item) is int for item in value):
        return tuple(value)
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise ModelError(
            f"Recipe field {name!r} is {value!r} but must be of the kind of {default!r}; correct it in the recipe."
        )
    return value


def recipe_to_dict(recipe: Recipe) -> dict:
    values = asdict(recipe)
    return {"kind": values.pop("kind"), **values}


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a JSON file. ModelError with the file's name when it is absent or not a recipe."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"Recipe {path} cannot be read ({error.strerror}); give the path of a recipe JSON.") from error
    except ValueError as error:
        raise ModelError(f"Recipe {path} is not JSON ({error}); correct it.") from error
    if not isinstance(values, dict):
        raise ModelError(f"Recipe {path} must be one JSON object with a \"kind\"; correct it.")
    return recipe_from_dict(values)


def save_recipe(recipe: Recipe, path: str | Path) -> None:
    Path(path).write_text(json.dumps(recipe_to_dict(recipe), indent=2) + "\n", encoding="utf-8")
