"""The pixel-wise cross-fusion matrix: where the recursive target R is to be trusted and where the teacher T is.

"confidence", ours:   q = mean over 7x7 of (x - R)^2 / (1 + var R),   A = sigmoid((q - 1.5) / 0.15)

In the stabilised domain x - R has variance 1 + var R where R is right, so q is about 1 on still or well followed anatomy,
and larger where something moved that the flow did not follow: A goes from 0 to 1 there.

"ldl", the form of the released code: the artefact map of Liang et al. (LDL, CVPR 2022),

    a = (v / n)^(1/5) * local variance over 7x7 of (x - E),   0 where |x - E| < |x - T|,   v the variance of x - E

where n = 1 is the noise's and E = (S + R) / 2. The released code multiplies S and R, which measures brightness; a product
has no meaning here, so the mean takes its place. Either matrix is without gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SPAN_PX = 7
STILL_BELOW = 1.5
SOFTNESS = 0.15
EVERYWHERE = 0.25  # of the edge term's weight, also where nothing moves


def box_mean(images: Tensor, span: int = SPAN_PX) -> Tensor:
    """The mean over span x span pixels of [B, H, W], at the border over those inside the image."""
    return functional.avg_pool2d(images[:, None], span, 1, span // 2, count_include_pad=False)[:, 0]


@torch.no_grad()
def motion_confidence(frames: Tensor, target: Tensor, variance: Tensor, validity: Tensor | None = None) -> Tensor:
    """A in 0..1, [B, H, W]: 1 where the target does not describe the frame, or has a validity of 0.

    frames, target, variance, validity: [B, H, W], stabilised.
    """
    excess = box_mean((frames - target).square() / (1 + variance))
    moving = torch.sigmoid((excess - STILL_BELOW) / SOFTNESS)
    return moving if validity is None else torch.where(validity > 0, moving, 1.0)


@torch.no_grad()
def artefact_map(frames: Tensor, estimate: Tensor, target: Tensor, taught: Tensor) -> Tensor:
    """LDL's map, [B, H, W], not negative: where the fused estimate departs from the frame more than the teacher does.

    frames x, estimate S, target R, taught T: [B, H, W], stabilised.
    """
    residual = frames - 0.5 * (estimate + target)
    local = (box_mean(residual.square()) - box_mean(residual).square()).clamp(min=0)
    overall = residual.var(dim=(-2, -1), keepdim=True).pow(0.2)
    return torch.where(residual.abs() < (frames - taught).abs(), 0.0, overall * local)


def edge_matrix(moving: Tensor) -> Tensor:
    """A' = (1/4 + A) scaled to mean 1 per image: edges count everywhere, and more where something moves."""
    weight = EVERYWHERE + moving.detach()
    return weight / weight.mean(dim=(-2, -1), keepdim=True)
