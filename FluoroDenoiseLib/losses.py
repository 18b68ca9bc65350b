"""What training minimises: means over pixels of the stabilised domain, so in units of the noise's deviation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from FluoroDenoiseLib.wavelet import high_bands

FLOOR = 2e-3  # of log_excess: what an error of a twentieth of the noise comes to, at epsilon = 0.5
CONTRAST_BLOCK = 32  # pixels over which the contrast of a thing is measured
LEAST_THING = 4.0  # pixels, fully visible, that a block must show of a thing for its contrast to be judged


def charbonnier(estimate: Tensor, reference: Tensor, weight: Tensor | None = None, epsilon: float = 1e-2) -> Tensor:
    """mean( w sqrt((estimate - reference)^2 + epsilon^2) ): an L1 loss that is smooth below epsilon.

    All [B, H, W], w = 1 if not given. Charbonnier et al., ICIP 1994. The default epsilon is a hundredth of the noise.
    """
    distance = torch.sqrt((estimate - reference) ** 2 + epsilon**2)
    return distance.mean() if weight is None else (weight * distance).mean()


def log_excess(estimate: Tensor, reference: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """mean over images of log( mean( w (sqrt((estimate - reference)^2 + epsilon^2) - epsilon) ) + FLOOR ).

    All [B, H, W]. A tenth less error is worth the same on every image; below FLOOR it is worth little.
    """
    excess = torch.sqrt((estimate - reference) ** 2 + epsilon**2) - epsilon
    return torch.log((weight * excess).mean((-2, -1)) + FLOOR).mean()


def contrast_error(estimate: Tensor, reference: Tensor, place: Tensor) -> Tensor:
    """The squared error of the contrast of things, in variances of the noise [B]: mean over blocks of <e, place>^2 / <place, place>.

    All [B, H, W]; e = estimate - reference, and `place` is the picture of the things, 1 where fully visible. What a squared
    error per pixel hardly sees, a wire that is too faint all along by a fiftieth, adds up here; independent errors do not.
    0 for an image that shows nothing in any block.
    """
    def over_blocks(image: Tensor) -> Tensor:
        return functional.avg_pool2d(image[:, None], min(CONTRAST_BLOCK, *image.shape[-2:]), divisor_override=1)

    energy = over_blocks(place**2)
    judged = energy > LEAST_THING
    errors = over_blocks((estimate - reference) * place) ** 2 / energy.clamp_min(LEAST_THING)
    return (errors * judged).sum((1, 2, 3)) / judged.sum((1, 2, 3)).clamp_min(1)


def absolute(estimate: Tensor, reference: Tensor, weight: Tensor | None = None) -> Tensor:
    """mean( w |estimate - reference| ), the L1 loss; all [B, H, W], w = 1 if not given and never with a gradient."""
    distance = (estimate - reference).abs()
    return distance.mean() if weight is None else (weight.detach() * distance).mean()


def edge_preserving(estimate: Tensor, reference: Tensor, matrix: Tensor, wavelet: str = "haar") -> Tensor:
    """mean | M H(estimate) - M H(reference) |: the edges, where M says that they matter.

    All [B, H, W]. H are the three high bands of the stationary wavelet transform. See band_distance for M.
    """
    return band_distance(high_bands(estimate, wavelet), high_bands(reference, wavelet), matrix)


def band_distance(bands: Tensor, reference: Tensor, matrix: Tensor) -> Tensor:
    """mean | M bands - M reference |, the edge-preserving loss of Jeon et al. 2025 between wavelet bands [B, 3, H, W].

    M is `matrix` [B, H, W], not negative, scaled to mean 1 per image and without gradient: else the network could lower
    the loss by lowering M. Both precautions are ours.
    """
    matrix = matrix.detach()
    matrix = matrix / matrix.mean(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(matrix.dtype).tiny)
    return (matrix[:, None] * (bands - reference)).abs().mean()


def fourier_amplitude(estimate: Tensor, reference: Tensor) -> Tensor:
    """mean | |F(estimate)| - |F(reference)| | over all frequencies; [B, H, W], F orthonormal, so in units of the noise.

    Blind to where things are: a term beside others. The reference should be clean, for noise raises every amplitude.
    """
    amplitudes = [torch.fft.rfft2(images.float(), norm="ortho").abs() for images in (estimate, reference)]
    return (amplitudes[0] - amplitudes[1]).abs().mean()
