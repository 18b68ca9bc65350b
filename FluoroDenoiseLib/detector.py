"""From expected quanta to stored grey levels: what an X-ray detector and the vendor's software do to a scene.

The order is that of the machine: quanta (Poisson), blur (which correlates their noise), lag, read noise, the response
(linear, logarithmic or display), the vendor's recursive filter, the first frames' ramp, rounding to whole numbers.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .noise import PoissonGaussian

# Fall of the detector's noise spectrum, 1 / (1 + (f / corner)^2)^power. With this power one corner gives all three
# figures measured in the clinic: 3.1 times white at 0.05 cycles/px, 0.48 at 0.5, lag-1 correlation 0.30.
SPECTRUM_POWER = 1.25
# Noise of the first three frames of a fluoroscopy run, as multiples of the noise that follows (32, 14.5, 10 to 8.6).
RAMP_NOISE = (32 / 8.6, 14.5 / 8.6, 10 / 8.6)
# Frame 0 of such a run is stored as 0.80 x + 30 on a scale of 255.
RAMP_GAIN, RAMP_OFFSET = 0.80, 30 / 255
# Mean of f(x + sigma z) over unit normal z by three points: exact where f is a polynomial of degree five.
QUADRATURE = ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6))


def transfer_function(height: int, width: int, correlation: float) -> Tensor:
    """The detector's modulation transfer function, [H, W // 2 + 1] as torch.fft.rfft2 orders it; 1 at frequency 0.

    correlation: of neighbouring pixels' noise (lag 1, mean of x and y) once white quanta pass through it; 0 to 0.5.
    """
    if correlation <= 0:
        return torch.ones(height, width // 2 + 1)
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    return _fall(fy.square() + fx.square(), _corner(correlation)).sqrt()


def noise_gain(correlation: float) -> float:
    """Variance of unit white noise after the detector's blur: the sum of its kernel's squares."""
    if correlation <= 0:
        return 1.0
    frequency = torch.fft.fftfreq(128)
    return float(_fall(frequency[:, None].square() + frequency[None].square(), _corner(correlation)).mean())


def _fall(frequency_squared: Tensor, corner: float) -> Tensor:
    return (1 + frequency_squared / corner**2) ** -SPECTRUM_POWER


def _corner(correlation: float) -> float:
    """The corner frequency, cycles/px, that gives this lag-1 correlation, by bisection on the monotone relation."""
    frequency = torch.fft.fftfreq(64, dtype=torch.float64)
    squared = frequency[:, None].square() + frequency[None].square()
    cosine = torch.cos(2 * math.pi * frequency)[:, None]
    low, high = 0.02, 8.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        spectrum = _fall(squared, middle)
        found = float((spectrum * cosine).sum() / spectrum.sum())
        low, high = (middle, high) if found > correlation else (low, middle)
    return middle


def blur(frames: Tensor, correlation: float) -> Tensor:
    """Frames [T, H, W] as the detector blurs them; the border wraps round, so give it a margin to throw away."""
    if correlation <= 0:
        return frames
    height, width = frames.shape[-2:]
    return torch.fft.irfft2(torch.fft.rfft2(frames) * transfer_function(height, width, correlation), s=(height, width))


@dataclass(frozen=True)
class Response:
    """How quanta become grey levels before rounding: stored = response(quanta).

    LIN: pedestal + gain * quanta. LOG: rises with the logarithm, as DICOM's pixel intensity relationship has it.
    DISP: a power of about one half (a contrast curve on the logarithm), black level taken off, a soft shoulder at the
    top; its noise is almost the same at every grey, as measured on display images.
    """

    domain: str
    top: float  # largest stored value
    dark_quanta: float  # DISP: what is shown black
    bright_quanta: float  # what is shown at the top of the used range
    knee_quanta: float  # LOG and DISP: below this the curve turns linear, so that 0 quanta have a value
    pedestal: float = 0.0  # LIN
    power: float = 0.5  # DISP

    def __call__(self, quanta: Tensor) -> Tensor:
        match self.domain:
            case "LIN":
                return self.pedestal + self.gain * quanta
            case "LOG":
                rise = torch.log1p(quanta.clamp(min=0) / self.knee_quanta)
                return self.top * rise / math.log1p(self.bright_quanta / self.knee_quanta)
            case "DISP":
                return self.top * _shoulder(self._display(quanta).clamp(min=0))
        raise ValueError(f"Domain {self.domain!r} is not known; choose LIN, LOG or DISP.")

    @property
    def gain(self) -> float:
        """Grey levels per quantum (LIN)."""
        return (self.top - self.pedestal) / self.bright_quanta

    def _display(self, quanta: Tensor) -> Tensor:
        black = (self.dark_quanta + self.knee_quanta) ** self.power
        white = (self.bright_quanta + self.knee_quanta) ** self.power
        return ((quanta.clamp(min=0) + self.knee_quanta) ** self.power - black) / (white - black)

    def mean(self, quanta: Tensor, variance: Tensor) -> Tensor:
        """Expected stored value of quanta with this mean and variance, curvature of the response included."""
        if self.domain == "LIN":
            return self(quanta)
        sigma = variance.sqrt()
        return sum(weight * self(quanta + point * sigma) for point, weight in QUADRATURE)

    def sigma(self, quanta: Tensor, variance: Tensor) -> Tensor:
        """Standard deviation of the stored value, from the slope of the response."""
        step = 0.5 * variance.sqrt()
        return self(quanta + step) - self(quanta - step)


def _shoulder(unit: Tensor) -> Tensor:
    """Straight up to about 0.7, then bending smoothly towards 1 without reaching it."""
    return unit / (1 + unit**8) ** (1 / 8)


@dataclass(frozen=True)
class Detector:
    """One detector with its software; all in quanta until the response."""

    response: Response
    bits: int
    correlation: float
    read_noise_quanta: float
    lag: float
    vendor_recursion: float
    ramp_up: bool
    margin: int  # pixels drawn round the field and thrown away after the blur

    def expect(self, quanta: Tensor) -> Tensor:
        """The expected stored value [T, H, W] of expected quanta [T, H + 2 margin, W + 2 margin].

        Blurred, lagging and in the response's domain as what is read out; but the vendor's recursion is left out on
        purpose: the truth of a moment holds nothing of the moment before.
        """
        mean = self._crop(_lagging(blur(quanta, self.correlation), self.lag))
        variance = self._variance(mean) / self._dose(len(quanta))
        return self._ramp(self.response.mean(mean, variance))

    def read_out(self, quanta: Tensor, generator: torch.Generator) -> np.ndarray:
        """Noisy stored frames [T, H, W], uint8 up to 8 bits and uint16 above, of these expected quanta."""
        dose = self._dose(len(quanta))
        counted = torch.poisson(quanta.clamp(min=0) * dose, generator=generator) / dose
        seen = self._crop(_lagging(blur(counted, self.correlation), self.lag))
        read = self.read_noise_quanta / dose.sqrt()
        seen = seen + read * torch.randn(seen.shape, generator=generator)
        stored = self.response(seen)
        if self.vendor_recursion > 0:
            stored = self._recurse(stored, self.response(self._crop(blur(quanta[:1], self.correlation)))[0])
        stored = self._ramp(stored).round().clamp(0, 2**self.bits - 1).numpy()
        return stored.astype(np.uint8 if self.bits <= 8 else np.uint16)

    def law(self, quanta: Tensor) -> PoissonGaussian | None:
        """The noise of the stored values: always for LIN, for DISP where sigma is flat to 20 %, otherwise None.

        quanta: expected, [..., H, W]. Rounding (1/12 of a grey level squared) and the vendor's recursion are counted;
        the frames of a ramp are noisier than the law says.
        """
        kept = self._recursed_variance()
        if self.response.domain == "LIN":
            gain = self.response.gain * noise_gain(self.correlation) * self._lag_variance() * kept
            read = self.response.gain**2 * self.read_noise_quanta**2 * kept + 1 / 12
            return PoissonGaussian(gain, self.response.pedestal, math.sqrt(read))
        if self.response.domain == "DISP":
            sigma = self.response.sigma(quanta, self._variance(quanta)).flatten()
            low, middle, high = np.percentile(sigma[:: max(1, len(sigma) // 20000)].numpy(), (5, 50, 95))
            if high - low < 0.2 * middle:
                return PoissonGaussian(0.0, 0.0, math.sqrt(float(middle) ** 2 * kept + 1 / 12))
        return None

    def _crop(self, frames: Tensor) -> Tensor:
        edge = self.margin
        return frames[:, edge : frames.shape[1] - edge, edge : frames.shape[2] - edge]

    def _variance(self, quanta: Tensor) -> Tensor:
        return quanta.clamp(min=0) * noise_gain(self.correlation) * self._lag_variance() + self.read_noise_quanta**2

    def _lag_variance(self) -> float:
        return (1 - self.lag) ** 2 + self.lag**2

    def _recursed_variance(self) -> float:
        return (1 - self.vendor_recursion) / (1 + self.vendor_recursion)

    def _dose(self, frames: int) -> Tensor:
        """Share of the steady dose in each frame, [T, 1, 1]: below 1 while a run ramps up."""
        dose = torch.ones(frames, 1, 1)
        if self.ramp_up:
            # Frame 0 is scaled down after its noise is made, and the recursion later quietens what follows it.
            first = RAMP_NOISE[0] / RAMP_GAIN * math.sqrt(self._recursed_variance())
            later = (1.0, 1.0) if self.vendor_recursion > 0 else RAMP_NOISE[1:]
            for index, noise in enumerate((first, *later)[:frames]):
                dose[index] = min(1.0, noise**-2)
        return dose

    def _ramp(self, stored: Tensor) -> Tensor:
        if self.ramp_up:
            stored = stored.clone()
            stored[0] = RAMP_GAIN * stored[0] + RAMP_OFFSET * (2**self.bits - 1)
        return stored

    def _recurse(self, stored: Tensor, expected_first: Tensor) -> Tensor:
        """out_t = a out_(t-1) + (1 - a) x_t over the frames [T, H, W].

        A ramping run starts from its own frame 0 and opens the filter slowly, which is what gives the measured 32,
        14.5, 10; any other run is caught in the middle, so its first frame is already as quiet as the rest.
        """
        out = torch.empty_like(stored)
        if self.ramp_up:
            out[0] = stored[0]
        else:
            out[0] = expected_first + math.sqrt(self._recursed_variance()) * (stored[0] - expected_first)
        for index in range(1, len(stored)):
            opening = 0.55 if self.ramp_up and index == 1 else 1.0
            out[index] = torch.lerp(stored[index], out[index - 1], opening * self.vendor_recursion)
        return out


def _lagging(frames: Tensor, lag: float) -> Tensor:
    """Each frame with a share of the one before it; the first has nothing before it but itself."""
    if lag <= 0:
        return frames
    before = torch.cat([frames[:1], frames[:-1]])
    return torch.lerp(frames, before, lag)
