"""Where each pixel was a frame ago: warping, dense optical flow, and how far to trust it.

Everything here works on stabilised images (noise of standard deviation 1), on the CPU and on CUDA, without gradients.
A flow is [B, 2, H, W] in pixels, x first: the content seen at p in one image lies at p + flow(p) in the other.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of standard deviation sigma (pixels), edges mirrored.

    image: [..., H, W]. White noise of variance 1 leaves with variance 1 / (4 pi sigma^2).
    Sums of shifted images: a convolution with a single channel is three times slower on the CPU.
    """
    for axis in (-1, -2):
        length = image.shape[axis]
        radius = min(math.ceil(3 * sigma), length - 1)
        weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(1, radius + 1)]
        total = 1 + 2 * sum(weights)
        before, after = image.narrow(axis, 1, radius), image.narrow(axis, length - 1 - radius, radius)
        padded = torch.cat([before.flip(axis), image, after.flip(axis)], axis)
        image = image / total
        for offset, weight in enumerate(weights, 1):
            pair = padded.narrow(axis, radius - offset, length) + padded.narrow(axis, radius + offset, length)
            image = image.add(pair, alpha=weight / total)
    return image


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """The coordinates of every pixel, [1, 2, H, W], x first."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y])[None].float()


def warp(image: Tensor, flow: Tensor, kernel: str = "bicubic") -> Tensor:
    """The image seen from where the flow points: out(p) = image(p + flow(p)), outside clamped to the border.

    image: [H, W] or [B, C, H, W]; flow: [B, 2, H, W], pixels, x first; kernel "bicubic" or "bilinear".
    Returns the image's shape. Zero flow gives the image (bicubic: bit for bit); a whole-pixel flow shifts it.
    Bicubic is Keys' third-order kernel (a = -1/2), not grid_sample's a = -3/4: in a recursion that warps the same
    estimate again and again, the ringing of -3/4 costs 0.4 dB. Bilinear is five times faster.
    """
    planes = image[None, None] if image.dim() == 2 else image
    height, width = planes.shape[-2:]
    limit = torch.tensor([width - 1, height - 1], device=flow.device).view(1, 2, 1, 1)
    position = pixel_grid(height, width, flow.device) + flow
    if kernel == "bilinear":
        grid = (position * (2 / limit.clamp(min=1)) - 1).permute(0, 2, 3, 1)
        return F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=True).view(image.shape)
    position = position.clamp(min=0).minimum(limit)
    corner = position.floor()
    weights = torch.stack(bicubic_weights(position - corner), 1)
    padded = F.pad(planes, (1, 2, 1, 2), mode="replicate")
    pitch = padded.shape[-1]
    x, y = corner.long().unbind(1)
    warped = [sample_bicubic(*each, pitch) for each in zip(padded, y * pitch + x, weights)]
    return torch.stack(warped).view(image.shape)


def sample_bicubic(padded: Tensor, index: Tensor, weights: Tensor, pitch: int) -> Tensor:
    """Sum 4 x 4 pixels from each index on: padded [C, H + 3, pitch], index [H, W], weights [4, 2, H, W]; [C, H, W]."""
    pixels, places = padded.flatten(1), index.flatten()
    weights = weights.flatten(2)
    total = 0
    for y in range(4):
        line = 0
        for x in range(4):
            line = line + weights[x, 0] * pixels[:, y * pitch + x :].index_select(1, places)
        total = total + weights[y, 1] * line
    return total.view(-1, *index.shape)


def bicubic_weights(fraction: Tensor) -> list[Tensor]:
    """Weights of the 4 pixels around a position `fraction` of a pixel after the second (Keys 1981, a = -1/2)."""
    t = fraction
    return [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]


def halved(image: Tensor) -> Tensor:
    """[B, C, H, W] at half the size, rounded up, by averaging 2 x 2 pixels."""
    return F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)


def doubled(image: Tensor, height: int, width: int) -> Tensor:
    """[B, C, H, W] at twice the size, cut to the height x width it was halved from; a flow's values are not doubled."""
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]


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


def refined_flow(target: Tensor, source: Tensor, flow: Tensor, window: float, stiffness: float, rounds: int) -> Tensor:
    """One level of regularised Lucas-Kanade: the flow that aligns each Gaussian window, held to the flow it came from.

    Minimises <(target - source(p + flow))^2> + stiffness |flow - flow given|^2, < > a Gaussian mean of sigma `window`.
    """
    prior = flow
    for _ in range(rounds):
        moved = warp(source, flow, "bilinear")
        padded = F.pad(0.5 * (moved + target), (1, 1, 1, 1), mode="replicate")
        gx = 0.5 * (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2])
        gy = 0.5 * (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1])
        gap = target - moved
        products = halved(torch.cat([gx * gx, gx * gy, gy * gy, gx * gap, gy * gap], 1))
        xx, xy, yy, bx, by = smooth(products, window / 2).split(1, 1)
        held = stiffness * halved(prior - flow)
        ridge = stiffness + 1e-4 * (xx + yy)  # the latter: else a hard oblique edge divides by rounding error
        xx, yy, bx, by = xx + ridge, yy + ridge, bx + held[:, :1], by + held[:, 1:]
        step = torch.cat([yy * bx - xy * by, xx * by - xy * bx], 1) / (xx * yy - xy * xy)
        flow = flow + doubled(step.clamp(-1, 1), *flow.shape[-2:])
    return flow


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
        flow = 2 * doubled(flow, *finer[0].shape[-2:])
    return flow


def leaves_frame(flow: Tensor) -> Tensor:
    """True where a flow [B, 2, H, W] points more than half a pixel outside the image; [B, H, W]."""
    height, width = flow.shape[-2:]
    x, y = (pixel_grid(height, width, flow.device) + flow).unbind(1)
    return (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)


def flow_confidence(forward: Tensor, backward: Tensor, tolerance: float = 0.5) -> Tensor:
    """How far going there and coming back ends where it began, [B, H, W] in 0..1; 1 is perfectly.

    forward, backward: [B, 2, H, W], the flows target -> source and source -> target; tolerance in pixels.
    """
    miss = (forward + warp(backward, forward, "bilinear")).square().sum(1)
    return torch.exp(-0.5 * miss / tolerance**2)
