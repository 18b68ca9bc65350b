"""Make the two sample runs of docs/samples: `python docs/make_samples.py PATH/TO/frames_054-077.tif`.

moving_xa.dcm    simulated by `fluorodenoise simulate`, with its truth moving_xa_truth.nrrd
still_2bm.tif    a crop of 16 frames of the real radiography series that is named in docs/samples/README.md
still_2bm_reference.tif    the same crop of the mean of 48 neighbouring frames
"""

import sys
from pathlib import Path

import numpy as np
import tifffile

from FluoroDenoiseLib import cli

SAMPLES = Path(__file__).resolve().parent / "samples"
SEED = 3
FRAMES, TOP, LEFT, SIDE = 16, 122, 122, 256


def crop(frames: np.ndarray) -> np.ndarray:
    return frames[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def make_moving() -> None:
    settings, target = SAMPLES / "moving_xa.json", SAMPLES / "moving_xa.dcm"
    cli.main(["simulate", str(target), "--settings", str(settings), "--seed", str(SEED), "--overwrite"])


def make_still(series: Path) -> None:
    noisy = tifffile.imread(series)[:FRAMES]
    reference = tifffile.imread(series.with_name("reference_mean_of_48_neighbour_frames.tif"))
    options = {"compression": "zlib", "compressionargs": {"level": 9}, "photometric": "minisblack"}
    tifffile.imwrite(SAMPLES / "still_2bm.tif", crop(noisy), **options)
    tifffile.imwrite(SAMPLES / "still_2bm_reference.tif", crop(reference), **options)


if __name__ == "__main__":
    make_moving()
    make_still(Path(sys.argv[1]))
    for path in sorted(SAMPLES.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
