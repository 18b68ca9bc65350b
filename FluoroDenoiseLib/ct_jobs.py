"""What the command line and the worker do with CT: whole jobs from a series or file to another. See jobs for X-ray runs."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, Iterator

import numpy as np

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.ct_targets import check_ct_targets, hu_writer, places
from FluoroDenoiseLib.errors import InputError, ModelError, UnsupportedError
from FluoroDenoiseLib.folders import Task
from FluoroDenoiseLib.formats import Provenance, kind_of
from FluoroDenoiseLib.formats.ct import CtSource, read_ct, write_ct
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.jobs import DenoiseReport, DenoiseSettings, Watch
from FluoroDenoiseLib.targets import UsageError, check_space

if TYPE_CHECKING:
    from FluoroDenoiseLib.compute import Compute
    from FluoroDenoiseLib.ct_denoise import Restored, SliceRestorer
    from FluoroDenoiseLib.ct_volume import CtVolume

PRESET = "ct"
SHIPPED = Path(__file__).parent / "models" / PRESET
SOFT_TISSUE_HU = (-160.0, 240.0)

Spacing = tuple[float, float, float]  # slice, row, column, mm


@dataclass(frozen=True)
class CtReport(DenoiseReport):
    """What became of a volume; its frames are slices. mean_change_hu: within the picture; mean_change: as a share of the
    soft-tissue window."""

    mean_change_hu: float = 0.0


def is_for_ct(model: str | Path) -> bool:
    """Whether a preset's name or a model folder is for CT; False for what is no model at all, which loading it says."""
    if str(model) == PRESET:
        return True
    try:
        kind = json.loads((Path(model) / "model.json").read_text(encoding="utf-8"))["recipe"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return str(kind).startswith("ct-")


def load_ct(settings: DenoiseSettings) -> tuple[SliceRestorer, Compute]:
    """The network and the device that `settings` name. ModelError where there is none, or it is for X-ray runs."""
    if settings.model == PRESET and not (SHIPPED / "model.json").is_file():
        raise ModelError("The preset ct is not part of this installation; train a model (docs/CT.md) and name its folder with --model.")
    if settings.noise is not None:
        raise UnsupportedError("A noise law is for X-ray runs, not for CT; leave out --noise.")
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.ct_restorer import load_ct_restorer

    compute = choose(settings.device, settings.precision)
    return load_ct_restorer(settings.model, compute, settings.tile), compute


def denoise_ct(
    source: Path,
    target: Path,
    restorer: SliceRestorer,
    compute: Compute,
    settings: DenoiseSettings,
    overwrite: bool = False,
    compare: Path | None = None,
    compare_frame: int | None = None,
    residual: Path | None = None,
    watch: Watch = lambda slices, count, facts: slices,
    check: Callable[[], None] = lambda: None,
    series: CtSource | None = None,
    spacing_mm: Spacing | None = None,
) -> DenoiseReport:
    """Denoise one CT volume into another of the same kind: a file, or a folder with a series, of which `series` is one.

    The rest is as in jobs.denoise_file, slices in the place of frames; the residual is in Hounsfield units, and the
    comparison in the soft-tissue window. spacing_mm: slice, row, column, of a .npy, which states none.
    """
    from FluoroDenoiseLib.ct_denoise import denoise_slices

    check_ct_targets(source, target, compare, residual, overwrite)
    volume = _spaced(series.read() if series else read_ct(source), spacing_mm)
    check_space(volume, target, residual)
    shown = len(volume) // 2 if compare_frame is None else compare_frame
    if not 0 <= shown < len(volume):
        raise InputError(f"Slice {shown} is asked for, but {volume.name} has slices 0 to {len(volume) - 1}.")
    check()
    tally, begin = _Tally(shown), time.monotonic()
    with ExitStack() as stack:
        keep = stack.enter_context(hu_writer(residual, volume)) if residual else None
        results = tally.count(denoise_slices(volume, restorer, compute, settings.strength, check), keep)
        results = watch(results, len(volume), facts_of(volume, restorer, compute))
        if compare is not None:
            title = f"denoised ({restorer.name}), slice {shown} of 0-{len(volume) - 1}"
            results = _then_draw(results, tally, title, stack.enter_context(whole_file(compare)))
        written = write_ct(target, results, volume, made_by(restorer, settings, volume), overwrite)
    low, high = SOFT_TISSUE_HU
    return CtReport(str(target), written.frames, written.clipped, written.pixels, tally.mean_change_hu / (high - low),
                    round(time.monotonic() - begin, 3), tally.mean_change_hu)


def volumes_below(source: Path, target: Path) -> list[Task]:
    """Every CT below `source` with its place below `target`; see ct_targets.places."""
    return [Task(one, one.series.files if one.series else (one.path,), place) for one, place in places(source, target)]


def preview_ct(
    source: Path, target: Path, index: int, restorer: SliceRestorer, compute: Compute, settings: DenoiseSettings, overwrite: bool = True,
    spacing_mm: Spacing | None = None,
) -> dict:
    """Denoise slice `index` of a .npy volume into another .npy with this slice alone; see preview.preview_file and denoise_ct."""
    from FluoroDenoiseLib.ct_denoise import denoise_slice, reach_of

    begin = time.monotonic()
    if kind_of(source) != "npy":
        raise UsageError(f"A slice of {source.name} alone has no place in a file of its kind; give the volume as .npy.")
    check_ct_targets(source, target, None, None, overwrite)
    volume = _spaced(read_ct(source), spacing_mm)
    if not 0 <= index < len(volume):
        raise InputError(f"Slice {index} is asked for, but {source.name} has slices 0 to {len(volume) - 1}.")
    one = denoise_slice(volume, index, restorer, compute, settings.strength)
    alone = replace(volume, slices=[one.stored], values=volume.values[index : index + 1], breaks=(), source=replace(volume.source, header=None))
    write_ct(target, [one.result], alone, made_by(restorer, settings, volume), overwrite)
    return {"output": str(target), "reach": reach_of(restorer, volume), "device": compute.device, "seconds": round(time.monotonic() - begin, 3)}


def _spaced(volume: CtVolume, spacing_mm: Spacing | None) -> CtVolume:
    if spacing_mm is None:
        return volume
    if volume.source.kind != "npy":
        raise UsageError(f"{volume.name} states its own spacing; leave spacing_mm out, which is for .npy files.")
    return replace(volume, spacing_mm=spacing_mm)


def made_by(restorer: SliceRestorer, settings: DenoiseSettings, volume: CtVolume) -> Provenance:
    """What the written file says about its making."""
    from FluoroDenoiseLib.ct_denoise import reach_of

    parameters = f"strength {settings.strength:g}, {reach_of(restorer, volume)} neighbouring slices on each side"
    return Provenance(__version__, restorer.name, restorer.sha256, settings.strength, parameters)


def _then_draw(results: Iterable[np.ndarray], tally: _Tally, title: str, path: Path) -> Iterator[np.ndarray]:
    """The slices, and then a picture into `path`, before the volume itself is put in its place."""
    from FluoroDenoiseLib.pictures import comparison

    yield from results
    comparison(*tally.shown, title, window=SOFT_TISSUE_HU, unit="HU").save(path, format="PNG", optimize=True)


class _Tally:
    """The change of the mean within the picture, and one pair of slices to show."""

    def __init__(self, shown: int) -> None:
        self.shown: tuple[np.ndarray, np.ndarray] | None = None
        self._shown_index = shown
        self._changes: list[float] = []

    def count(self, slices: Iterable[Restored], keep_residual: Callable | None) -> Iterator[np.ndarray]:
        for index, one in enumerate(slices):
            removed = one.noisy_hu - one.clean_hu
            self._changes.append(-float(removed.mean(dtype=np.float64)))
            if index == self._shown_index:
                self.shown = one.noisy_hu, one.clean_hu
            if keep_residual is not None:
                keep_residual(removed)
            yield one.result

    @property
    def mean_change_hu(self) -> float:
        """Mean of denoised minus mean of noisy, HU."""
        return float(np.mean(self._changes))


def facts_of(volume: CtVolume, restorer: SliceRestorer, compute: Compute) -> dict:
    """What a person should know before the first slice is done, and what to note beside the result, in plain values."""
    import torch

    return {
        "version": __version__, "model_sha256": restorer.sha256, "torch_version": str(torch.__version__),
        "device": compute.device, "precision": compute.precision, "reason": compute.reason, "model": restorer.name,
        "kind": "volume", "size": list(volume.shape[1:]), "spacing_mm": list(volume.spacing_mm), "warnings": list(volume.warnings),
    }
