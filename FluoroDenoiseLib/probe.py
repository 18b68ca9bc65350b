"""What this machine computes with, why not with something else, and how fast each preset is on it."""

from __future__ import annotations

import time

import numpy as np

SHOWN_SIZES = (256, 512, 1024)
MEASURED_SIZE = {False: 128, True: 512}  # on the CPU and on a GPU: small enough for seconds, large enough to fill it
WARM_UP_FRAMES, MEASURED_FRAMES = 2, 12


def probe() -> dict:
    """Plain values: devices (see compute.describe), device, precision and reason of the automatic choice, models, and
    frames_per_second[preset]["512x512"].

    The speed is measured on a short run of pure noise and scaled by the number of pixels; reading and writing files and
    estimating the noise come on top. Takes seconds.
    """
    from FluoroDenoiseLib.compute import choose, describe
    from FluoroDenoiseLib.model_folder import load_model, shipped_models

    compute = choose()
    names = [name for name in shipped_models() if not name.startswith("ct")]  # those of CT are no presets for runs
    return {
        "devices": describe(), "device": compute.device, "precision": compute.precision, "reason": compute.reason,
        "models": list(names),
        "frames_per_second": {name: _speed(load_model(name, compute), compute) for name in names},
    }


def _speed(model, compute) -> dict[str, float]:
    from FluoroDenoiseLib.denoise import FrameDenoiser, denoise_frames
    from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

    side = MEASURED_SIZE[compute.is_gpu]
    rng = np.random.default_rng(0)
    frames = [rng.normal(1000, 50, (side, side)).astype(np.float32) for _ in range(MEASURED_FRAMES)]
    noise = NoiseEstimate(PoissonGaussian(0.0, 0.0, 50.0), 0.0, 0.0)
    # The first frames pay for libraries and memory that later ones find ready.
    for count in (WARM_UP_FRAMES, MEASURED_FRAMES):
        begin = time.perf_counter()
        for _ in denoise_frames(frames[:count], FrameDenoiser(model.restorer, noise, compute)):
            pass
        compute.synchronize()
    rate = MEASURED_FRAMES / (time.perf_counter() - begin)
    return {f"{shown}x{shown}": round(rate * (side / shown) ** 2, 3) for shown in SHOWN_SIZES}
