"""The generalised Anscombe transform in counts, and its exact unbiased inverse.

Forward: z = 2 sqrt(max(u + 3/8 + s^2, 0)), with u in counts and s the read noise in counts; z has unit variance.
The square root is concave, so squaring a denoised z back gives too little. The exact unbiased inverse maps E[z] to
the count that produced it (Makitalo & Foi, IEEE Trans. Image Process. 22(1), 2013). E[z] is computed here by summing
over the Poisson law and the Gaussian one; what is stored is only the small correction to z^2/4 - 1/8 - s^2.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor

TABLE_END_COUNTS = 120.0
"""Above this the correction falls as 1/z to better than a thousandth of a count."""

_TABLE_POINTS = 1024


def stabilise_counts(counts: Tensor, read_noise: float) -> Tensor:
    """Make the noise 1 everywhere: counts (any shape) -> z; read_noise in counts."""
    return 2 * torch.sqrt(torch.clamp(counts + (0.375 + read_noise**2), min=0))


def expected_stabilised(counts: np.ndarray, read_noise: float) -> np.ndarray:
    """Mean of z where the mean count is given: exact sums, not samples.

    counts: [N], each >= 0 and at most a few hundred; read_noise in counts. Returns [N], float64.
    """
    most = float(np.max(counts))
    whole = np.arange(math.ceil(most + 12 * math.sqrt(most) + 30))
    deviate = np.linspace(-8, 8, 4001)
    density = np.exp(-0.5 * deviate**2)
    density /= density.sum()
    argument = whole[:, None] + 0.375 + read_noise**2 + read_noise * deviate
    given_whole = 2 * np.sqrt(np.maximum(argument, 0)) @ density
    log_factorial = np.cumsum(np.log(np.maximum(whole, 1)))
    log_mean = np.log(np.maximum(counts, 1e-300))[:, None]
    poisson = np.exp(whole * log_mean - counts[:, None] - log_factorial)
    return poisson @ given_whole


def unbiased_counts(stabilised: Tensor, read_noise: float) -> Tensor:
    """Return the mean count whose z averages to `stabilised`.

    Exact to 0.1 % of sigma from 0 counts up. Below E[z] at 0 counts it goes on along the tangent, so it stays
    increasing and a slightly negative estimate stays slightly negative.
    """
    first, step, correction = _correction_table(read_noise, stabilised.device)
    last = first + step * (_TABLE_POINTS - 1)
    physical = stabilised.clamp(min=first)
    position = ((physical - first) / step).clamp_(max=_TABLE_POINTS - 1.001)
    index = position.to(torch.int32)
    left = correction[index]
    interpolated = left + (position - index) * (correction[index + 1] - left)
    tail = last / physical.clamp(min=last)
    # the product of two factors keeps its digits where read_noise^2 is large and z^2/4 nearly equals it
    counts = (physical / 2 - read_noise) * (physical / 2 + read_noise) - 0.125 + interpolated * tail
    slope = first / 2 + (correction[1] - correction[0]) / step
    return counts + slope * (stabilised - physical)


@functools.lru_cache(maxsize=32)
def _correction_table(read_noise: float, device: torch.device) -> tuple[float, float, Tensor]:
    """First z, step in z, and counts - (z^2/4 - 1/8 - read_noise^2) on that uniform grid."""
    root = np.linspace(0, math.sqrt(TABLE_END_COUNTS), 600)
    counts = root**2
    mean = expected_stabilised(counts, read_noise)
    grid = np.linspace(mean[0], mean[-1], _TABLE_POINTS)
    correction = counts - (mean / 2 - read_noise) * (mean / 2 + read_noise) + 0.125
    on_grid = np.interp(grid, mean, correction)
    table = torch.tensor(on_grid, dtype=torch.float32, device=device)
    return float(grid[0]), float(grid[1] - grid[0]), table
