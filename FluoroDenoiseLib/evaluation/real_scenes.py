"""Real pictures to judge methods on, from a folder in which each source has a folder of its own (docs/RESULTS.md says whose).

Some have a truth: the mean of many other frames (still_2bm), or the phantom of which ten noisy pictures were made (lcd). One
is so clean that it serves as the truth of noisy pictures made from it (leeds). Of one nobody knows the truth (knee).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import tifffile
import torch
from PIL import Image

from FluoroDenoiseLib.detector import blur, noise_gain
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.scene_catalogue import REAL
from FluoroDenoiseLib.evaluation.scenes import EvaluationScene, PlannedScene, still_scene
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

FRAMES = 12
SHOWN_PX = 512
"""Larger pictures are cut to so many pixels a side, from the middle."""
CLINIC_SIGMA, CLINIC_CORRELATION = 5.5, 0.25
"""Noise of record mode in the clinic: of 255 grey levels, flat over grey, and its correlation between neighbours."""
SOURCES = {
    "still_2bm": ("radiography_static_2bm/frames_054-077.tif", "radiography_static_2bm/reference_mean_of_48_neighbour_frames.tif"),
    "leeds": ("leeds_tor_pylinac/leeds.dcm",),
    "lcd": ("lcd_ct_repeats/lcd_ct_fbp_010_100.npz",),
    "knee": tuple(f"biplane_knee_autoscoper/xr_data_left_knee_cam01/L_Hop_Cam1_001_UND.{frame}.tif" for frame in ("0138", "0180", "0260")),
}


def planned_real(names: Sequence[str], folder: Path) -> tuple[list[PlannedScene], list[str]]:
    """The real scenes among `names` whose files lie in `folder`, and a sentence for each that does not."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one in which each source of real pictures has its own.")
    plan, absent = [], []
    for name in (name for name in names if name in REAL):
        files = [folder / file for file in SOURCES[name]]
        lacking = [file for file in files if not file.is_file()]
        if lacking:
            absent.append(f"{name} is left out: {lacking[0].relative_to(folder)} is not in the folder of real pictures.")
        elif name == "knee":
            plan += [PlannedScene(name, seed, partial(_knee, file, seed)) for seed, file in enumerate(files)]
        else:
            plan.append(PlannedScene(name, 0, partial(MAKERS[name], *files)))
    return plan, absent


def _still_2bm(frames: Path, truth: Path) -> EvaluationScene:
    """A synchrotron's flat panel at rest, judged by the mean of 48 other frames, which has noise of its own."""
    run, reference = tifffile.imread(frames), tifffile.imread(truth)
    return still_scene(run[:FRAMES], reference.reshape(run.shape[1:]), "still_2bm")


def _leeds(path: Path) -> EvaluationScene:
    """A picture of a fluoroscopy test object, averaged by the machine, as twelve 8-bit frames with a clinic's noise."""
    dataset = pydicom.dcmread(path, force=True)
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    picture = _middle(stored).astype(float)
    low, high = np.percentile(picture, (0.5, 99.5))
    clean = np.clip(20 + 215 * (picture - low) / (high - low), 20, 235)
    white = torch.randn(FRAMES, *clean.shape, generator=torch.Generator().manual_seed(0))
    noise = (blur(white, CLINIC_CORRELATION) / noise_gain(CLINIC_CORRELATION) ** 0.5).numpy()
    noisy = np.clip(np.rint(clean + CLINIC_SIGMA * noise), 0, 255).astype(np.uint8)
    true = NoiseEstimate(PoissonGaussian(0.0, 0.0, float(np.hypot(CLINIC_SIGMA, 12**-0.5))), CLINIC_CORRELATION, 0.0)
    truth = np.broadcast_to(clean.astype(np.float32), noisy.shape)
    return EvaluationScene("leeds", 0, noisy, truth, truth, np.zeros(noisy.shape, bool), true)


def _lcd(path: Path) -> EvaluationScene:
    """Ten reconstructions of one CT slice of a low-contrast phantom at a tenth of the dose, with the phantom as truth."""
    with np.load(path) as held:
        noisy, truth = held["dose_010_signal_present"], held["ground_truth"]
    clean = np.broadcast_to(truth.astype(np.float32), noisy.shape)
    return EvaluationScene("lcd", 0, noisy, clean, clean, np.zeros(noisy.shape, bool), None)


def _knee(path: Path, seed: int) -> EvaluationScene:
    """One frame of a knee that hops, which no other frame follows at once; its truth is not known."""
    with Image.open(path) as picture:
        noisy = _middle(np.array(picture))[None]
    return EvaluationScene("knee", seed, noisy, None, None, np.zeros(noisy.shape, bool), None)


def _middle(frames: np.ndarray) -> np.ndarray:
    height, width = frames.shape[-2:]
    top, left = max(0, (height - SHOWN_PX) // 2), max(0, (width - SHOWN_PX) // 2)
    return frames[..., top : top + SHOWN_PX, left : left + SHOWN_PX]


MAKERS: dict[str, Callable[..., EvaluationScene]] = {"still_2bm": _still_2bm, "leeds": _leeds, "lcd": _lcd}
