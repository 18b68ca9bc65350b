"""The error of a denoiser, estimated without a clean image: Stein's identity over a whole run, with the run's own noise.

A run is o = z + n, n normal with covariance S over pixels AND frames; f_t(o) is what everything together, recursion and
network, makes of frame t; y = L o is the frame it should explain, L linear (the frame itself, or what went into a vendor's
recursive filter). With b drawn like n, and f+ = f(o + a b), f- = f(o - a b),

    E (f+ - E y)^2  =  E [ ((f+ - y)^2 + (f- - y)^2) / 2  -  (L b)^2  +  L b (f+ - f-) / a ]

frame by frame. It holds for every f, smooth or not, and every a: it is Stein's identity E n f = tr(S df/do) for n and for b,
and the error is that on frames with 1 + a^2 of their noise. Neither input can be told from the other. The usual probe takes
f(o) in place of f- (Ramani, Blu & Unser 2008); then a network that is trained on the estimate learns to see which of the
two is noisier, passes less noise there, and its estimate falls while its error rises.

Perturbing the whole run counts every road by which noise reaches the output: the frame itself, its neighbours, the
recursion, the motion fitted to noise. The covariance over frames, the pair and the vendor's filter are ours. In noise
variances, since all is stabilised.

One half of the pair alone is recorruption (Pang et al., CVPR 2021): (f+ - (y - L b / a))^2 differs by a constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

TILE = 32
CERTAIN = 2.0  # standard errors that a difference must exceed
WORTHWHILE = 0.25  # share of the risk that a difference must exceed (1.25 dB): estimates below were seen to promise too much
FEWEST_TILES = 4  # below which a standard error means nothing


class Stein(NamedTuple):
    """The parts of the estimated squared error, pixel by pixel; they sum to it."""

    fidelity: Tensor
    noise: Tensor
    response: Tensor


def stein(below: Tensor, above: Tensor, target: Tensor, probe: Tensor, step: float) -> Stein:
    """Of f(o - step b), f(o + step b), y and L b, all of one shape."""
    fidelity = 0.5 * ((below - target).square() + (above - target).square())
    return Stein(fidelity, -probe.square(), probe * (above - below) / step)


def recorrupted(above: Tensor, target: Tensor, probe: Tensor, step: float) -> Tensor:
    """The squared distance of f(o + step b) to y - L b / step, pixel by pixel."""
    return (above - (target - probe / step)).square()


def tiled(pixels: Tensor, tile: int = TILE) -> Tensor:
    """Means over whole tiles, [B, H, W] -> [N]; the rest at the right and bottom is left out, frames below a tile are one."""
    height, width = min(tile, pixels.shape[-2]), min(tile, pixels.shape[-1])
    whole = pixels[..., : pixels.shape[-2] // height * height, : pixels.shape[-1] // width * width]
    return whole.unflatten(-2, (-1, height)).unflatten(-1, (-1, width)).mean((-3, -1)).flatten()


@dataclass(frozen=True)
class Comparison:
    """The risks of two denoisers on the same held-out tiles, in noise variances.

    difference: after less before, with its standard error; far better known than either risk, since what the frames
    have in common cancels.
    """

    before: float
    after: float
    difference: float
    standard_error: float

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> Comparison:
        """before, after: [N] risks of the same tiles."""
        change = (after - before).double()
        error = float(change.std()) / math.sqrt(len(change)) if len(change) >= FEWEST_TILES else math.inf
        return cls(float(before.double().mean()), float(after.double().mean()), float(change.mean()), error)

    @property
    def is_better(self) -> bool:
        """True where the second is better by more than chance, and by enough to be worth a change."""
        return self.difference < -max(CERTAIN * self.standard_error, WORTHWHILE * abs(self.before))

    @property
    def gain_db(self) -> float:
        """How much smaller the error became; nan where a risk near 0 is not known well enough to say."""
        floor = 3 * self.standard_error
        if min(self.before, self.after) <= floor:
            return math.nan
        return 10 * math.log10(self.before / self.after)
