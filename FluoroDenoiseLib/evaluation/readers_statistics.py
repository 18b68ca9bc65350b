"""The statistics of a reader study: intervals, an exact paired test, its correction for many, and agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
TIED = 9  # decimals to which differences of means of scores are equal; thirds and sevenths are not equal in floating point


class Interval(NamedTuple):
    """A mean and where the true one lies with 95 % confidence; low and high are nan for a single value."""

    mean: float
    low: float
    high: float


def student_quantile(share: float, freedom: int) -> float:
    """The value below which a share of Student's t distribution lies; share above 0.5, relative error below 1e-6.

    With t = sqrt(freedom) * tan(angle) its density becomes cos(angle)^(freedom - 1) on a finite interval.
    """
    angles = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(2 * share - 1, below / below[-1], angles)))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values and its interval by Student's t."""
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Interval(mean, math.nan, math.nan)
    reach = student_quantile((1 + CONFIDENCE) / 2, count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - reach, mean + reach)


def wilcoxon_signed_rank(differences: Sequence[float]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test that differences are as often above 0 as below; 1 if all are 0.

    Exact for every number of values, ties too: the distribution of the rank sum over all signs, by adding one rank after
    the other. Equal sizes share their mean rank; zeros are left out, as Wilcoxon (1945) did.
    """
    values = np.round(np.asarray(differences, np.float64), TIED)
    values = values[values != 0]
    sizes, position, times = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(times) - times + 1)[position]  # twice the mean rank, a whole number
    share = np.ones(1)
    for rank in doubled:
        share = np.concatenate([share, np.zeros(rank)]) + np.concatenate([np.zeros(rank), share])
        share /= 2
    seen = int(doubled[values > 0].sum())
    return min(1.0, 2 * float(min(share[: seen + 1].sum(), share[seen:].sum())))


def holm(chances: Sequence[float]) -> list[float]:
    """p values of several tests, so enlarged that one below 0.05 among them is by chance in at most 5 % of studies.

    Holm (1979): the smallest times their number, the next times one less, never below the one before.
    """
    adjusted, largest = [0.0] * len(chances), 0.0
    for rank, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[index]))
        adjusted[index] = largest
    return adjusted


def weighted_kappa(first: Sequence[int], second: Sequence[int], scale: Sequence[int]) -> float:
    """Cohen's kappa of two readers of the same pictures, a disagreement weighing by the square of its steps.

    1 is agreement, 0 what chance gives. Cohen (1968). nan if both always gave one and the same score: then there is no
    chance to correct for.
    """
    place = {score: index for index, score in enumerate(scale)}
    table = np.zeros((len(scale), len(scale)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    table /= table.sum()
    row, column = np.indices(table.shape)
    weight = (row - column) ** 2
    by_chance = float((weight * np.outer(table.sum(1), table.sum(0))).sum())
    return 1 - float((weight * table).sum()) / by_chance if by_chance > 0 else math.nan
