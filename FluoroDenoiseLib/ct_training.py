"""Trainings on folders of CT volumes: read the volumes, then the training that the recipe describes."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.formats.ct import read_ct_folder
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import CtCycleRecipe, CtSlicesRecipe
from FluoroDenoiseLib.training.ct_cycle import train_ct_cycle
from FluoroDenoiseLib.training.ct_slices import train_ct_slices
from FluoroDenoiseLib.training.loop import Progress


def train_ct(
    recipe: CtSlicesRecipe | CtCycleRecipe, runs: Path, normal: Path | None, out: Path, compute: Compute, start: Model | None
) -> Iterator[Progress]:
    """Train on the CT volumes below `runs`; normal: the folder of the normal-dose volumes of other patients, of a cycle.

    InputError where a folder holds none, or `normal` is missing or makes no sense.
    """
    if isinstance(recipe, CtSlicesRecipe):
        if normal is not None:
            raise InputError(f"{recipe.name} learns without normal-dose volumes; leave out --normal.")
        yield from train_ct_slices(recipe, read_ct_folder(runs), out, compute, start)
        return
    if normal is None:
        raise InputError(f"{recipe.name} needs normal-dose volumes of other patients; give their folder with --normal.")
    if not normal.is_dir():
        raise InputError(f"{normal} is not a folder; give the folder of the normal-dose volumes.")
    yield from train_ct_cycle(recipe, read_ct_folder(runs), read_ct_folder(normal), out, compute, start)
