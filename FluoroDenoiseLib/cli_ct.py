"""The command `denoise` for CT: a volume, or every volume of a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from FluoroDenoiseLib.cli_archive import Words, denoise_archive, refuse_extras
from FluoroDenoiseLib.console import say
from FluoroDenoiseLib.ct_jobs import CtReport, denoise_ct, load_ct, volumes_below
from FluoroDenoiseLib.ct_targets import check_ct_targets, check_target_folder, the_one_series
from FluoroDenoiseLib.folders import Task
from FluoroDenoiseLib.jobs import made_with
from FluoroDenoiseLib.targets import make_folder

if TYPE_CHECKING:
    import argparse

    from FluoroDenoiseLib.jobs import DenoiseSettings, Watch


def denoise(options: argparse.Namespace, settings: DenoiseSettings) -> int:
    """Denoise a series or file, or all volumes of a folder, of which a bad one does not stop the others."""
    series = None
    if options.source.is_dir():
        check_target_folder(options.source, options.target)
        series = the_one_series(options.source, options.target)
        if series is None:
            return _denoise_folder(options, settings)
    check_ct_targets(options.source, options.target, options.compare, options.residual, options.overwrite)
    restorer, compute = load_ct(settings)
    _denoise_one(options.source, options.target, restorer, compute, settings, options.overwrite, series=series,
                 compare=options.compare, compare_frame=options.compare_frame, residual=options.residual)
    for extra in filter(None, (options.compare, options.residual)):
        say(f"{extra}: written")
    return 0


def _denoise_folder(options: argparse.Namespace, settings: DenoiseSettings) -> int:
    """Denoise every volume below a folder to the same place below another; 0 when all are there, else 3."""
    refuse_extras(options)
    tasks = volumes_below(options.source, options.target)
    restorer, compute = load_ct(settings)
    make_folder(options.target)

    def denoise_one(task: Task, overwrite: bool, watch: Watch) -> CtReport:
        return denoise_ct(task.source.path, task.place, restorer, compute, settings, overwrite, watch=watch,
                          series=task.source if task.source.series else None)

    by = f"by {restorer.name}, device: {compute.device} in {compute.precision}: {compute.reason}"
    return denoise_archive(options, tasks, made_with(restorer, settings), by, denoise_one, Words("volume", "slice"))


def _denoise_one(
    source: Path, target: Path, restorer, compute, settings, overwrite: bool, **targets: object
) -> CtReport:
    """Denoise a volume, saying what was found before and what became of it after."""
    from tqdm import tqdm

    def watch(slices: Iterable, count: int, facts: dict) -> Iterable:
        (height, width), (step, row, column) = facts["size"], facts["spacing_mm"]
        say(f"{source}: {slices_in_words(count)} of {width}x{height}, {step:.4g} mm apart, pixels {column:.3g} x {row:.3g} mm")
        say(f"  device: {facts['device']} in {facts['precision']}: {facts['reason']}")
        for warning in facts["warnings"]:
            print(f"  note: {warning}", file=sys.stderr)
        return tqdm(slices, total=count, unit=" slices", desc="  denoising", leave=False, disable=None)

    report = denoise_ct(source, target, restorer, compute, settings, overwrite, watch=watch, **targets)
    say(f"{target}: {slices_in_words(report.frames)} by {restorer.name} in {report.seconds:.1f} s "
        f"({report.seconds / report.frames:.2f} s a slice)")
    say(f"  {report.clipped} of {report.pixels} pixels clipped, mean changed by {report.mean_change_hu:+.3f} HU")
    return report


def slices_in_words(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"
