"""What CT methods are judged on: a simulated phantom, repeats by others with their truth, anatomy with lesions, a real volume."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from FluoroDenoiseLib.ct_noise import noise_level
from FluoroDenoiseLib.ct_simulation import Scanner, ct_noise
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.ct_observer import Disc, disc_image

PHANTOM = 256
PHANTOM_MM = 200 / 232  # a pixel
REPEATS_FACTS = "dose_010_signal_present", "ground_truth"
WATER = 1000.0  # of the repeats' values, which are HU + 1000
FAINT = ((3.0, 14.0), (5.0, 7.0), (7.0, 5.0), (10.0, 3.0))  # diameter mm, HU: those of the MITA low-contrast phantom
PHANTOM_TIMES = 4.0
LESION_MM, LESION_HU = 5.0, (20.0, 30.0, 40.0)
PAIRS_MM = (0.2, 0.3, 0.4, 0.5)  # line pairs a millimetre
PAIRS_HU = 300.0
EDGE_PX = 6
BODY_HU = -300.0


@dataclass(frozen=True)
class CtScene:
    """noisy, truth (None where it is not known): [Z, H, W] HU. body: [H, W], the pixels that count.

    slice_mm: from one slice to the next. alone: the slices are repeats of one, and no neighbours of each other. uniform: regions where the truth is even. discs
    and absent: faint things and places like theirs without one. lesions: to be put in, at (slice, disc). rod: a disc of
    strong contrast for the edge. pairs: line pairs to be put in, by cycles/mm, [H, W] each.
    """

    name: str
    noisy: np.ndarray
    truth: np.ndarray | None
    pixel_mm: float
    body: np.ndarray
    uniform: list[np.ndarray]
    slice_mm: float = 1.0
    alone: bool = False
    discs: list[Disc] = field(default_factory=list)
    absent: list[list[tuple[float, float]]] = field(default_factory=list)
    lesions: list[tuple[int, Disc]] = field(default_factory=list)
    rod: Disc | None = None
    pairs: dict[float, np.ndarray] = field(default_factory=dict)


def _faint_discs(times: float = 1.0) -> list[Disc]:
    """Where the repeats have theirs, at the corners of a square about the centre, `times` as strong."""
    centre = (PHANTOM - 1) / 2
    angles = {3.0: (-32.5, 32.5), 5.0: (-32.5, -32.5), 7.0: (32.5, -32.5), 10.0: (32.5, 32.5)}
    return [Disc(centre + dy, centre + dx, diameter / 2 / PHANTOM_MM, times * hu)
            for (diameter, hu), (dy, dx) in zip(FAINT, angles.values())]


def _places_without(discs: list[Disc], centre: float, count: int = 24) -> list[list[tuple[float, float]]]:
    """For each disc, places as far from the centre, no nearer to any disc than their radii allow."""
    found = []
    for disc in discs:
        distance = np.hypot(disc.row - centre, disc.column - centre)
        ring = [(centre + distance * np.sin(a), centre + distance * np.cos(a)) for a in np.arange(count) * 2 * np.pi / count]
        found.append([place for place in ring if all(
            np.hypot(place[0] - other.row, place[1] - other.column) > 2 * disc.radius + other.radius + 4 for other in discs)])
    return found


def phantom(dose: float = 0.1, repeats: int = 24, seed: int = 0, scanner: Scanner | None = None) -> CtScene:
    """A water cylinder of 200 mm with faint discs, a rod and repeats of its noise; every number of it is known exactly.

    The discs are four times as strong as those of LCD_CT, which few repeats do not tell from nothing at a tenth of the
    dose.
    """
    scanner = scanner or Scanner(quanta=1.2e5, softness=0.62, bowtie_radius_mm=100.0)
    centre = (PHANTOM - 1) / 2
    shape = (PHANTOM, PHANTOM)
    discs, rod = _faint_discs(PHANTOM_TIMES), Disc(centre, centre + 72, 9.0, 300.0)
    truth = disc_image(shape, Disc(centre, centre, 116.0, 1000.0)) - 1000 + disc_image(shape, rod)
    truth = (truth + sum(disc_image(shape, disc) for disc in discs)).astype(np.float32)
    generator = torch.Generator().manual_seed(seed)
    noise = ct_noise(torch.from_numpy(truth), PHANTOM_MM, dose, scanner, generator, repeats).numpy()
    clean = np.broadcast_to(truth, noise.shape)
    return CtScene(f"phantom {100 * dose:.0f} %", clean + noise, clean, PHANTOM_MM, _inside(truth), _uniform_squares(),
                   alone=True, discs=discs, absent=_places_without(discs, centre), rod=rod, pairs=line_pairs(shape, PHANTOM_MM, (centre + 60, centre)))


def repeats_of(path: Path) -> CtScene:
    """Repeats of one slice at a tenth of the dose with their truth, from an .npz of LCD_CT (DIDSR, CC0; simulated).

    InputError where it is not one.
    """
    try:
        with np.load(path) as found:
            noisy, truth = (found[name].astype(np.float32) - WATER for name in REPEATS_FACTS)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} holds no repeats ({error}); give an .npz with {' and '.join(REPEATS_FACTS)}.") from error
    discs = _faint_discs()
    clean = np.broadcast_to(truth, noisy.shape)
    return CtScene("repeats 10 %", noisy, clean, PHANTOM_MM, _inside(truth), _uniform_squares(), alone=True, discs=discs,
                   absent=_places_without(discs, (PHANTOM - 1) / 2))


def anatomy(truth: np.ndarray, pixel_mm: float, dose: float = 0.1, seed: int = 0, scanner: Scanner | None = None,
            slice_mm: float = 1.0) -> CtScene:
    """Neighbouring clean slices [Z, H, W] in HU of a body, with the noise of a low dose."""
    scanner = scanner or Scanner(softness=0.6, bowtie_radius_mm=0.45 * pixel_mm * max(truth.shape[1:]))
    generator = torch.Generator().manual_seed(seed)
    truth = np.asarray(truth, np.float32)
    noisy = np.stack([one + ct_noise(torch.from_numpy(one), pixel_mm, dose, scanner, generator)[0].numpy() for one in truth])
    places = even_places(truth.mean(0), truth.max(0) - truth.min(0), pixel_mm, 4 * LESION_MM)
    middle = len(truth) // 2
    lesions = [(middle, Disc(row, column, LESION_MM / 2 / pixel_mm, LESION_HU[k % 3])) for k, (row, column) in enumerate(places[:15])]
    uniform = [_around(truth.shape[1:], place, 8 / pixel_mm) for place in places[:10]]
    return CtScene(f"anatomy {100 * dose:.0f} %", noisy, truth, pixel_mm, truth.max(0) > BODY_HU, uniform, slice_mm, lesions=lesions)


def real_volume(hu: np.ndarray, pixel_mm: float, uniform: list[tuple[float, float]], radius_px: float,
                pairs_at: tuple[float, float] | None = None, rod: Disc | None = None, slice_mm: float = 1.0) -> CtScene:
    """Real slices [Z, H, W] of a phantom without a truth; uniform: centres of even regions of that radius."""
    regions = [_around(hu.shape[1:], place, radius_px) for place in uniform]
    pairs = {} if pairs_at is None else line_pairs(hu.shape[1:], pixel_mm, pairs_at)
    return CtScene("real", np.asarray(hu, np.float32), None, pixel_mm, hu.mean(0) > BODY_HU, regions, slice_mm, rod=rod, pairs=pairs)


def line_pairs(shape: tuple[int, int], pixel_mm: float, at: tuple[float, float]) -> dict[float, np.ndarray]:
    """A bar pattern of five line pairs, 12 mm long, for each frequency below the pixels' own limit."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    made = {}
    for frequency in PAIRS_MM:
        if frequency > 0.45 / pixel_mm:
            continue
        along, across = (x - at[1]) * pixel_mm, (y - at[0]) * pixel_mm
        inside = (np.abs(along) < 2.5 / frequency) & (np.abs(across) < 6)
        made[frequency] = PAIRS_HU * inside * 0.5 * (1 + np.cos(2 * np.pi * frequency * along))
    return made


def even_places(image: np.ndarray, spread: np.ndarray, pixel_mm: float, apart_mm: float) -> list[tuple[int, int]]:
    """Centres of soft tissue that is even over 12 mm and through the slices, the most even first, far from each other."""
    reach = round(6 / pixel_mm)
    windows = np.lib.stride_tricks.sliding_window_view(image, (2 * reach + 1, 2 * reach + 1))[::3, ::3]
    mean, rough = windows.mean((-2, -1)), windows.std((-2, -1))
    deep = np.lib.stride_tricks.sliding_window_view(spread, (2 * reach + 1, 2 * reach + 1))[::3, ::3].mean((-2, -1))
    rough = np.where((mean > -150) & (mean < 150), rough + deep, np.inf)
    found: list[tuple[int, int]] = []
    for index in np.argsort(rough, axis=None):
        row, column = (int(3 * k + reach) for k in np.unravel_index(index, rough.shape))
        if not np.isfinite(rough.flat[index]) or len(found) == 40:
            break
        if all(np.hypot(row - r, column - c) * pixel_mm > apart_mm for r, c in found):
            found.append((row, column))
    return found


def _around(shape: tuple[int, int], place: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - place[0], x - place[1]) <= radius


def _inside(truth: np.ndarray) -> np.ndarray:
    """The phantom without its rim, where the truth is exact and a reconstruction is not."""
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    return np.hypot(y - (PHANTOM - 1) / 2, x - (PHANTOM - 1) / 2) < 116 - EDGE_PX


def _uniform_squares() -> list[np.ndarray]:
    """Discs of 12 pixels where neither phantom has anything."""
    centre = (PHANTOM - 1) / 2
    places = [(centre, centre), (centre - 75, centre), (centre, centre - 75), (centre + 10, centre - 50), (centre - 55, centre + 50)]
    return [_around((PHANTOM, PHANTOM), place, 12) for place in places]


def level_of(slices: np.ndarray) -> float:
    """The noise of slices as one number, HU; what rivals are told."""
    return float(noise_level(torch.from_numpy(np.ascontiguousarray(slices[:4], np.float32))).median())
