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
class PretrainRecipe:
    """Supervised training of a refiner on simulated runs, whose truth is known exactly.

    radius: neighbouring frames on each side, unaligned. guides: the recursion's predictions that go in beside them,
    "causal" (from the past) or "both" (past and future). widths: channels at 1/2, 1/4, 1/8 ... of the resolution.
    tool_weight: how much more an error on a fully visible tool costs than one on anatomy; a plain mean over pixels
    rewards a network that fades wires it is unsure of. tool_share: part of the clips drawn on a tool.
    """

    name: str = "quality"
    radius: int = 2
    guides: str = "both"
    widths: tuple[int, ...] = (48, 96, 144)
    blocks: int = 2
    steps: int = 12_000
    batch: int = 12
    patch: int = 128
    learning_rate: float = 6e-4
    warmup_steps: int = 200
    ema_decay: float = 0.999
    tool_weight: float = 6.0
    tool_share: float = 0.5
    precision: str = "bfloat16"
    checkpoint_every: int = 500
    seed: int = 0
    kind: str = "pretrain"


@dataclass(frozen=True)
class TeacherRecipe:
    """Step 1 of Jeon et al.: MSR2AU-Net learns the centre frame from its neighbours alone, without clean images."""

    name: str = "teacher"
    frames: int = 5
    width: int = 32
    levels: int = 4
    recurrences: int = 2
    norm: str = "group"
    blind: bool = True
    steps: int = 4_000
    batch: int = 8
    patch: int = 96
    learning_rate: float = 2e-4
    warmup_steps: int = 100
    ema_decay: float = 0.999
    precision: str = "bfloat16"
    checkpoint_every: int = 250
    seed: int = 0
    kind: str = "teacher"


Recipe = PretrainRecipe | TeacherRecipe
KINDS: dict[str, type] = {"pretrain": PretrainRecipe, "teacher": TeacherRecipe}


def recipe_from_dict(values: dict) -> Recipe:
    """The recipe that `values` states. ModelError for an unknown kind, an unknown field or a value of another type."""
    kind = values.get("kind")
    if kind not in KINDS:
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
