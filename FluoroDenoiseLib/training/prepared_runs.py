"""Prepared runs on disk, each in a folder named by the SHA-256 of what it was made from.

A run that is there already is not prepared again, and one that changed is noticed. Of a run only its place and its facts
stay in memory, and no file stays open: memory and open files do not grow with the number of runs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, TypeVar

import numpy as np

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.formats.held_folder import held_folder
from FluoroDenoiseLib.formats.whole_file import ASIDE
from FluoroDenoiseLib.training import distributed

PREPARATION = 5  # raised whenever preparation.py makes something else of the same run
Run = TypeVar("Run")


@dataclass(frozen=True)
class PreparedRun:
    """Where the arrays of one run lie, and its facts (see preparation.py)."""

    folder: Path
    sha256: str
    facts: dict

    def array(self, name: str) -> np.ndarray:
        """An array of this run, memory-mapped."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def prepare_runs(
    runs: Iterable[Run], cache: Path, digest: Callable[[Run], str], write: Callable[[Run, Path], dict], variant: str = ""
) -> list[PreparedRun]:
    """Prepare those runs that are not in `cache` yet; the processes of a training share the work and the folder.

    write(run, folder) puts arrays into the folder and returns the facts. variant: set apart what `write` makes of a run
    from what another one would. InputError where the processes see different folders;
    OutputError while another training prepares runs there.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with held_folder(cache) if distributed.rank() == 0 else nullcontext():
        return _prepared(runs, cache, digest, write, variant)


def _prepared(
    runs: Iterable[Run], cache: Path, digest: Callable[[Run], str], write: Callable[[Run, Path], dict], variant: str
) -> list[PreparedRun]:
    if distributed.rank() == 0:
        for unfinished in cache.glob(".*.tmp"):  # of a process that was killed
            shutil.rmtree(unfinished)
    distributed.wait_for_all()
    hashes = []
    for index, run in enumerate(runs):
        mine = index % distributed.count() == distributed.rank()
        hashes.append(digest(run) if mine else "")
        if mine and not (place := _place(cache, hashes[-1], variant)).exists():
            _prepare(run, place, write)
    hashes = distributed.share_hashes(hashes)
    return [_open(_place(cache, sha256, variant), sha256) for sha256 in hashes]


def _place(cache: Path, sha256: str, variant: str) -> Path:
    return cache / f"{sha256[:16]}_{PREPARATION}{variant}"


def _prepare(run: Run, place: Path, write: Callable[[Run, Path], dict]) -> None:
    ours = hashlib.sha256(f"{place.name} {distributed.rank()}".encode()).hexdigest()[:16]  # two runs may be the same
    temporary = place.with_name(ASIDE.format(ours))
    temporary.mkdir()
    try:
        facts = write(run, temporary)
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        try:
            temporary.rename(place)
        except OSError:
            if not place.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open(place: Path, sha256: str) -> PreparedRun:
    try:
        return PreparedRun(place, sha256, json.loads((place / "facts.json").read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise InputError(f"{place} is not there; all processes of a training must share its --out folder.") from error


def summarise(facts_of_runs: list[dict]) -> dict:
    """What the card says of runs: their number, the frames of all, and of every other fact its range or its values."""
    values: dict[str, list] = {}
    for facts in facts_of_runs:
        for name, value in facts.items():
            values.setdefault(name, []).append(value)
    frames = sum(values.pop("frames"))
    return {"runs": len(facts_of_runs), "frames": frames} | {
        name: sorted(set(found)) if isinstance(found[0], str) else [min(found), max(found)] for name, found in values.items()
    }
