"""Clean CT volumes to simulate from, out of one real volume with noise of its own (docs/CT.md).

python docs/make_ct_volumes.py CT.nii.gz OUT [--first Z --last Z]

Edge-preserving diffusion (Whitaker & Xue 2001, SimpleITK) takes the volume's noise away, and with it texture finer than that noise:
what is left is anatomy with exactly known HU, not the truth of that patient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import SimpleITK

CONDUCTANCE, STEP, ITERATIONS = 2.5, 0.06, 12

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("ct", type=Path)
parser.add_argument("out", type=Path, help="a .nii.gz, .nrrd or .mha file")
parser.add_argument("--first", type=int, default=0, help="first slice to keep")
parser.add_argument("--last", type=int, help="last slice to keep")
options = parser.parse_args()
volume = SimpleITK.Cast(SimpleITK.ReadImage(str(options.ct)), SimpleITK.sitkFloat32)
last = volume.GetSize()[2] - 1 if options.last is None else options.last
smooth = SimpleITK.CurvatureAnisotropicDiffusion(
    volume[:, :, options.first : last + 1], timeStep=STEP, conductanceParameter=CONDUCTANCE, numberOfIterations=ITERATIONS
)
options.out.parent.mkdir(parents=True, exist_ok=True)
SimpleITK.WriteImage(SimpleITK.Cast(smooth, SimpleITK.sitkInt16), str(options.out), True)
print(f"{options.out}: {smooth.GetSize()[2]} slices")
