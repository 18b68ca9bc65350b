"""What a simulated run is made of, in plain values, and how training draws them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SimulationSettings:
    """A scene, its motion, its tools and its detector, in plain values."""

    size: tuple[int, int] = (256, 256)  # height, width
    frames: int = 16
    frame_time_s: float = 1 / 15
    anatomy: str = "procedural"  # or "slabs"
    pixel_mm: float = 0.3
    layers: int = 3  # procedural anatomy; slabs bring their own number
    dynamic_range: float = 8.0  # 95th to 5th percentile of the transmission
    breathing_px: float = 4.0  # largest displacement from rest
    breath_period_s: float = 4.0
    heart_px: float = 3.0
    heart_rate_hz: float = 1.2
    pan_px: float = 0.0  # of the C-arm, per frame
    contrast_agent: float = 0.0  # attenuation of the widest vessel; 0 for none
    collimated: bool = False
    tools: tuple[str, ...] = ("guidewire", "guidewire", "markers")
    tool_speed_px: float = 3.0  # per frame, of the first tool; each further one has 0.2 to 1 of it
    tool_attenuation: tuple[float, float] = (0.1, 1.0)  # drawn log-uniformly for each tool
    tool_width_px: tuple[float, float] = (1.0, 4.0)
    blinking: int = 0  # small things of 1 to 5 sigma that appear or vanish from one frame to the next
    quanta: float = 30.0  # mean over the field and the run, scatter included, per pixel and frame
    scatter_fraction: float = 0.3  # share of all quanta that are scattered
    blur_px: float = 0.5  # Gaussian sigma of the focal spot: blurs the scene, not the noise
    correlation: float = 0.30  # of neighbouring pixels' noise; 0.30 is the clinic's detector, 0 a white one
    read_noise_quanta: float = 0.5
    lag: float = 0.0  # share of the frame before
    vendor_recursion: float = 0.0  # coefficient of the vendor's recursive filter; 0.45 was measured
    ramp_up: bool = False
    domain: str = "LIN"  # or LOG, DISP
    bits: int = 12
    range_used: float = 0.8  # share of the stored range that the brightest quanta reach


def random_settings(rng: np.random.Generator, **fixed) -> SimulationSettings:
    """One draw from the training distribution; fixed names settings that are not to be drawn.

    Quanta 5 to 300 (a tenth up to 5000), a fifth of the detectors white, a seventh of the scenes still. Thin, faint,
    fast wires are in every scene on purpose: they are what denoisers lose.
    """
    still = rng.random() < 0.15
    quanta = _log_uniform(rng, 300, 5000) if rng.random() < 0.1 else _log_uniform(rng, 5, 300)
    domain = str(rng.choice(["LIN", "LOG", "DISP"], p=[0.6, 0.15, 0.25]))
    kinds = ["guidewire", "catheter", "stent", "markers", "lead"]
    count = int(rng.integers(1, 6))
    tools = ("guidewire", *(str(kind) for kind in rng.choice(kinds, count - 1, p=[0.5, 0.12, 0.12, 0.16, 0.1])))
    drawn = dict(
        pixel_mm=float(rng.uniform(0.2, 0.5)),
        dynamic_range=float(rng.uniform(4, 15)),
        breathing_px=0.0 if still else float(rng.uniform(0, 8)),
        breath_period_s=float(rng.uniform(2.5, 6)),
        heart_px=0.0 if still else float(rng.uniform(0, 6)),
        heart_rate_hz=float(rng.uniform(0.8, 2.0)),
        pan_px=0.0 if still or rng.random() < 0.7 else float(rng.uniform(0.5, 6)),
        contrast_agent=float(rng.uniform(0.2, 1.2)) if rng.random() < 0.35 else 0.0,
        collimated=bool(rng.random() < 0.1),
        tools=tools,
        tool_speed_px=0.0 if still and rng.random() < 0.3 else float(rng.uniform(0, 10)),
        tool_attenuation=(0.1, 1.0),
        tool_width_px=(1.0, 4.0),
        quanta=quanta,
        scatter_fraction=float(rng.uniform(0, 0.5)),
        blur_px=float(rng.uniform(0, 0.9)),
        correlation=0.0 if rng.random() < 0.2 else float(rng.uniform(0.05, 0.35)),
        read_noise_quanta=float(rng.uniform(0.1, 1.5)) if quanta < 300 else float(rng.uniform(0.5, 5)),
        lag=float(rng.uniform(0.01, 0.1)) if rng.random() < 0.1 else 0.0,
        vendor_recursion=float(rng.uniform(0.2, 0.6)) if rng.random() < 0.1 else 0.0,
        ramp_up=bool(rng.random() < 0.1),
        domain=domain,
        bits=int(rng.choice([8, 10, 12, 14, 16], p=[0.3, 0.15, 0.25, 0.15, 0.15])),
        range_used=float(rng.uniform(0.4, 0.95)),
        frame_time_s=1 / float(rng.choice([7.5, 15, 30])),
    )
    return SimulationSettings(**{**drawn, **fixed})


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
