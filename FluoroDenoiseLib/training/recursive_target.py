"""The recursive target R: what a frame's neighbours, brought to its place, say about it without it.

    R_t = sum_k v_k W_k x_(t+k),   v_k = (1-w)^|k| c_k / sum_j (1-w)^|j| c_j,   k = -n ... n without 0

W_k warps frame t+k to frame t along a flow between denoised guides, and c_k is how far going there and coming back ends
where it began. The released code of Jeon et al. 2025 aligns each frame to its own neighbours, so that its filter runs over
several geometries, gives the oldest frame the largest weight, and lets the centre in. Here every neighbour comes to the
centre, the nearest weighs most, and the centre's noise is not in the target. The flow between guides still depends on it a
little, since the guides of the neighbours do.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import torch
from torch import Tensor

from FluoroDenoiseLib.motion import estimate_flow, flow_confidence, leaves_frame, smooth, spline_noise_gain, warp
from FluoroDenoiseLib.recursion import BothWays, Recursion

GUIDE_SIGMA_PX = 1.0
LEAST_CONFIDENCE = 1e-3  # so that R exists everywhere; its validity says what it is worth


class RecursiveTarget(NamedTuple):
    """R, the variance of its noise, and how much of the neighbours' weight was confident (0..1); each [H, W]."""

    target: Tensor
    variance: Tensor
    validity: Tensor


def recursive_filter(
    aligned: Tensor, offsets: Sequence[int], weight: float, confidence: Tensor | None = None, gains: Tensor | None = None
) -> RecursiveTarget:
    """Average a frame's aligned neighbours with weights that fall by 1 - weight with every frame of distance.

    aligned: [K, H, W], neighbours already warped to the centre; offsets: their K distances in frames, never 0. confidence:
    [K, H, W] in 0..1, all 1 if not given; gains: [K, H, W], the share of its noise variance that warping left each.
    The weights sum to 1 at every pixel; the variance is that for independent frames of unit noise. weight in (0, 1).
    """
    if not 0 < weight < 1:
        raise ValueError(f"The recursive filter's weight is {weight} but must lie between 0 and 1, both excluded.")
    if 0 in offsets:
        raise ValueError("The centre frame is among the neighbours; its noise would be in the target, so leave it out.")
    falling = torch.tensor([(1 - weight) ** abs(offset) for offset in offsets], device=aligned.device).view(-1, 1, 1)
    confidence = torch.ones_like(aligned) if confidence is None else confidence
    trusted = falling * confidence.clamp(min=LEAST_CONFIDENCE)
    weights = trusted / trusted.sum(0)
    variance = (weights.square() * (1 if gains is None else gains)).sum(0)
    return RecursiveTarget((weights * aligned).sum(0), variance, (falling * confidence).sum(0) / falling.sum())


@torch.no_grad()
def recursive_target(
    frames: Tensor, guides: Tensor, centre: int, neighbours: int = 2, weight: float = 0.2, flow: bool = True
) -> RecursiveTarget:
    """R of frame `centre` of a run, [H, W] each.

    frames: [T, H, W], stabilised; guides: [T, H, W], the same frames denoised, between which motion is estimated. flow:
    False takes the neighbours as they lie. Beyond the ends of the run there are no neighbours and the others take their
    weight, which is what mirroring the run comes to.
    """
    others = [index for index in range(centre - neighbours, centre + neighbours + 1) if index != centre]
    others = [index for index in others if 0 <= index < len(frames)]
    if not others:
        raise ValueError(f"A run of {len(frames)} frame has no neighbours to build a target from; leave it out.")
    offsets = [index - centre for index in others]
    if not flow:
        return recursive_filter(frames[others], offsets, weight)
    here = smooth(guides[centre], GUIDE_SIGMA_PX).expand(len(others), -1, -1)
    there = smooth(guides[others], GUIDE_SIGMA_PX)
    forward, backward = estimate_flow(here, there), estimate_flow(there, here)
    confidence = flow_confidence(forward, backward) * ~leaves_frame(forward)
    aligned = warp(frames[others][:, None], forward)[:, 0]
    return recursive_filter(aligned, offsets, weight, confidence, warp_gain(forward))


def warp_gain(flow: Tensor) -> Tensor:
    """The share of white noise's variance that a warp along this flow [B, 2, H, W] leaves; [B, H, W].

    1 for whole pixels, 0.57 half-way between four of them.
    """
    x, y = (spline_noise_gain(part - part.floor()) for part in flow.unbind(1))
    return x * y


def tracked_target(step: BothWays, unknown_variance: float = Recursion.unknown_variance) -> RecursiveTarget:
    """R from the recursion that tracks its variance: its predictions from past and future, weighted by inverse variance.

    A prediction that claims no more than `unknown_variance` knows nothing (the first frame's even holds that frame) and is
    left out; where both are, validity is 0 and R is their mean, not to be used.
    """
    variances = torch.stack([step.forward_variance, step.backward_variance])
    known = variances < unknown_variance
    information = torch.where(known, 1 / variances, 0)
    none = ~known.any(0)
    information = torch.where(none, 1 / variances, information)
    weights = information / information.sum(0)
    target = (weights * torch.stack([step.forward, step.backward])).sum(0)
    return RecursiveTarget(target, 1 / information.sum(0), (~none).to(target.dtype))
