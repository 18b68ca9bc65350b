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
    """
    height, width = image.shape[-2:]
    radius = min(max(1, math.ceil(3 * sigma)), height - 1, width - 1)
    if sigma <= 0 or radius < 1:
        return image
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    planes = image.reshape(-1, 1, height, width)
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))
    return planes.view(image.shape)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """The coordinates of every pixel, [1, 2, H, W], x first."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y])[None].float()


def warp(image: Tensor, flow: Tensor, kernel: str = "bicubic") -> Tensor:
    """The image seen from where the flow points: out(p) = image(p + flow(p)), outside clamped to the border.

    image: [H, W] or [B, C, H, W]; flow: [B, 2, H, W], pixels, x first; kernel "bicubic" or "bilinear".
    Returns the image's shape. Zero flow gives the image; a whole-pixel flow shifts it.
    """
    planes = image[None, None] if image.dim() == 2 else image
    height, width = planes.shape[-2:]
    spans = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=flow.dtype, device=flow.device)
    position = (pixel_grid(height, width, flow.device) + flow).permute(0, 2, 3, 1)
    grid = position * (2 / spans) - 1
    return F.grid_sample(planes, grid, mode=kernel, padding_mode="border", align_corners=True).view(image.shape)


def halved(image: Tensor) -> Tensor:
    """[B, C, H, W] at half the size, rounded up, by averaging 2 x 2 pixels."""
    return F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)


def doubled_flow(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow of the halved image carried to the image of height x width it was halved from."""
    return 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]


def global_shift(target: Tensor, source: Tensor) -> Tensor:
    """One whole-pixel shift for the frame, [B, 2], by phase correlation; zero where that explains the target better.

    target, source: [B, 1, H, W], smooth. The shift is the flow of estimate_flow, constant over the frame.
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
    moved = (target - warp(source, candidate, "bilinear")).abs().mean((1, 2, 3))
    stayed = (target - source).abs().mean((1, 2, 3))
    return shift * ((moved < stayed) & inside[:, 0, 0])[:, None]


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
        xx, xy, yy, bx, by = smooth(torch.cat([gx * gx, gx * gy, gy * gy, gx * gap, gy * gap], 1), window).split(1, 1)
        held = stiffness * (prior - flow)
        xx, yy, bx, by = xx + stiffness, yy + stiffness, bx + held[:, :1], by + held[:, 1:]
        step = torch.cat([yy * bx - xy * by, xx * by - xy * bx], 1) / (xx * yy - xy * xy)
        flow = flow + step.clamp(-1, 1)
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
        flow = doubled_flow(flow, *finer[0].shape[-2:])
    return flow


def flow_confidence(forward: Tensor, backward: Tensor, tolerance: float = 0.5) -> Tensor:
    """How far going there and coming back ends where it began, [B, H, W] in 0..1; 1 is perfectly.

    forward, backward: [B, 2, H, W], the flows target -> source and source -> target; tolerance in pixels.
    """
    miss = (forward + warp(backward, forward, "bilinear")).square().sum(1)
    return torch.exp(-0.5 * miss / tolerance**2)
