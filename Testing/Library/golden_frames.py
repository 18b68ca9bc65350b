"""Frames that the shipped models gave when their weights were frozen, and the runs that they were made from.

    python Testing/Library/golden_frames.py

writes golden_frames.npz beside this file, for the weights that are shipped at the moment; what other weights gave goes. Do so
when weights are exchanged, or when a change of the program is meant to change pixels; look at the difference first.
An entry is named by the SHA-256 of its weights and its case, and holds the middle frame of the result.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import Model, load_model

PLACE = Path(__file__).with_suffix(".npz")
SAMPLES = ROOT / "docs" / "samples"
MODELS = ("fast", "quality")
CROP_PX = 48
FRAMES = 5


def phantoms() -> dict[str, np.ndarray]:
    """Twelve runs: a bar that moves and a disc that stays on a ramp, by dose, bits and speed; of whole numbers alone but the noise."""
    rows, columns = np.mgrid[:CROP_PX, :CROP_PX]
    runs = {}
    for bits, quanta in ((8, 20), (10, 10), (12, 40), (14, 100)):
        for speed in (0, 2, 5):
            random = np.random.default_rng([bits, speed])
            thick = 64 + columns // 2 + 24 * ((rows - 16) ** 2 + (columns - 34) ** 2 < 60)
            passed = np.stack([np.where(abs(columns - 8 - speed * frame) < 2, thick // 2, thick) for frame in range(FRAMES)])
            runs[f"phantom of {bits} bits, {speed} px a frame"] = random.poisson(quanta * passed / 64) * (2**bits // (4 * quanta))
    return {name: np.minimum(run, 2 ** int(name.split()[2]) - 1).astype(np.uint16) for name, run in runs.items()}


def samples() -> dict[str, np.ndarray]:
    """Two pieces of each run that anyone has: one real, one simulated."""
    runs = {}
    for name in ("still_2bm.tif", "moving_xa.dcm"):
        frames = np.stack([frame for frame, _ in zip(read_run(SAMPLES / name).frames, range(FRAMES))])
        for corner in (40, 150):
            runs[f"{name} from {corner}"] = frames[:, corner : corner + CROP_PX, corner : corner + CROP_PX]
    return runs


def cases() -> dict[str, np.ndarray]:
    return {**phantoms(), **samples()}


def entry(sha256: str, name: str, run: np.ndarray) -> str:
    """What a case is called in the file: a run that is no longer the same has no entry."""
    return f"{sha256[:16]} {hashlib.sha256(run.tobytes()).hexdigest()[:16]} {name}"


def middle_frame(model: Model, run: np.ndarray) -> np.ndarray:
    """What the model makes of the middle frame, in whole grey levels."""
    return np.rint(denoise(run, model, compute=choose("cpu", "float32"))[FRAMES // 2]).astype(np.uint16)


def write(place: Path = PLACE, models: tuple[str, ...] = MODELS) -> None:
    kept = {}
    for name in models:
        model = load_model(name, choose("cpu", "float32"))
        kept |= {entry(model.sha256, case, run): middle_frame(model, run) for case, run in cases().items()}
    np.savez_compressed(place, **kept)
    print(f"{place.name}: {len(kept)} frames of {len(models)} models, {place.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    write()
