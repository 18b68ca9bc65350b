"""Scenes to learn CT from: a piece of a clean volume, a few slices deep, and noise of tomography of exactly that place.

Every scene has its own scanner (quanta, kernel, bowtie), pixel size and distance of slices. Its noise is that of full dose and
is multiplied when a clip is drawn, which is how noise goes with dose as long as the electronics do not matter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Protocol, Sequence

import numpy as np
import torch

from FluoroDenoiseLib.ct_noise import noise_level
from FluoroDenoiseLib.ct_simulation import Scanner, ct_noise
from FluoroDenoiseLib.windows import mirrored

SIDE = 160  # pixels of a scene
SOFTNESS = (0.0, 1.0)
BOWTIE = (0.2, 0.8)
PIXEL_MM = (0.5, 1.1)
LARGEST_STEP = 3  # slices of the volume from one slice of a scene to the next
BODY_HU = -500.0


class Volume(Protocol):
    """len(), [k] -> [H, W] float32 HU, spacing_mm (slice, row, column)."""

    spacing_mm: tuple[float, float, float]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True)
class SceneSpec:
    """Scene `number` of a clean volume; depth: slices; digest: SHA-256 of the volume."""

    volume: Volume
    digest: str
    number: int
    depth: int
    seed: int


def digest_of_volume(volume: Volume) -> str:
    """SHA-256 of all slices and the spacing, read one at a time."""
    digest = hashlib.sha256(repr(tuple(volume.spacing_mm)).encode())
    for index in range(len(volume)):
        digest.update(np.ascontiguousarray(volume[index], np.float32).tobytes())
    return digest.hexdigest()


def scene_specs(volumes: Sequence[Volume], count: int, depth: int, seed: int) -> Iterator[SceneSpec]:
    """`count` scenes, from all volumes in turn."""
    digests = [digest_of_volume(volume) for volume in volumes]
    for number in range(count):
        index = number % len(volumes)
        yield SceneSpec(volumes[index], digests[index], number, depth, seed)


def digest_of_scene(spec: SceneSpec) -> str:
    return hashlib.sha256(repr((spec.digest, spec.number, spec.depth, spec.seed)).encode()).hexdigest()


def write_scene(spec: SceneSpec, folder: Path) -> dict:
    """Put truth.npy and noise.npy, [depth, 160, 160] float32 HU, into the folder; returns the facts."""
    rng = np.random.default_rng([spec.seed, spec.number])
    volume, depth = spec.volume, spec.depth
    step = int(rng.integers(1, LARGEST_STEP + 1))
    centre = int(rng.integers(len(volume)))
    slices = [mirrored(centre + step * (k - depth // 2), len(volume)) for k in range(depth)]
    truth = np.stack([volume[index] for index in slices]).astype(np.float32)
    area = _somewhere(rng, truth[depth // 2])
    scanner = Scanner(softness=float(rng.uniform(*SOFTNESS)), bowtie=float(rng.uniform(*BOWTIE)))
    pixel_mm = float(rng.uniform(*PIXEL_MM))
    largest_mm = pixel_mm * max(truth.shape[1:]) / 2
    scanner = replace(scanner, bowtie_radius_mm=largest_mm * float(rng.uniform(0.7, 1.0)), electrons=0.0, angles=0.6)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = ct_noise(torch.from_numpy(truth[depth // 2]), pixel_mm, 1.0, scanner, generator, depth, area=area)
    crop = truth[(slice(None), *area)]
    noise = noise / float(noise_level(noise).median())
    np.save(folder / "truth.npy", np.ascontiguousarray(crop))
    np.save(folder / "noise.npy", noise.numpy())
    return {"frames": depth, "height": crop.shape[1], "width": crop.shape[2], "softness": scanner.softness, "pixel_mm": pixel_mm}


def _somewhere(rng: np.random.Generator, slice_: np.ndarray) -> tuple[slice, slice]:
    """A square that the body is in the middle of; the whole slice where it is smaller."""
    height, width = slice_.shape
    rows, columns = np.nonzero(slice_ > BODY_HU)
    at = int(rng.integers(len(rows))) if len(rows) else None
    row, column = (height // 2, width // 2) if at is None else (int(rows[at]), int(columns[at]))
    sides = min(SIDE, height), min(SIDE, width)
    top, left = (int(np.clip(place - side // 2, 0, length - side)) for place, side, length in zip((row, column), sides, (height, width)))
    return slice(top, top + sides[0]), slice(left, left + sides[1])
