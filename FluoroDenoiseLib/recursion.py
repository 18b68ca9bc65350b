"""The recursion with a memory of its own certainty: a motion-compensated Kalman filter, causal or both ways.

All in the stabilised domain, where a frame's noise has variance 1: the prediction is the last estimate carried along
the flow, with its variance P; the gain is K = P / (P + 1); where the frame departs from the prediction by more than
noise explains (motion not followed, a tool, contrast), P is raised first, so the new wins within a frame or two.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from FluoroDenoiseLib.global_motion import affine_flow, global_motion
from FluoroDenoiseLib.motion import blocks, doubled, estimate_flow, halved, leaves_frame, median, smooth, warp

BLIND_VARIANCE = 1e4  # of a prediction from outside the image: the frame itself then decides


class Step(NamedTuple):
    """What one frame gives, each [H, W]: the prediction from before it, the estimate with it, and their variances."""

    prediction: Tensor
    prediction_variance: Tensor
    estimate: Tensor
    variance: Tensor


class State(NamedTuple):
    """What the recursion remembers, each [H, W]."""

    estimate: Tensor
    variance: Tensor


class BothWays(NamedTuple):
    """A frame, what the past and the future each predict for it without it, and all three combined; each [H, W]."""

    frame: Tensor
    forward: Tensor
    forward_variance: Tensor
    backward: Tensor
    backward_variance: Tensor
    estimate: Tensor
    variance: Tensor


def frame_noise_variance(frame: Tensor) -> Tensor:
    """The variance of this frame's noise, at least 1, by the median of its finest detail; a scalar tensor.

    Far above 1 in a frame the stabiliser does not describe (the flash of a ramping tube). Within 1.5 of 1 it is taken
    for 1, since fine anatomy also adds detail.
    """
    detail = frame[1:, 1:] - frame[1:, :-1] - frame[:-1, 1:] + frame[:-1, :-1]
    sigma = median(detail[::2, ::2].abs()) / (2 * 0.6745)
    return torch.where(sigma > 1.5, sigma.square(), torch.ones_like(sigma))


def variance_of_mean(sigma: float, correlation: float) -> float:
    """The variance a Gaussian mean of sigma pixels leaves of unit noise whose neighbours correlate so along x and y."""
    return min(1.0, (1 + 2 * correlation) ** 2 / (4 * math.pi * sigma**2))


def largest_near(values: Tensor, reach: int) -> Tensor:
    """The largest of values [H, W], none below 0, in the square `reach` pixels round each; max_pool2d, but faster on a CPU."""
    for axis in (0, 1):
        margin = (0, 0, reach, reach) if axis == 0 else (reach, reach)
        padded, size = functional.pad(values, margin), values.shape[axis]
        values = padded.narrow(axis, 0, size).clone()
        for shift in range(1, 2 * reach + 1):
            torch.maximum(values, padded.narrow(axis, shift, size), out=values)
    return values


@dataclass(frozen=True)
class Recursion:
    """Settings of the recursion; it holds no state, so one instance serves any number of runs."""

    noise_correlation: float = 0.0    # lag-1 spatial correlation of the noise
    process_variance: float = 0.001   # added by every step: what warping and small deformation lose
    gate_sigma: float = 1.0           # pixels over which the innovation is averaged before it is judged
    gate_threshold: float = 8.0       # times its variance that a squared averaged innovation may reach
    gate_gain: float = 3.0            # variance added per squared averaged innovation above that
    gate_spread: float = 1.5          # pixels by which an alarm reaches its neighbours
    restart_gain: float = 5.0         # variance added per fourth power of that excess, flanks included
    restart_reach: int = 3            # pixels of such flanks
    guide_sigma: float = 1.0          # pixels of blur before motion is estimated
    detail_sigma: float = 10.0        # pixels; what is finer may move apart from the rest: tools, a second layer
    choice_sigma: float = 2.0         # pixels over which the motions are compared
    smooth_margin: float = 2.0        # log odds against the smooth motion, beside the global one
    detail_margin: float = 2.5        # log odds against the motion of the detail
    doubt_margin: float = 3.0         # log odds more against either where it is that of the whole picture, or nearly
    doubt_px: float = 1.0             # pixels by which a motion differs that is not just noise in its estimate
    unknown_variance: float = 9.0     # what is claimed where nothing is known; no variance reported is larger

    @torch.no_grad()
    def step(self, frame: Tensor, state: State | None = None) -> tuple[Step, State]:
        """Take one stabilised frame [H, W] and give its Step and the state for the next.

        Without a past the prediction is the frame blurred beyond use (sigma 4 pixels) and its variance
        `unknown_variance`: the one prediction that is not independent of the frame, and it says so.
        """
        if state is not None and state.estimate.shape != frame.shape:
            before, now = ("x".join(map(str, image.shape)) for image in (state.estimate, frame))
            raise ValueError(f"A frame of {now} follows frames of {before}; split the run where the size changes.")
        noise = frame_noise_variance(frame)
        if state is None:
            variance = noise.expand_as(frame).contiguous()
            step = Step(smooth(frame, 4.0), torch.full_like(frame, self.unknown_variance), frame, variance)
        else:
            prediction, variance = self.predict(frame, noise, state)
            innovation = frame - prediction
            variance = variance + self.surprise(innovation, variance + noise)
            gain = variance / (variance + noise)
            claimed = variance.clamp(max=self.unknown_variance)
            step = Step(prediction, claimed, prediction + gain * innovation, gain * noise)
        return step, State(step.estimate, step.variance)

    def predict(self, frame: Tensor, noise: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """The state carried to this frame, [H, W] each, by that of three motions which the frame speaks for at each pixel.

        The first is that of the whole picture, with almost no noise of its own; the second is smooth; the third is that
        of the fine detail alone, since X-rays see layers through one another and the anatomy's motion drowns a wire's.
        Where none wins the prediction is their mean and the variance says so.
        """
        guide = smooth(torch.stack([frame, state.estimate]), self.guide_sigma)
        coarse = smooth(halved(guide[:, None]), self.detail_sigma / 2)
        detail = guide - doubled(coarse, *frame.shape)[:, 0]
        flows = torch.cat([
            affine_flow(global_motion(guide[:1], guide[1:]), *frame.shape),
            estimate_flow(guide[:1], guide[1:]),
            estimate_flow(detail[:1], detail[1:], window=2.0, stiffness=0.01),
        ])
        predictions = warp(state.estimate[None, None], flows)[:, 0]
        variances = warp(state.variance[None, None], flows, "bilinear")[:, 0].add_(self.process_variance)
        prediction, variance = torch.empty_like(frame), torch.empty_like(frame)
        height, reach = len(frame), math.ceil(3 * self.gate_sigma) + math.ceil(3 * self.choice_sigma)
        for _, rows in blocks(1, *frame.shape, frame.device):
            seen = slice(max(0, rows.start - reach), min(height, rows.stop + reach))
            inner = slice(rows.start - seen.start, rows.stop - seen.start)
            chosen = self.choose(frame[seen], noise, predictions[:, seen], variances[:, seen], flows[:, :, seen])
            prediction[rows], variance[rows] = (each[inner] for each in chosen)
        return prediction, variance.masked_fill_(leaves_frame(flows).all(0), BLIND_VARIANCE)

    def choose(
        self, frame: Tensor, noise: Tensor, predictions: Tensor, variances: Tensor, flows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean of three predictions, each as likely as it fits the frame, and its variance; [H, W] each.

        predictions, variances: [3, H, W]; flows: [3, 2, H, W], of which the first is preferred.
        """
        apart = smooth((flows[1:] - flows[:1]).square_().sum(1), 1.0)
        doubts = apart.mul_(-0.5 / self.doubt_px**2).exp_().mul_(self.doubt_margin)
        score = smooth(frame - predictions, self.gate_sigma).square_().div_(variances + noise)
        certainty = (self.choice_sigma / self.gate_sigma) ** 2 / variance_of_mean(self.gate_sigma, self.noise_correlation)
        odds = smooth(score, self.choice_sigma).mul_(-0.5 * certainty)
        odds[1].sub_(doubts[0].add_(self.smooth_margin))
        odds[2].sub_(doubts[1].add_(self.detail_margin))
        weights = odds.softmax(0)
        prediction = (weights * predictions).sum(0)
        return prediction, (predictions - prediction).square_().add_(variances).mul_(weights).sum(0)

    def surprise(self, innovation: Tensor, expected: Tensor) -> Tensor:
        """The variance to add where the locally averaged innovation is larger than its expected variance allows.

        A small excess may be noise and costs little. A large one is a thing that has come or gone, of which the past would
        leave a share of 1 / variance in every frame from now on: there its fourth power counts, as far as `restart_reach`. (A
        motion not quite followed exceeds by less than 1, of which the fourth power is next to nothing.)
        """
        allowed = self.gate_threshold * variance_of_mean(self.gate_sigma, self.noise_correlation) * expected
        excess = (smooth(innovation, self.gate_sigma).square() - allowed).clamp_(min=0)
        restart = largest_near(excess.square().square_().clamp_(max=BLIND_VARIANCE), self.restart_reach)
        return self.gate_gain * smooth(excess, self.gate_spread) + self.restart_gain * smooth(restart, 1.0)

    def both_ways(self, frames: Iterable[Tensor], block: int = 16, lookahead: int = 8) -> Iterator[BothWays]:
        """Every frame [H, W] with what past and future say about it, holding at most block + lookahead frames."""
        run = BothWaysRecursion(self, block, lookahead)
        for frame in frames:
            yield from run.push(frame)
        yield from run.flush()


class BothWaysRecursion:
    """The recursion run from both ends over blocks of frames, pushed one at a time; one instance serves one run.

    Frame t is final once `lookahead` frames after the end of its block have come: later frames do not change it.
    """

    def __init__(self, recursion: Recursion, block: int = 16, lookahead: int = 8):
        if block < 1 or lookahead < 0:
            raise ValueError(f"block is {block} and lookahead {lookahead} frames; use at least 1 and 0.")
        self.recursion, self.block, self.lookahead = recursion, block, lookahead
        self.state: State | None = None
        self.held: list[tuple[Tensor, Step]] = []

    def push(self, frame: Tensor) -> list[BothWays]:
        """Take one stabilised frame [H, W]; give the frames now ready, oldest first (a whole block or none)."""
        step, self.state = self.recursion.step(frame, self.state)
        self.held.append((frame, step))
        return self.release(self.block) if len(self.held) == self.block + self.lookahead else []

    def flush(self) -> list[BothWays]:
        """Give the frames still held; the run ends here."""
        return self.release(len(self.held))

    @torch.no_grad()
    def release(self, count: int) -> list[BothWays]:
        ready: list[BothWays] = []
        state = None
        for index in reversed(range(len(self.held))):
            frame, forward = self.held[index]
            backward, state = self.recursion.step(frame, state)
            if index < count:
                ready.append(combine(frame, forward, backward, self.recursion.unknown_variance))
        self.held = self.held[count:]
        return ready[::-1]


def combine(frame: Tensor, forward: Step, backward: Step, unknown_variance: float) -> BothWays:
    """Past with the frame itself, and the future where it knows anything, weighted by inverse variance."""
    future = backward.prediction_variance
    information = torch.where(future < unknown_variance, 1 / future, 0)
    variance = 1 / (1 / forward.variance + information)
    estimate = variance * (forward.estimate / forward.variance + information * backward.prediction)
    return BothWays(
        frame, forward.prediction, forward.prediction_variance, backward.prediction, future, estimate, variance
    )
