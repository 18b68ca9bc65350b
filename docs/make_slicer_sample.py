"""Make the sample run of the Slicer module, and its picture: `python docs/make_slicer_sample.py` from the repository's root.

A simulated run at a low dose, settings in docs/samples/low_dose_angiography.json, seed below; no patient. It is written
as Slicer writes a sequence of volumes, in the order that every version of Slicer reads (frames first).
"""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from FluoroDenoiseLib.simulate import SimulatedRun, SimulationSettings, simulate
from FluoroDenoiseLib.simulated_files import read_settings

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "FluoroDenoise" / "Resources"
NAME = "LowDoseAngiography"
SEED = 6
SHOWN_FRAME = 12


def header(run: SimulatedRun) -> str:
    """The NRRD header of a Slicer sequence: lies on its back in LPS like a loaded DICOM run, index in seconds."""
    frames, height, width = run.noisy.shape
    spacing = run.settings.pixel_mm
    times = " ".join(f"{index * run.settings.frame_time_s:.3f}" for index in range(frames))
    return (
        "NRRD0004\n"
        "type: uint8\n"
        "dimension: 4\n"
        "space: left-posterior-superior\n"
        f"sizes: {frames} {width} {height} 1\n"
        f"space directions: none ({spacing},0,0) (0,{spacing},0) (0,0,1)\n"
        "kinds: list domain domain domain\n"
        'labels: "time" "" "" ""\n'
        'units: "s" "" "" ""\n'
        "encoding: gzip\n"
        "space origin: (0,0,0)\n"
        "DataNodeClassName:=vtkMRMLScalarVolumeNode\n"
        f"FluoroDenoise.Simulated:={run.settings.quanta:g} quanta a pixel, seed {run.seed}\n"
        "axis 0 index type:=numeric\n"
        f"axis 0 index values:={times}\n"
        "\n"
    )


def make_run(target: Path) -> SimulatedRun:
    settings = SimulationSettings(**read_settings(ROOT / "docs" / "samples" / "low_dose_angiography.json"))
    run = simulate(settings, SEED)
    frames_last = np.ascontiguousarray(np.moveaxis(run.noisy, 0, -1))
    target.write_bytes(header(run).encode("ascii") + gzip.compress(frames_last.tobytes(), 9, mtime=0))
    return run


def draw_thumbnail(run: SimulatedRun, target: Path) -> None:
    low, high = np.percentile(run.clean, (0.5, 99.8))
    frame = np.clip((run.noisy[SHOWN_FRAME] - low) / (high - low) * 255, 0, 255)
    Image.fromarray(frame.astype(np.uint8)).save(target, optimize=True)


if __name__ == "__main__":
    sequence, picture = RESOURCES / "SampleData" / f"{NAME}.seq.nrrd", RESOURCES / "Icons" / f"{NAME}.png"
    draw_thumbnail(make_run(sequence), picture)
    for path in (sequence, picture):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")
