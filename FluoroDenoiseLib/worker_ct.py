"""What the worker does where the model is for CT: the requests denoise, preview and folder for volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from FluoroDenoiseLib.ct_jobs import CtReport, denoise_ct, is_for_ct, preview_ct, volumes_below
from FluoroDenoiseLib.ct_targets import check_target_folder
from FluoroDenoiseLib.errors import UnsupportedError
from FluoroDenoiseLib.folders import Task
from FluoroDenoiseLib.jobs import DenoiseSettings, made_with
from FluoroDenoiseLib.targets import UsageError, make_folder
from FluoroDenoiseLib.worker_archive import do_archive

KINDS = (None, "run", "volume")
Counted = Callable[[Iterable, int, Callable], Iterator]


def meant_for_ct(request: dict, settings: DenoiseSettings) -> bool:
    """Whether the model is for CT. UnsupportedError where the request says that its pixels are of the other kind."""
    kind, for_ct = request.get("kind"), is_for_ct(settings.model)
    if kind not in KINDS:
        raise UsageError('"kind" of a request is "run" or "volume", or left out.')
    if kind == "volume" and not for_ct:
        raise UnsupportedError("This is a CT volume, and the chosen model is for X-ray runs; choose the preset ct.")
    if kind == "run" and for_ct:
        raise UnsupportedError("This is an X-ray run, and the chosen model is for CT volumes; choose the preset quality or fast.")
    if not for_ct and request.get("spacing_mm") is not None:
        raise UsageError('"spacing_mm" is that of CT volumes; leave it out for X-ray runs.')
    return for_ct


def spacing_of(request: dict) -> tuple[float, float, float] | None:
    """What the request says of the distances of slices, rows and columns, mm."""
    spacing = request.get("spacing_mm")
    if spacing is None:
        return None
    if not (isinstance(spacing, list) and len(spacing) == 3 and all(isinstance(one, (int, float)) and 0 < one < math.inf for one in spacing)):
        raise UsageError('"spacing_mm" of a request is three distances in mm, of slices, rows and columns, or left out.')
    return tuple(map(float, spacing))


def denoise(request: dict, settings: DenoiseSettings, send: Callable, check: Callable[[], None], models, counted: Counted) -> dict:
    restorer, compute = models.get(settings)
    check()

    def watch(slices: Iterable, count: int, facts: dict) -> Iterator:
        send("started", count=count, **facts)
        yield from counted(slices, count, send)

    return denoise_ct(Path(request["frames"]), Path(request["output"]), restorer, compute, settings,
                      overwrite=bool(request.get("overwrite", True)), watch=watch, check=check, spacing_mm=spacing_of(request)).as_dict()


def preview(request: dict, settings: DenoiseSettings, check: Callable[[], None], models) -> dict:
    restorer, compute = models.get(settings)
    check()
    return preview_ct(Path(request["frames"]), Path(request["output"]), request["index"], restorer, compute, settings,
                      overwrite=bool(request.get("overwrite", True)), spacing_mm=spacing_of(request))


def folder(request: dict, settings: DenoiseSettings, send: Callable, check: Callable[[], None], models, counted: Counted) -> dict:
    source, target = Path(request["source"]), Path(request["target"])
    check_target_folder(source, target)
    tasks = volumes_below(source, target)
    restorer, compute = models.get(settings)
    make_folder(target)
    send("started", count=len(tasks), device=compute.device, precision=compute.precision, reason=compute.reason, model=restorer.name)

    def denoise_one(task: Task, replace: bool) -> CtReport:
        return denoise_ct(task.source.path, task.place, restorer, compute, settings, replace, check=check,
                          series=task.source if task.source.series else None,
                          watch=lambda slices, count, facts: counted(slices, count, send))

    return do_archive(tasks, target, made_with(restorer, settings), bool(request.get("overwrite", False)), denoise_one, send, check)
