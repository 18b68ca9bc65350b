"""The CT comparison: one row for each method on each scene, a table of all, and plots of noise, edges and pictures."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np

from FluoroDenoiseLib.ct_restorer import CtRestorer
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.evaluation import ct_metrics as metrics
from FluoroDenoiseLib.evaluation import ct_observer as observer
from FluoroDenoiseLib.evaluation.ct_methods import RIVALS, CtRival, Restore, methods, timed
from FluoroDenoiseLib.evaluation.ct_scenes import CtScene
from FluoroDenoiseLib.pictures import curves, save_picture, side_by_side, to_grey

NAN = math.nan
NOISE_SIDE = 64


@dataclass(frozen=True)
class CtRow:
    """What one method made of one scene; nan where the scene does not tell.

    psnr, ssim, vif: in the soft-tissue window. rmse, bias, noise: HU, in the body, the shift of the worst uniform region, in
    uniform regions. frequency: mean of the noise, cycles/mm. edge: at which the modulation of a rod's edge is one half, cycles/mm.
    dprime: of faint discs, and how much more it is than of the noisy
    slices, with the 95 % interval of that. lesions shown by the noisy slices,
    lost here, and faded: kept by less than half. pairs: least share of the line pairs' modulation that is kept. cpu_s: a slice.
    """

    scene: str
    method: str
    psnr: float = NAN
    ssim: float = NAN
    vif: float = NAN
    rmse: float = NAN
    bias: float = NAN
    noise: float = NAN
    frequency: float = NAN
    edge: float = NAN
    dprime: float = NAN
    dprime_more: float = NAN
    dprime_low: float = NAN
    dprime_high: float = NAN
    shown: float = NAN
    lost: float = NAN
    faded: float = NAN
    contrast: float = NAN
    pairs: float = NAN
    cpu_s: float = NAN


@dataclass(frozen=True)
class Judged:
    """A row, its noise power and edge for the plots (frequencies, values), and the middle slice."""

    row: CtRow
    noise_power: tuple[np.ndarray, np.ndarray] | None
    edge: tuple[np.ndarray, np.ndarray] | None
    picture: np.ndarray


def evaluate_ct(
    scenes: Sequence[CtScene], restorers: list[CtRestorer], rivals: Sequence[CtRival] = RIVALS, strength: float = 1.0
) -> Iterator[Judged]:
    """Every method on every scene, models with this strength, as they are done."""
    for scene in scenes:
        for name, restore in methods(scene, restorers, rivals, strength):
            yield judge(scene, name, restore)


def judge(scene: CtScene, name: str, restore: Restore) -> Judged:
    made, cpu_s = timed(restore, scene.noisy)
    values: dict[str, float] = {"noise": metrics.noise_left(made, scene.uniform), "cpu_s": cpu_s}
    power = edge = None
    # The noise has no mean, so a shift against the noisy slices is one against the truth, and known far better.
    values["bias"] = metrics.hu_bias(made, scene.noisy, scene.uniform)
    if scene.truth is not None:
        error = (made - scene.truth)[:, scene.body]
        values |= {"psnr": metrics.window_psnr(made, scene.truth, scene.body), "ssim": metrics.window_ssim(made, scene.truth),
                   "vif": metrics.vif(made, scene.truth), "rmse": float(np.sqrt((error**2).mean()))}
        if scene.alone:
            power = metrics.noise_power(_middle(made - made.mean(0)) * math.sqrt(len(made) / max(len(made) - 1, 1)), scene.pixel_mm)
            values["frequency"] = metrics.mean_frequency(*power)
    if scene.discs:
        found = observer.compare_detectability(scene.noisy, made, scene.discs, scene.absent)
        values |= {"dprime": found.value, "dprime_more": found.more, "dprime_low": found.low, "dprime_high": found.high}
    if scene.rod is not None:
        edge = observer.transfer(made.mean(0), scene.rod, scene.pixel_mm)
        values["edge"] = observer.half_frequency(*edge)
    if scene.lesions:
        values |= _lesions(scene, made, restore)
    if scene.pairs:
        values["pairs"] = _pairs(scene, made, restore)
    return Judged(CtRow(scene.name, name, **values), power, edge, made[len(made) // 2])


def pooled(rows: Sequence[CtRow], scene: str) -> list[CtRow]:
    """One row for each method, of all places of an anatomy: lesions added up, errors and noise as root mean squares (PSNR as
    that of the mean square error), the largest shift, the mean of everything else."""
    together = []
    for method in dict.fromkeys(row.method for row in rows):
        values = {one.name: np.array([getattr(row, one.name) for row in rows if row.method == method])
                  for one in fields(CtRow) if one.name not in ("scene", "method")}
        made = {name: float(found.mean()) for name, found in values.items()}
        made |= {name: float(values[name].sum()) for name in ("shown", "lost", "faded")}
        made |= {name: float(np.sqrt((values[name] ** 2).mean())) for name in ("rmse", "noise")}
        made |= {"psnr": float(-10 * np.log10((10 ** (-values["psnr"] / 10)).mean())), "bias": float(values["bias"].max())}
        together.append(CtRow(scene, method, **made))
    return together


def _middle(slices: np.ndarray) -> np.ndarray:
    top, left = ((size - NOISE_SIDE) // 2 for size in slices.shape[1:])
    return slices[:, top : top + NOISE_SIDE, left : left + NOISE_SIDE]


def _lesions(scene: CtScene, made: np.ndarray, restore: Restore) -> dict[str, float]:
    """Spheres put in under the same noise: how many the noisy slices show, how many of those are lost, contrast kept."""
    things = np.zeros_like(scene.noisy)
    for centre, lesion in scene.lesions:
        for index in range(len(things)):
            inside = lesion.radius**2 - ((index - centre) * scene.slice_mm / scene.pixel_mm) ** 2
            if inside > 0:
                things[index] += observer.disc_image(things.shape[1:], observer.Disc(lesion.row, lesion.column, inside**0.5, lesion.contrast))
    noisy, restored = scene.noisy + things, restore(scene.noisy + things)
    spread = {name: np.std([observer.shown_strength((slices - scene.truth)[k], lesion)
                            for _, lesion in scene.lesions for k in range(len(slices))])
              for name, slices in (("noisy", scene.noisy), ("made", made))}
    shown, lost, faded, kept = 0, 0, 0, []
    for centre, lesion in scene.lesions:
        reach = round(3 * lesion.radius)
        area = np.s_[int(lesion.row) - reach : int(lesion.row) + reach + 1, int(lesion.column) - reach : int(lesion.column) + reach + 1]
        share = observer.contrast_kept(restored[centre][area], made[centre][area], things[centre][area])
        kept.append(share)
        if observer.shown_strength(noisy[centre], lesion) < observer.ROSE * spread["noisy"]:
            continue
        shown += 1
        faded += share < observer.LOST_BELOW
        lost += share < observer.LOST_BELOW or observer.shown_strength(restored[centre], lesion) < observer.ROSE * spread["made"]
    return {"shown": float(shown), "lost": float(lost), "faded": float(faded), "contrast": float(np.mean(kept))}


def _pairs(scene: CtScene, made: np.ndarray, restore: Restore) -> float:
    """The least modulation over frequencies; patterns put into the middle slices, as a phantom's bars go through them."""
    middle = len(made) // 2
    few = slice(max(0, middle - 2), middle + 3)
    at = middle - few.start
    made = restore(scene.noisy[few])
    shares = []
    for pattern in scene.pairs.values():
        restored = restore(scene.noisy[few] + pattern.astype(np.float32))
        inside = pattern > 0
        rows, columns = (slice(where.min(), where.max() + 1) for where in np.nonzero(inside))
        shares.append(observer.contrast_kept(restored[at][rows, columns], made[at][rows, columns], pattern[rows, columns]))
    return min(shares)


COLUMNS = {
    "psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3), "vif": ("VIF", 3), "rmse": ("RMSE, HU", 1), "bias": ("bias, HU", 2),
    "noise": ("noise, HU", 1), "frequency": ("noise frequency, /mm", 3), "edge": ("edge MTF50, /mm", 3), "dprime": ("d'", 2),
    "dprime_more": ("d' less noisy's", 2), "dprime_low": ("95 % from", 2), "dprime_high": ("to", 2), "shown": ("lesions shown", 0),
    "lost": ("lost", 0), "faded": ("below half", 0), "contrast": ("contrast kept", 2), "pairs": ("line pairs kept", 2), "cpu_s": ("CPU s a slice", 2),
}


def table(rows: Sequence[CtRow]) -> str:
    """One Markdown table for each scene, of what it tells."""
    parts = []
    for scene in dict.fromkeys(row.scene for row in rows):
        of_scene = [row for row in rows if row.scene == scene]
        names = [name for name in COLUMNS if any(not math.isnan(getattr(row, name)) for row in of_scene)]
        lines = [("method", *(COLUMNS[name][0] for name in names)), ("---",) * (len(names) + 1)]
        lines += [(row.method, *("-" if math.isnan(value := getattr(row, name)) else f"{value:.{COLUMNS[name][1]}f}" for name in names))
                  for row in of_scene]
        parts.append(f"**{scene}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def write_ct_report(rows: Sequence[CtRow], judged: Sequence[Judged], folder: Path, remarks: Sequence[str]) -> None:
    """Put the rows as table.md, rows.csv and rows.json, and plots of what was judged, into `folder`.

    OutputError where that cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [one.name for one in fields(CtRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    plain = [{name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(row).items()} for row in rows]
    contents = {"table.md": table(rows) + "".join(f"\n{remark}\n" for remark in remarks), "rows.csv": text.getvalue(),
                "rows.json": json.dumps(plain, indent=2) + "\n"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The report cannot be written to {folder} ({error.strerror}); choose another folder.") from error
    for scene in dict.fromkeys(one.row.scene for one in judged):
        _plot(scene, [one for one in judged if one.row.scene == scene], folder)


def _plot(scene: str, judged: list[Judged], folder: Path) -> None:
    stem = scene.replace(" %", "").replace(",", "").replace(" ", "_")
    panels = [(one.row.method, to_grey(one.picture, *metrics.WINDOW_HU)) for one in judged]
    save_picture(side_by_side(panels), folder / f"{stem}_slices.png")
    for name, of in (("noise_power", lambda one: one.noise_power), ("edge", lambda one: one.edge)):
        known = {one.row.method: of(one) for one in judged if of(one) is not None}
        if known:
            frequencies = next(iter(known.values()))[0]
            seen = frequencies <= 0.5 / 0.5 if name == "edge" else np.ones(len(frequencies), bool)
            series = {method: np.nan_to_num(values[1])[seen] for method, values in known.items()}
            save_picture(curves(series, frequencies[seen], "cycles a millimetre", logarithmic=name == "noise_power"),
                         folder / f"{stem}_{name}.png")
