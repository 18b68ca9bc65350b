"""What training minimises: means over pixels of the stabilised domain, so in units of the noise's deviation."""

from __future__ import annotations

import torch
from torch import Tensor

from FluoroDenoiseLib.wavelet import high_bands


def charbonnier(estimate: Tensor, reference: Tensor, weight: Tensor | None = None, epsilon: float = 1e-2) -> Tensor:
    """mean( w sqrt((estimate - reference)^2 + epsilon^2) ): an L1 loss that is smooth below epsilon.

    All [B, H, W], w = 1 if not given. Charbonnier et al., ICIP 1994. The default epsilon is a hundredth of the noise.
    """
    distance = torch.sqrt((estimate - reference) ** 2 + epsilon**2)
    return distance.mean() if weight is None else (weight * distance).mean()


def edge_preserving(estimate: Tensor, reference: Tensor, matrix: Tensor, wavelet: str = "haar") -> Tensor:
    """mean | M H(estimate) - M H(reference) |: the edges, where M says that they matter.

    All [B, H, W]. H are the three high bands of the stationary wavelet transform; M is `matrix`, not negative, scaled to
    mean 1 per image and without gradient: else the network could lower the loss by lowering M. The loss is that of Jeon
    et al. 2025; both precautions are ours.
    """
    matrix = matrix.detach()
    matrix = matrix / matrix.mean(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    difference = high_bands(estimate, wavelet) - high_bands(reference, wavelet)
    return (matrix[:, None] * difference).abs().mean()
