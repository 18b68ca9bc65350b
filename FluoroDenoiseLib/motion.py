"""Where each pixel was a frame ago: warping, dense optical flow, and how far to trust it.

Everything here works on stabilised images (noise of standard deviation 1), on the CPU and on CUDA, without gradients.
A flow is [B, 2, H, W] in pixels, x first: the content seen at p in one image lies at p + flow(p) in the other.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SPLINE_POLE = math.sqrt(3) - 2
CACHED_PIXELS = 2**15  # that each core works on at a time


def blocks(count: int, height: int, width: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Which images and which of their rows to take at a time, so that `count` images [H, W] are gone through once.

    On the CPU a block and what is made of it on the way stay in the cache of the core that works on it: up to four times
    faster than to go through whole frames again and again. A GPU takes all at once. Blocks begin on even rows.
    """
    most = CACHED_PIXELS * torch.get_num_threads() if device.type == "cpu" else count * height * width
    images = max(1, most // (height * width))
    parts = -(-height * width // most)
    rows = 2 * -(-height // (2 * parts))
    for first in range(0, count, images):
        for top in range(0, height, rows):
            yield slice(first, min(first + images, count)), slice(top, min(top + rows, height))


def smooth(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of standard deviation sigma (pixels), edges mirrored.

    image: [..., H, W]. White noise of variance 1 leaves with variance 1 / (4 pi sigma^2).
    """
    return _symmetric_filter(image, [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(1, math.ceil(3 * sigma) + 1)])


def _symmetric_filter(image: Tensor, weights: list[float]) -> Tensor:
    """Along rows and columns: weight 1 for a pixel, weights[k - 1] for those k away, all divided by their sum; edges mirrored."""
    planes = image.reshape(-1, *image.shape[-2:])
    height, width = planes.shape[-2:]
    above, beside = weights[: height - 1], weights[: width - 1]
    filtered = torch.empty_like(planes)
    for which, rows in blocks(*planes.shape, planes.device):
        first, last = rows.start - len(above), rows.stop + len(above)
        seen = mirrored(planes[which, max(first, 0) : min(last, height)], -2, max(0, -first), max(0, last - height))
        seen = mirrored(_shifted_and_summed(seen, -2, above), -1, len(beside), len(beside))
        filtered[which, rows] = _shifted_and_summed(seen, -1, beside)
    return filtered.view(image.shape)


def _shifted_and_summed(image: Tensor, axis: int, weights: list[float]) -> Tensor:
    """_symmetric_filter along one axis, without the pixels at either end that lack a neighbour.

    Sums of shifted images: a convolution with a single channel is three times slower on the CPU.
    """
    total, reach = 1 + 2 * sum(weights), len(weights)
    length = image.shape[axis] - 2 * reach
    summed = image.narrow(axis, reach, length) / total
    for offset, weight in enumerate(weights, 1):
        pair = image.narrow(axis, reach - offset, length) + image.narrow(axis, reach + offset, length)
        summed.add_(pair, alpha=weight / total)
    return summed


def mirrored(image: Tensor, axis: int, before: int, after: int) -> Tensor:
    """The image with so many pixels more along an axis, mirrored at the edge pixels; fewer than it has itself."""
    length = image.shape[axis]
    parts = [image.narrow(axis, 1, before).flip(axis)] if before else []
    parts += [image, image.narrow(axis, length - 1 - after, after).flip(axis)] if after else [image]
    return torch.cat(parts, axis) if len(parts) > 1 else image


def places(flow: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Where some rows of a flow [B, 2, H, W] point to: x and y, [B, rows, W] each, pixels."""
    x = torch.arange(flow.shape[-1], dtype=flow.dtype, device=flow.device)
    y = torch.arange(rows.start, rows.stop, dtype=flow.dtype, device=flow.device)[:, None]
    return flow[:, 0, rows] + x, flow[:, 1, rows] + y


def warp(image: Tensor, flow: Tensor, kernel: str = "spline") -> Tensor:
    """The image seen from where the flow points: out(p) = image(p + flow(p)), outside clamped to the border.

    image: [H, W], [B, C, H, W] or, for the same image along every flow, [1, C, H, W]; flow: [B, 2, H, W], pixels, x first;
    kernel "spline" or "bilinear". Returns [H, W] or [B, C, H, W]. Zero flow gives the image, a whole-pixel flow shifts it
    (spline: up to rounding).
    The spline is the cubic B-spline that passes through every pixel (Unser 1999). A recursion warps the same estimate
    again and again: against Keys' kernel of the same 4 x 4 pixels, which blurs more, it keeps 0.4 dB. Bilinear is five
    times faster.
    """
    planes = image[None, None] if image.dim() == 2 else image
    height, width = planes.shape[-2:]
    if kernel == "bilinear":
        source, sample = planes, _sample_bilinear
    else:
        source, sample = mirrored(mirrored(spline_coefficients(planes), -1, 1, 2), -2, 1, 2), _sample_spline
    warped = planes.new_empty(len(flow), *planes.shape[1:])
    for which, rows in blocks(len(flow), height, width, flow.device):
        seen = source if len(source) == 1 else source[which]
        warped[which, :, rows] = sample(seen, *places(flow[which], rows))
    return warped[0, 0] if image.dim() == 2 else warped


def _sample_bilinear(planes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """planes [1 or B, C, H, W] at x, y [B, h, w] in pixels; [B, C, h, w]."""
    height, width = planes.shape[-2:]
    grid = torch.stack([x * (2 / max(1, width - 1)), y * (2 / max(1, height - 1))], -1).sub_(1)
    planes = planes.expand(len(x), -1, -1, -1)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=True)


def spline_coefficients(image: Tensor) -> Tensor:
    """The B-spline coefficients whose cubic spline passes through every pixel of an image [..., H, W], edges mirrored.

    The inverse of the filter (1, 4, 1) / 6 along either axis: weights pole^|k|, here to |k| = 10, where 2e-6 is left.
    """
    weights = [SPLINE_POLE**offset for offset in range(1, 11)]
    return _symmetric_filter(image, weights)


def _sample_spline(coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """coefficients [1 or B, C, 1 + H + 2, 1 + W + 2] at x, y [B, h, w] in pixels of H x W; [B, C, h, w].

    The sum over 4 x 4 coefficients; those of all images lie in one line, so that one index serves all.
    """
    count, _, lines, pitch = coefficients.shape
    x, y = x.clamp_(0, pitch - 4), y.clamp_(0, lines - 4)
    left, top = x.floor(), y.floor()
    across, down = ([weight.flatten() for weight in spline_weights(part)] for part in (x - left, y - top))
    first = top.long().mul_(pitch).add_(left.long())
    if count > 1:
        first += torch.arange(count, device=first.device)[:, None, None] * (lines * pitch)
    first = first.flatten()
    sampled = []
    for channel in coefficients.unbind(1):
        values = channel.flatten()
        total = torch.zeros_like(across[0])
        for dy in range(4):
            line = across[0] * values[dy * pitch :].index_select(0, first)
            for dx in range(1, 4):
                line.addcmul_(across[dx], values[dy * pitch + dx :].index_select(0, first))
            total.addcmul_(down[dy], line)
        sampled.append(total.view(x.shape))
    return torch.stack(sampled, 1)


def spline_weights(fraction: Tensor) -> list[Tensor]:
    """Weights of the 4 coefficients around a position `fraction` of a pixel after the second."""
    weights = []
    for t in (fraction, 1 - fraction):
        squared = t * t
        weights += [(t / 2 - 1).mul_(squared).add_(2 / 3), (t / 6).mul_(squared)]
    near, last, far, first = weights
    return [first, near, far, last]


def spline_noise_gain(fraction: Tensor) -> Tensor:
    """The share of white noise's variance that is left at a position `fraction` of a pixel after one, along one axis.

    1 at a pixel, 0.76 half-way. The coefficients' noise is correlated over k pixels by the autocorrelation of their filter.
    """
    squared = SPLINE_POLE**2
    correlated = [3 * SPLINE_POLE**k * ((1 + squared) / (1 - squared) + k) for k in range(4)]
    weights = spline_weights(fraction)
    return sum(correlated[abs(i - j)] * one * other for i, one in enumerate(weights) for j, other in enumerate(weights))


def halved(image: Tensor) -> Tensor:
    """[B, C, H, W] at half the size, rounded up, by averaging 2 x 2 pixels; at an odd edge, those there are."""
    odd_height, odd_width = image.shape[-2] % 2, image.shape[-1] % 2
    if odd_height or odd_width:
        image = F.pad(image, (0, odd_width, 0, odd_height), mode="replicate")
    # Half-way between pixels this is their average, and five times faster than avg_pool2d on the CPU.
    return F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)


def doubled(image: Tensor, height: int, width: int) -> Tensor:
    """[B, C, H, W] at twice the size, cut to the height x width it was halved from; a flow's values are not doubled."""
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]


def median(image: Tensor) -> Tensor:
    """The middle value (of an even number, the lower one) as a scalar tensor; as torch.median, five times faster on the CPU."""
    if image.device.type != "cpu" or not image.numel():  # torch's is not a number where there are none
        return image.median()
    values = image.flatten().numpy()
    middle = (len(values) - 1) // 2
    return torch.from_numpy(np.partition(values, middle))[middle]


def global_shift(target: Tensor, source: Tensor) -> Tensor:
    """One whole-pixel shift a frame, [B, 2], by phase correlation; zero unless it explains the target clearly better.

    target, source: [B, 1, H, W], smooth. The shift is the flow of estimate_flow, constant over the frame. Clearly: a
    squared difference a fifth smaller, which the best of all shifts does not reach in pure noise.
    """
    batch, _, height, width = target.shape
    window = torch.hann_window(height, device=target.device)[:, None] * torch.hann_window(width, device=target.device)
    spectra = [torch.fft.rfft2((i[:, 0] - i.mean((1, 2, 3))[:, None, None]) * window) for i in (source, target)]
    cross = spectra[0] * spectra[1].conj()
    peaks = torch.fft.irfft2(cross / (cross.abs().sqrt() + 1e-6), s=(height, width)).flatten(1).argmax(1)
    y, x = peaks // width, peaks % width
    y, x = torch.where(y > height // 2, y - height, y), torch.where(x > width // 2, x - width, x)
    shift = torch.stack([x, y], 1).float()
    candidate = shift[:, :, None, None].expand(-1, -1, height, width)
    inside = (candidate[:, 0].abs() < width / 3) & (candidate[:, 1].abs() < height / 3)
    moved = (target - warp(source, candidate, "bilinear")).square().mean((1, 2, 3))
    stayed = (target - source).square().mean((1, 2, 3))
    return shift * ((moved < 0.8 * stayed) & inside[:, 0, 0])[:, None]


def slopes(moved: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Four times the derivatives along x and y of the mean of two images [..., H, W], of one size with them; central."""
    padded = F.pad(moved + target, (1, 1, 1, 1), mode="replicate")
    return padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]


def refined_flow(target: Tensor, source: Tensor, flow: Tensor, window: float, stiffness: float, rounds: int) -> Tensor:
    """One level of regularised Lucas-Kanade: the flow that aligns each Gaussian window, held to the flow it came from.

    Minimises <(target - source(p + flow))^2> + stiffness |flow - flow given|^2, < > a Gaussian mean of sigma `window`.
    """
    prior = flow
    for _ in range(rounds):
        moved = warp(source, flow, "bilinear")
        xx, xy, yy, bx, by = smooth(_halved_products(target, moved), window / 2).split(1, 1)
        held = stiffness * halved(prior - flow)
        ridge = stiffness + 1e-4 * (xx + yy)  # the latter: else a hard oblique edge divides by rounding error
        xx, yy, bx, by = xx + ridge, yy + ridge, bx + held[:, :1], by + held[:, 1:]
        step = torch.cat([yy * bx - xy * by, xx * by - xy * bx], 1) / (xx * yy - xy * xy)
        flow = flow + doubled(step.clamp_(-1, 1), *flow.shape[-2:])
    return flow


def _halved_products(target: Tensor, moved: Tensor) -> Tensor:
    """At half the size: gx gx, gx gy, gy gy, gx gap, gy gap, [B, 5, H/2, W/2]; g the slopes, gap = target - moved."""
    batch, _, height, width = target.shape
    products = target.new_empty(batch, 5, -(-height // 2), -(-width // 2))
    for which, rows in blocks(batch, height, width, target.device):
        above, below = max(0, rows.start - 1), min(height, rows.stop + 1)
        inner = slice(rows.start - above, rows.stop - above)
        gx, gy = (each[:, :, inner] for each in slopes(moved[which, :, above:below], target[which, :, above:below]))
        gap = 4 * (target[which, :, rows] - moved[which, :, rows])
        full = target.new_empty(len(gx), 5, *gx.shape[-2:])
        for place, (one, other) in enumerate(((gx, gx), (gx, gy), (gy, gy), (gx, gap), (gy, gap))):
            torch.mul(one, other, out=full[:, place : place + 1])
        products[which, :, rows.start // 2 : -(-rows.stop // 2)] = halved(full).mul_(1 / 16)
    return products


@torch.no_grad()
def estimate_flow(
    target: Tensor, source: Tensor, window: float = 5.0, stiffness: float = 0.2, rounds: int = 3, smallest: int = 24,
) -> Tensor:
    """The dense flow for which warp(source, flow) looks like target, [B, 2, H, W] in pixels.

    target, source: [B, H, W], stabilised and smoothed by the caller. Coarse to fine: one shift for the frame, then
    Lucas-Kanade on a pyramid whose finest level is half the size; in flat noise the flow is that of the level above.
    """
    pyramid = [(target[:, None], source[:, None])]
    while len(pyramid) < 2 or min(pyramid[-1][0].shape[-2:]) >= 2 * smallest:
        pyramid.append(tuple(halved(image) for image in pyramid[-1]))
    anchor = min(2, len(pyramid) - 1)
    shift = global_shift(*pyramid[anchor]) * 2.0 ** (anchor + 1 - len(pyramid))
    flow = shift[:, :, None, None].expand(-1, -1, *pyramid[-1][0].shape[-2:])
    for finer, (level_target, level_source) in zip(pyramid[-2::-1], pyramid[:0:-1]):
        flow = refined_flow(level_target, level_source, flow, window, stiffness, rounds)
        flow = doubled(2 * flow, *finer[0].shape[-2:])
    return flow


def leaves_frame(flow: Tensor) -> Tensor:
    """True where a flow [B, 2, H, W] points more than half a pixel outside the image; [B, H, W]."""
    height, width = flow.shape[-2:]
    outside = torch.empty(len(flow), height, width, dtype=torch.bool, device=flow.device)
    for which, rows in blocks(len(flow), height, width, flow.device):
        x, y = places(flow[which], rows)
        outside[which, rows] = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return outside


def flow_confidence(forward: Tensor, backward: Tensor, tolerance: float = 0.5) -> Tensor:
    """How far going there and coming back ends where it began, [B, H, W] in 0..1; 1 is perfectly.

    forward, backward: [B, 2, H, W], the flows target -> source and source -> target; tolerance in pixels.
    """
    miss = (forward + warp(backward, forward, "bilinear")).square().sum(1)
    return torch.exp(-0.5 * miss / tolerance**2)
