"""The peak memory of whole `fluorodenoise denoise` commands over runs of different lengths.

    python Testing/measure_memory.py --size 1024 --frames 50 400 --preset fast

Each run is a DICOM file of noise made frame by frame; each command is a process of its own, whose peak is read when it
ends, and the last line is the growth from the shortest run to the longest. Linux only: the peak is that of /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from FluoroDenoiseLib.formats import write_simulated

# Not ru_maxrss: that of a child begins with its parent's peak.
COMMAND = """
import re, sys
from pathlib import Path
from FluoroDenoiseLib import cli
code = cli.main(sys.argv[1:])
print("peak kB", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""


def noisy_frames(count: int, size: int):
    """Noise about a ramp, eight frames of it shifted on and on, so that making them costs little."""
    random = np.random.default_rng(0)
    few = random.poisson(np.linspace(200, 400, size), (8, size, size)).astype(np.uint16)
    return (np.roll(few[index % 8], index, axis=0) for index in range(count))


def peak_mb(folder: Path, count: int, size: int, options: list[str]) -> tuple[float, float]:
    """(peak in MB, seconds) of one command over a run of `count` frames."""
    source, target = folder / f"in{count}.dcm", folder / f"out{count}.dcm"
    write_simulated(source, noisy_frames(count, size))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", COMMAND, "denoise", str(source), str(target), "--device", "cpu", *options],
                           capture_output=True, text=True, env=environment)  # fmt: skip
    if ended.returncode:
        sys.exit(ended.stderr)
    for path in (source, target):
        path.unlink()
    return int(ended.stdout.split()[-1]) / 1024, time.monotonic() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="pixels on a side")
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--strength", default="1")
    parser.add_argument("--folder", type=Path, help="where the runs are made for the time; default: the system's temporary folder")
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for count in sorted(options.frames):
            peak, seconds = peak_mb(Path(name), count, options.size, ["--preset", options.preset, "--strength", options.strength])
            peaks.append(peak)
            print(f"{count} frames of {options.size}x{options.size}: peak {peak:.1f} MB, {seconds:.0f} s", flush=True)
    print(json.dumps({"preset": options.preset, "size": options.size, "frames": sorted(options.frames), "growth MB": round(peaks[-1] - peaks[0], 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
