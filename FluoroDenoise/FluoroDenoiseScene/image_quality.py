"""How good a result is: noise, contrast, lag and what was removed, in numbers and in sentences a person can act on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

from .frames import Frames, InputProblem, frame_view
from .noise_statistics import RegionStatistics, Shading, mean_frequency
from .regions import Region, pixel_to_world, regions_of
from .removal_checks import LAG_FRAMES, RepeatingStructure, step_lag
from .residual import matched
from .verdicts import about_lag, about_mean, about_noise, about_removal

PAIRS = 16  # neighbouring frames that the removed part is judged by
RANGE_SAMPLES = 8  # frames, every eighth pixel each way, that the grey range is taken from


@dataclass(frozen=True)
class Row:
    """One line of the table; input and output may be not a number where a thing has no value."""

    region: str
    quantity: str
    unit: str
    input: float
    output: float


@dataclass(frozen=True, eq=False)
class Curve:
    """One plot line before and after: x, input, output, each [n]."""

    name: str
    x: np.ndarray
    input: np.ndarray
    output: np.ndarray


@dataclass(frozen=True, eq=False)
class Quality:
    """rows for the table, verdicts as sentences, and curves for plots; lag is None without a brightness step."""

    rows: tuple[Row, ...]
    verdicts: tuple[str, ...]
    spectra: tuple[Curve, ...]
    time_courses: tuple[Curve, ...]
    time_label: str
    lag: Curve | None


def quality(frames: Frames, output_node, regions: Sequence = (), background=None,
            edge=None) -> Generator[tuple[int, int], None, Quality]:
    """Compare a result with its input; yields (frames done, frames) after some rows of each, and returns a Quality.

    regions: ROI or segmentation nodes, each segment a region. background: one of them, for the contrast-to-noise ratio.
    edge: a line node drawn where brightness changes with time. Raises InputProblem in a sentence.
    """
    inputs, outputs = matched(frames, output_node)
    drawn = []
    for node in [*(node for node in regions if node is not background), *filter(None, [background])]:
        here = regions_of(node, inputs)
        drawn += here[:1] if node is background else here
        yield 0, inputs.count
    pixels = _pixels_on_line(edge, inputs) if edge is not None else None
    statistics = [(RegionStatistics(inputs.spacing_mm), RegionStatistics(inputs.spacing_mm)) for region in drawn]
    whole, structure, profiles = ([], []), RepeatingStructure(), ([], [])
    starts = set(np.linspace(0, max(inputs.count - 2, 0), PAIRS, dtype=int))
    shadings = {}
    for place, numbers in enumerate(zip(inputs.numbers, outputs.numbers)):
        pair = _views(inputs, outputs, numbers)
        for side in (0, 1):
            whole[side].append(float(pair[side].mean(dtype=float)))
            if pixels is not None:
                profiles[side].append(pair[side][pixels].astype(float))
            yield place, inputs.count
        if place - 1 in starts:
            before = _views(inputs, outputs, [number - 1 for number in numbers])
            for _band in structure.add(before, pair):
                yield place, inputs.count
        for which, (region, both) in enumerate(zip(drawn, statistics)):
            if numbers[0] not in region.numbers:
                continue
            mask = region.mask_in(numbers[0])
            if which not in shadings or shadings[which].mask is not mask:
                shadings[which] = Shading(mask)
            for one, frame in zip(both, pair):
                for _band in one.add(frame[region.rows, region.columns], shadings[which]):
                    yield place, inputs.count
        yield place + 1, inputs.count
    lag = step_lag(*map(np.array, profiles)) if pixels is not None else None
    spectra = []
    for region, both in zip(drawn, statistics):
        spectra.append(_spectrum_of(region, both))
        yield inputs.count, inputs.count
    return _summed_up(inputs, drawn, statistics, spectra, background is not None, whole, structure, lag, edge)


def _views(inputs: Frames, outputs: Frames, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A frame of the input and the one made from it, in their nodes' own memory."""
    return frame_view(inputs, numbers[0]), frame_view(outputs, numbers[1])


def _summed_up(frames, drawn, statistics, spectra, has_background, whole, structure, lag, edge) -> Quality:
    over_time = frames.kind != "volume"
    means = [float(np.mean(values)) for values in whole]
    rows = [Row(_("whole picture"), _("mean"), _("grey values"), *means)]
    of_background = statistics[-1] if has_background else None
    for region, both, spectrum in zip(drawn, statistics, spectra):
        rows += _rows_of(region, both, spectrum, None if both is of_background else of_background, over_time)
    if over_time and structure.pairs:
        rows.append(Row(_("whole picture"), _("removed part over noise"), "%", float("nan"), 100 * structure.removed_of_noise))
        rows.append(Row(_("whole picture"), _("removed part repeats in"), "%", float("nan"), 100 * structure.share))
    curve = missing = None
    if lag is not None:
        curve = Curve(edge.GetName(), *lag)
        missing = tuple(100 * float(side[curve.x == 1][0]) for side in (curve.input, curve.output))
        rows.append(Row(curve.name, _("lag, first frame"), "%", *missing))
    of_regions = [(region.name, one.mean, two.mean) for region, (one, two) in zip(drawn, statistics)]
    verdicts = [
        about_mean(means, of_regions, _grey_range(frames)),
        *(about_noise(region.name, one.spatial_noise, two.spatial_noise) for region, (one, two) in zip(drawn, statistics)),
        about_removal(structure.share, structure.removed_of_noise, over_time and structure.pairs > 0),
    ]
    if edge is not None:
        verdicts.append(about_lag(edge.GetName(), missing, 2 * LAG_FRAMES))
    times, label = _times(frames)
    return Quality(
        rows=tuple(rows), verdicts=tuple(verdicts),
        spectra=tuple(spectra),
        time_courses=tuple(
            Curve(region.name, times[_places(region, frames)], np.array(one.means), np.array(two.means))
            for region, (one, two) in zip(drawn, statistics)
        ),
        time_label=label, lag=curve,
    )


def _rows_of(region: Region, both, spectrum: Curve, of_background, over_time: bool) -> list[Row]:
    rows = [
        Row(region.name, _("mean"), _("grey values"), *(one.mean for one in both)),
        Row(region.name, _("noise"), _("grey values"), *(one.spatial_noise for one in both)),
    ]
    if over_time:
        rows.append(Row(region.name, _("temporal noise"), _("grey values"), *(one.temporal_noise for one in both)))
    frequencies = (mean_frequency(spectrum.x, side) for side in (spectrum.input, spectrum.output))
    rows.append(Row(region.name, _("mean noise frequency"), "1/mm", *frequencies))
    if of_background is not None:
        rows.append(Row(region.name, _("CNR"), "", *(_contrast_to_noise(*pair) for pair in zip(both, of_background))))
    return rows


def _contrast_to_noise(region: RegionStatistics, background: RegionStatistics) -> float:
    """|mean of region - mean of background| over the noise of the background."""
    noise = background.spatial_noise
    return abs(region.mean - background.mean) / noise if noise else float("nan")


def _spectrum_of(region: Region, both) -> Curve:
    before, after = (one.spectrum() for one in both)
    return Curve(region.name, before[0], before[1], after[1])


def _places(region: Region, frames: Frames) -> slice:
    return slice(region.numbers.start - frames.first, region.numbers.stop - frames.first)


def _times(frames: Frames) -> tuple[np.ndarray, str]:
    """What the time axis counts, and its name."""
    if frames.times_s is not None:
        return np.array(frames.times_s), _("time [s]")
    return np.array(frames.numbers, float), _("slice") if frames.kind == "volume" else _("frame")


def _grey_range(frames: Frames) -> float:
    """From dark to bright, the 1st to the 99th percentile of a sample, grey values."""
    chosen = np.unique(np.linspace(frames.first, frames.last, RANGE_SAMPLES, dtype=int))
    sample = np.concatenate([frame_view(frames, number)[::8, ::8].ravel() for number in chosen])
    low, high = np.percentile(sample, (1, 99))
    return float(high - low)


def _pixels_on_line(line, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the pixels under a line node, each once, in order."""
    if not line.IsA("vtkMRMLMarkupsLineNode") or line.GetNumberOfDefinedControlPoints() != 2:
        raise InputProblem(_("{name} is not a line of two points; draw one across the place that brightens.").format(name=line.GetName()))
    to_pixel = np.linalg.inv(pixel_to_world(frames))
    ends = [(to_pixel @ [*line.GetNthControlPointPositionWorld(end), 1])[:2] for end in (0, 1)]
    steps = int(np.ceil(np.abs(ends[1] - ends[0]).max())) + 1
    columns, rows = np.rint(np.linspace(ends[0], ends[1], steps)).astype(int).T
    inside = (rows >= 0) & (rows < frames.shape[0]) & (columns >= 0) & (columns < frames.shape[1])
    if not inside.any():
        raise InputProblem(_("The line {name} lies outside {frames}; move it onto the frames.").format(name=line.GetName(), frames=frames.name))
    return rows[inside], columns[inside]
