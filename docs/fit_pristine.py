"""Fit NIQE's model of clean X-ray pictures: `python docs/fit_pristine.py [--ct CT]` with FluoroDenoise installed.

Writes FluoroDenoiseLib/evaluation/pristine_xray.npz from the clean frames of simulated runs, none of which `evaluate` judges.
With a CT every second run shows its left half; the one that is shipped was made with the Visible Human Female pelvis.
"""

import argparse
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.evaluation.metrics import data_range
from FluoroDenoiseLib.evaluation.niqe import PRISTINE, sharp_tiles, statistics
from FluoroDenoiseLib.simulated_files import read_ct
from FluoroDenoiseLib.training.scenes import training_runs

RUNS, SEED, SHOWN = 96, 2013, (0, 5)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, help="CT volume whose left half every second run shows")
    ct = parser.parse_args().ct
    fixed = dict(frames=6, domain="LIN", bits=16, lag=0.0, vendor_recursion=0.0, ramp_up=False, collimated=False)
    runs = training_runs(RUNS, SEED, read_ct(ct) if ct else None, **fixed)
    tiles = np.concatenate([sharp_tiles(run.clean[list(SHOWN)], data_range(run.clean)) for run in runs])
    pristine = statistics(tiles)
    np.savez(PRISTINE, mean=pristine.mean.astype(np.float32), covariance=pristine.covariance.astype(np.float32))
    print(f"{PRISTINE.name}: from {len(tiles)} tiles of {RUNS} runs")
