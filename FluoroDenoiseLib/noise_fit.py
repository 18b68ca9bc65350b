"""A straight line through noise variances that may hold outliers."""

import numpy as np

_HUBER = 1.5


def fit_line(level: np.ndarray, variance: np.ndarray) -> tuple[float, float, float]:
    """Fit variance = slope * level + offset with slope >= 0, each point counted by its relative error.

    level, variance: [N], one robust mean a bin of grey. Returns slope, offset and the misfit: the median absolute
    relative residual. Of three laws the simplest that is no worse is taken: proportional to the level (a detector),
    flat (a display), then the free line; a run that shows little range of grey cannot tell them apart.
    """
    ones = np.ones_like(level)
    candidates = [(level, ones * 0), (level * 0, ones), (level, ones)]
    if level.min() <= 0:
        candidates.pop(0)
    free = _weighted_fit(*candidates[-1], variance)
    if free[0] < 0:
        free = _weighted_fit(level * 0, ones, variance)
    best = _residual(free, level, variance)
    for basis in candidates[:-1]:
        simple = _weighted_fit(*basis, variance)
        if _residual(simple, level, variance) <= 1.1 * best + 0.005:
            free = simple
            break
    slope, offset = free
    fitted = np.maximum(slope * level + offset, 1e-12)
    return slope, offset, float(np.median(np.abs(variance - fitted) / fitted))


def flat_is_enough(slope: float, offset: float, level: np.ndarray) -> bool:
    """Say whether the variance changes by less than 4 % over the levels: sigma then is flat to 2 %.

    A minute slope would make the stabilised values a small difference of very large numbers.
    """
    low, high = slope * level.min() + offset, slope * level.max() + offset
    ranges_widely = level.min() > 0 and level.max() / level.min() > 1.2
    return (slope == 0) or (high - low < 0.04 * high and (ranges_widely or offset > 0))


def _weighted_fit(for_slope: np.ndarray, for_offset: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """Iteratively reweighted least squares with Huber's weights on relative residuals."""
    basis = np.stack([for_slope, for_offset], axis=1)
    fitted = np.full_like(variance, np.median(variance))
    solution = np.zeros(2)
    for _ in range(30):
        floor = max(1e-3 * float(np.median(variance)), 1e-12)
        relative = (variance - basis @ solution) / np.maximum(fitted, floor)
        spread = 1.4826 * np.median(np.abs(relative)) + 1e-3
        weight = 1 / np.maximum(1, np.abs(relative) / (_HUBER * spread))
        root = np.sqrt(weight) / np.maximum(fitted, floor)
        solution = np.linalg.lstsq(basis * root[:, None], variance * root, rcond=None)[0]
        fitted = basis @ solution
    return float(solution[0]), float(solution[1])


def _residual(line: tuple[float, float], level: np.ndarray, variance: np.ndarray) -> float:
    """Root of the mean squared relative residual, the worst tenth left out."""
    fitted = np.maximum(line[0] * level + line[1], 1e-12)
    squares = np.sort(((variance - fitted) / np.maximum(fitted, 1e-3 * np.median(variance))) ** 2)
    return float(np.sqrt(np.mean(squares[: max(1, int(0.9 * len(squares)))])))
