"""Measure CT models on the real cone-beam slices of a CatPhan 504 (docs/CT.md).

python docs/measure_ct_phantom.py catphan_slices24-39.nii.gz OUT --models ct trained/catphan

Noise in the six rods that are not air, line pairs put into the middle slice (the module that holds real ones is not among these
slices), the edge of the brightest rod. No truth is known, so nothing says how right a grey level is but that it is kept.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.ct_restorer import load_ct_restorer
from FluoroDenoiseLib.evaluation.ct_methods import RIVALS
from FluoroDenoiseLib.evaluation.ct_observer import Disc
from FluoroDenoiseLib.evaluation.ct_report import evaluate_ct, table, write_ct_report
from FluoroDenoiseLib.evaluation.ct_scenes import real_volume
from FluoroDenoiseLib.formats.ct import read_ct

import numpy as np

CENTRE, RODS_PX, ROD_RADIUS_PX = (254.7, 256.75), 119.5, 12.5
ANGLES = (0, 60, 120, 180, 240, 300)
SENSITOMETRY = slice(4, 13)  # the slices that show the rods

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("volume", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--models", nargs="*", default=["ct"])
parser.add_argument("--without-rivals", action="store_true")
options = parser.parse_args()
volume = read_ct(options.volume)
hu = np.stack([volume[index] for index in range(len(volume))])[SENSITOMETRY]
places = [(CENTRE[0] + RODS_PX * math.sin(math.radians(a)), CENTRE[1] + RODS_PX * math.cos(math.radians(a))) for a in ANGLES]
scene = real_volume(hu, volume.spacing_mm[1], places, 8.0, (300.0, 255.0), Disc(*places[5], ROD_RADIUS_PX, 900.0), volume.spacing_mm[0])
compute = choose("cpu")
judged = []
for one in evaluate_ct([scene], [load_ct_restorer(name, compute) for name in options.models], () if options.without_rivals else RIVALS):
    judged.append(one)
    print(one.row.method, flush=True)
print(table([one.row for one in judged]))
write_ct_report([one.row for one in judged], judged, options.out, [])
