"""Mean, noise and noise power spectrum of a region, gathered frame by frame from arrays alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .bands import bands

SPECTRUM_SIDE = 256  # pixels: the largest square that a spectrum is taken from


class Shading:
    """Slow shading over a mask [h, w]: the polynomial of second order that fits the pixels best.

    Powers of row and column are kept apart, so that a fit costs a few products with 3 columns, not a matrix of all pixels.
    It is fitted to the sum of the moments of a frame's bands, and taken off band by band.
    """

    POWERS = np.array([(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]).T  # of row, of column

    def __init__(self, mask: np.ndarray):
        self.mask, self.pixels = mask, int(mask.sum())
        rows, columns = (np.vander(np.linspace(-1, 1, size), 5, increasing=True) for size in mask.shape)
        moments = sum(rows[band].T @ mask[band].astype(float) @ columns for band in bands(*mask.shape))
        row, column = self.POWERS
        squares = moments[row[:, None] + row, column[:, None] + column]
        # A mask one pixel wide cannot tell all six terms.
        self._inverse = np.linalg.pinv(squares, rcond=1e-9, hermitian=True)
        self.freedoms = max(self.pixels - np.linalg.matrix_rank(squares, tol=1e-9 * squares.max(), hermitian=True), 1)
        self._rows, self._columns = rows[:, :3], columns[:, :3]

    def moments(self, values: np.ndarray, band: slice) -> np.ndarray:
        """Sums over the pixels of a band, values [band, w] times powers of row and column, [3, 3]; the first is their plain sum."""
        return self._rows[band].T @ np.where(self.mask[band], values, 0.0) @ self._columns

    def fit(self, moments: np.ndarray) -> np.ndarray:
        """The polynomial of a frame with these moments, as factors [3, 3] of powers of row and column."""
        row, column = self.POWERS
        fitted = np.zeros((3, 3))
        fitted[row, column] = self._inverse @ moments[row, column]
        return fitted

    def without(self, values: np.ndarray, band: slice, fitted: np.ndarray) -> np.ndarray:
        """What is left of a band, values [band, w], when the shading is taken off; 0 outside the mask."""
        return np.where(self.mask[band], values - self._rows[band] @ fitted @ self._columns.T, 0.0)


@dataclass
class RegionStatistics:
    """Mean and noise of a region, frame after frame. Memory: two numbers a pixel of the region, however long the run.

    Spatial noise is what is left of each frame after its slow shading, a polynomial of second order, is taken off.
    Temporal noise is each pixel's change from frame to frame about its own mean; motion counts as noise there.
    """

    spacing_mm: tuple[float, float]
    means: list[float] = field(default_factory=list)
    _variances: list[float] = field(default_factory=list)
    _spectrum: np.ndarray | float = 0.0
    _mask: np.ndarray | None = None
    _pixel_mean: np.ndarray | None = None
    _pixel_spread: np.ndarray | None = None

    def add(self, values: np.ndarray, shading: Shading) -> Iterator[None]:
        """Take the region of the next frame: its box [h, w], and the shading over its mask. Yields after every band."""
        if self._pixel_mean is None:
            self._pixel_mean, self._pixel_spread = np.zeros(values.shape), np.zeros(values.shape)
        moments, energy = np.zeros((3, 3)), 0.0
        for band in bands(*values.shape):
            moments += shading.moments(values[band], band)
            yield
        fitted = shading.fit(moments)
        for band in bands(*values.shape):
            here = values[band].astype(float)
            noise = shading.without(here, band, fitted)
            energy += float(np.vdot(noise, noise))
            self._follow(here, band)
            yield
        middle, across = (_middle(size) for size in values.shape)
        noise = shading.without(values[middle], middle, fitted)[:, across]
        pixels = max(int(shading.mask[middle, across].sum()), 1)
        self._spectrum = self._spectrum + power_spectrum(noise, pixels, self.spacing_mm)
        self._mask = shading.mask
        self._variances.append(energy / shading.freedoms)
        self.means.append(float(moments[0, 0]) / shading.pixels)

    def _follow(self, values: np.ndarray, band: slice) -> None:
        """Welford's means and spreads of a band over time, in place: no difference of large sums."""
        mean, spread = self._pixel_mean[band], self._pixel_spread[band]
        change = values - mean
        mean += change / (len(self.means) + 1)
        change *= values - mean
        spread += change

    @property
    def mean(self) -> float:
        return float(np.mean(self.means))

    @property
    def spatial_noise(self) -> float:
        """Standard deviation over the pixels, root mean square over the frames."""
        return float(np.sqrt(np.mean(self._variances)))

    @property
    def temporal_noise(self) -> float:
        """Standard deviation over the frames, root mean square over the pixels of the last mask."""
        return float(np.sqrt(np.mean(self._pixel_spread, where=self._mask) / max(len(self.means) - 1, 1)))

    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """(frequencies in 1/mm, noise power in grey values squared times mm^2), averaged over directions and frames."""
        return radial(self._spectrum / len(self.means), self.spacing_mm)


def power_spectrum(noise: np.ndarray, pixels: int, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Noise power [h, w] of one frame: dx dy / N |DFT|^2, N of the pixels being noise and the others 0.

    Its sum times the area of a frequency cell is the variance.
    """
    return spacing_mm[0] * spacing_mm[1] / pixels * np.abs(np.fft.fft2(noise)) ** 2


def radial(spectrum: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A spectrum averaged over rings, from above 0 to the lower of the two Nyquist frequencies."""
    height, width = spectrum.shape
    along, across = np.fft.fftfreq(height, spacing_mm[0]), np.fft.fftfreq(width, spacing_mm[1])
    frequency = np.hypot(along[:, None], across[None, :])
    step = max(1 / (height * spacing_mm[0]), 1 / (width * spacing_mm[1]))
    nyquist = 0.5 / max(spacing_mm)
    ring = np.rint(frequency / step).astype(int)
    counted = (ring > 0) & (frequency <= nyquist)
    sums = np.bincount(ring[counted], spectrum[counted])
    counts = np.bincount(ring[counted])
    centres = np.bincount(ring[counted], frequency[counted])
    present = counts > 0
    return centres[present] / counts[present], sums[present] / counts[present]


def mean_frequency(frequencies: np.ndarray, power: np.ndarray) -> float:
    """Where the middle of the noise lies, 1/mm: coarse noise is low. Rings weigh by their circumference."""
    weight = power * frequencies
    return float((weight * frequencies).sum() / weight.sum()) if weight.sum() else float("nan")


def _middle(size: int) -> slice:
    """The part of a side that a spectrum is taken from."""
    start = max((size - SPECTRUM_SIDE) // 2, 0)
    return slice(start, start + SPECTRUM_SIDE)
