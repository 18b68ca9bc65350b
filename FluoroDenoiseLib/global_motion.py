"""The one motion of the whole picture: a C-arm that pans or shakes, a patient who shifts, or rest.

    flow(p) = a + B p,    six numbers that minimise  sum_p rho( target(p) - source(p + flow(p)) )

Six numbers fitted to a whole picture hold a hundred times less noise than a flow fitted to every neighbourhood: a picture
at rest stays at rest, where a dense flow would warp it by a tenth of a pixel in every frame. rho (Geman and McClure)
gives little weight to what does not move along: tools, a heart, other layers.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from FluoroDenoiseLib.motion import blocks, global_shift, halved, leaves_frame, median, slopes, warp

LEVELS = 3
ROUNDS = 3
OUTLIER_SIGMA = 2.0  # residuals, in robust deviations, from which a pixel counts half or less
SIGNIFICANT = 80.0  # squared residuals, per their variance, that the motion's opposite leaves more than the motion
PIXELS_PER_SAMPLE = 4.0  # at half the resolution, after the caller's blur


def affine_flow(parameters: Tensor, height: int, width: int) -> Tensor:
    """The flow [1, 2, H, W] in pixels of six parameters (x: constant, per x, per y; y: the same), x and y in -1..1."""
    return torch.einsum("ck,khw->chw", parameters.view(2, 3), _affine_basis(height, width, parameters.device))[None]


@lru_cache(maxsize=16)
def _affine_basis(height: int, width: int, device: torch.device) -> Tensor:
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device), indexing="ij"
    )
    return torch.stack([torch.ones_like(x), x, y])


@torch.no_grad()
def global_motion(target: Tensor, source: Tensor) -> Tensor:
    """The affine parameters, [6] in pixels, for which warp(source, affine_flow) looks like target; see affine_flow.

    target, source: [1, H, W], stabilised and smoothed by the caller. Begins with the best whole-picture shift, then
    iteratively reweighted Gauss-Newton steps from an eighth to half of the resolution. Zero, exactly, unless the motion
    found explains the pictures better than noise could.
    """
    pyramid = [(target[:, None], source[:, None])]
    while len(pyramid) <= LEVELS and min(pyramid[-1][0].shape[-2:]) >= 16:
        pyramid.append(tuple(halved(image) for image in pyramid[-1]))
    anchor = min(2, len(pyramid) - 1)
    shift = global_shift(*pyramid[anchor])[0] * 2.0**anchor
    parameters = torch.zeros(6, device=target.device)
    parameters[0], parameters[3] = shift[0], shift[1]
    for level in range(len(pyramid) - 1, 0, -1):
        for _ in range(ROUNDS if level > 1 else ROUNDS - 1):
            parameters = parameters + 2.0**level * _gauss_newton(*pyramid[level], parameters / 2.0**level)
    return parameters * _is_significant(*pyramid[min(1, len(pyramid) - 1)], parameters / 2)


def _is_significant(target: Tensor, source: Tensor, parameters: Tensor) -> Tensor:
    """Whether the motion explains the pictures clearly better than its opposite, as a scalar tensor 0 or 1.

    Not better than rest: interpolating blurs noise away, so that any fractional motion looks better than none.
    """
    flows = [affine_flow(sign * parameters, *target.shape[-2:]) for sign in (1, -1)]
    gaps = [target - warp(source, flow, "bilinear") for flow in flows]
    scale = (OUTLIER_SIGMA * 1.4826) ** 2 * median(gaps[0].square()).clamp_min(1e-6)
    inside = ~(leaves_frame(flows[0]) | leaves_frame(flows[1]))[:, None]
    moved, opposite = ((gap.square() / (1 + gap.square() / scale)).mul(inside).sum() for gap in gaps)
    samples = inside.sum() / PIXELS_PER_SAMPLE
    return (samples * (opposite / moved.clamp_min(1e-6) - 1) > SIGNIFICANT).to(target.dtype)


def _gauss_newton(target: Tensor, source: Tensor, parameters: Tensor) -> Tensor:
    """One step of the weighted least squares, in pixels of this level."""
    height, width = target.shape[-2:]
    flow = affine_flow(parameters, height, width)
    moved = warp(source, flow, "bilinear")
    gap = target - moved
    robust_sigma = 1.4826 * median(gap.abs()).clamp_min(1e-3)
    basis, outside = _affine_basis(height, width, target.device), leaves_frame(flow)
    normal, right = target.new_zeros(6, 6), target.new_zeros(6)
    gx, gy = (0.25 * each[0] for each in slopes(moved, target))
    for _, rows in blocks(1, height, width, target.device):
        here = gap[0, 0, rows]
        weight = (1 + (here / (OUTLIER_SIGMA * robust_sigma)).square()).square_().reciprocal_()
        weight = weight.masked_fill_(outside[0, rows], 0).flatten()
        by_parameter = torch.cat([gx[:, rows] * basis[:, rows], gy[:, rows] * basis[:, rows]]).flatten(1)
        weighted = by_parameter * weight
        normal += weighted @ by_parameter.T
        right += weighted @ here.flatten()
    ridge = torch.diag(1e-3 * normal.diag() + 1e-3)  # a flat picture does not move
    return torch.linalg.solve(normal + ridge, right)
