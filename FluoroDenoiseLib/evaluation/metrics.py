"""How near an estimate is to the truth: over the picture, near the tools, and in the tools' own contrast.

PSNR alone hides what matters most in fluoroscopy: a thin wire is a hundredth of the pixels, and smearing it costs
almost no PSNR. Hence these numbers, always together; where the truth is not known, only what needs none.
"""

from dataclasses import dataclass

import numpy as np

from FluoroDenoiseLib.evaluation.niqe import niqe
from FluoroDenoiseLib.evaluation.vif import vif

TOOL_SHARE = 0.25
"""A pixel is the tool's where the tool changes the clean frames by more than this share of its largest change."""
NEAR_PX = 4


@dataclass(frozen=True)
class Score:
    """psnr, psnr_near in dB; contrast: share of the tools' contrast that is left, 1 is all, disc_contrast: that of the discs
    among them; ssim; vif; niqe, lower is better.

    psnr_near and the contrasts are nan where the scene holds no such tool, all but niqe where the truth is not known.
    """

    psnr: float
    psnr_near: float
    contrast: float
    ssim: float
    vif: float = float("nan")
    disc_contrast: float = float("nan")
    niqe: float = float("nan")


def score(
    estimate: np.ndarray, clean: np.ndarray, without_tools: np.ndarray, near: np.ndarray, span: float, discs: np.ndarray | None = None
) -> Score:
    """Judge frames [T, H, W] of stored values.

    near: True near tools (see near_tools); span: the grey range that PSNR, SSIM, VIF and NIQE refer to (see data_range);
    discs: True where a tool is a disc, None where none is.
    """
    return Score(
        psnr(estimate, clean, span),
        psnr(estimate, clean, span, near),
        tool_contrast(estimate, clean, without_tools),
        ssim(estimate, clean, span),
        vif(estimate, clean, span),
        float("nan") if discs is None else tool_contrast(estimate, clean, without_tools, discs),
        niqe(estimate, span),
    )


def score_without_truth(estimate: np.ndarray, span: float) -> Score:
    """Judge frames [T, H, W] whose truth nobody knows: NIQE alone."""
    return Score(*(float("nan"),) * 6, niqe(estimate, span))


def data_range(clean: np.ndarray) -> float:
    """The grey range of clean frames, 0.1 to 99.9 percentile: robust, and the same for every method on a scene."""
    low, high = np.percentile(clean, (0.1, 99.9))
    return float(high - low)


def psnr(estimate: np.ndarray, clean: np.ndarray, span: float, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(span^2 / mean squared error), over all pixels or those of a mask.

    The error is averaged over frames before the logarithm. nan for an empty mask.
    """
    squares = (np.asarray(estimate, float) - clean) ** 2
    if mask is not None:
        squares = squares[mask]
    if squares.size == 0:
        return float("nan")
    return float(10 * np.log10(span**2 / max(float(squares.mean()), 1e-20)))


def ssim(estimate: np.ndarray, clean: np.ndarray, span: float) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window of 1.5 pixels), mean over the frames of [T, H, W].

    nan where scikit-image, which computes it, is not installed.
    """
    try:
        from skimage.metrics import structural_similarity
    except ModuleNotFoundError:
        return float("nan")
    settings = dict(data_range=span, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    pairs = zip(np.asarray(estimate, np.float64), np.asarray(clean, np.float64), strict=True)
    return float(np.mean([structural_similarity(one, truth, **settings) for one, truth in pairs]))


def tool_mask(clean: np.ndarray, without_tools: np.ndarray) -> np.ndarray:
    """True where a tool is, [T, H, W]; nowhere if the two are the same."""
    change = np.abs(np.subtract(clean, without_tools, dtype=float))
    largest = float(change.max())
    return change > TOOL_SHARE * largest if largest > 0 else np.zeros(change.shape, bool)


def near_tools(tools: np.ndarray, reach_px: int = NEAR_PX) -> np.ndarray:
    """True within reach_px of a tool, [T, H, W], Euclidean distance."""
    near = tools.copy()
    height, width = tools.shape[-2:]
    for dy in range(-reach_px, reach_px + 1):
        for dx in range(-reach_px, reach_px + 1):
            if 0 < dy * dy + dx * dx <= reach_px * reach_px:
                to = np.s_[..., max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
                of = np.s_[..., max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
                near[to] |= tools[of]
    return near


def tool_contrast(
    estimate: np.ndarray, clean: np.ndarray, without_tools: np.ndarray, of: np.ndarray | bool = True
) -> float:
    """Share of the tools' contrast in the estimate: its projection on the true contrast, over the tools' pixels.

    <estimate - without, clean - without> / <clean - without, clean - without>. 1 for the truth, 0 for a picture without
    tools; noise averages out of it. of: only the tools' pixels where it is True. nan where there is no tool.
    """
    tools = tool_mask(clean, without_tools) & of
    if not tools.any():
        return float("nan")
    true = np.subtract(clean, without_tools, dtype=float)[tools]
    found = np.subtract(estimate, without_tools, dtype=float)[tools]
    return float(found @ true / (true @ true))
