"""Mean, noise and noise power spectrum of a region, gathered frame by frame from arrays alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPECTRUM_SIDE = 256  # pixels: the largest square that a spectrum is taken from


class Shading:
    """Slow shading over a mask [h, w]: the polynomial of second order that fits the pixels best.

    Powers of row and column are kept apart, so that a fit costs a few products with 3 columns, not a matrix of all pixels.
    """

    POWERS = np.array([(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]).T  # of row, of column

    def __init__(self, mask: np.ndarray):
        self.mask, self.pixels = mask, int(mask.sum())
        rows, columns = (np.vander(np.linspace(-1, 1, size), 5, increasing=True) for size in mask.shape)
        moments = rows.T @ mask.astype(float) @ columns
        row, column = self.POWERS
        squares = moments[row[:, None] + row, column[:, None] + column]
        # A mask one pixel wide cannot tell all six terms.
        self._inverse = np.linalg.pinv(squares, rcond=1e-9, hermitian=True)
        self.freedoms = max(self.pixels - np.linalg.matrix_rank(squares, tol=1e-9 * squares.max(), hermitian=True), 1)
        self._rows, self._columns = rows[:, :3], columns[:, :3]

    def without(self, values: np.ndarray) -> np.ndarray:
        """What is left of values [h, w] when the shading is taken off; 0 outside the mask."""
        moments = self._rows.T @ np.where(self.mask, values, 0) @ self._columns
        row, column = self.POWERS
        fitted = np.zeros((3, 3))
        fitted[row, column] = self._inverse @ moments[row, column]
        return np.where(self.mask, values - self._rows @ fitted @ self._columns.T, 0)


@dataclass
class RegionStatistics:
    """Mean and noise of a region, frame after frame. Memory: a few times the region, however long the run.

    Spatial noise is what is left of each frame after its slow shading, a polynomial of second order, is taken off.
    Temporal noise is each pixel's change from frame to frame about its own mean; motion counts as noise there.
    """

    spacing_mm: tuple[float, float]
    means: list[float] = field(default_factory=list)
    _variances: list[float] = field(default_factory=list)
    _spectrum: np.ndarray | float = 0.0
    _mask: np.ndarray | None = None
    _pixel_mean: np.ndarray | float = 0.0
    _pixel_spread: np.ndarray | float = 0.0

    def add(self, values: np.ndarray, shading: Shading) -> None:
        """Take the region of the next frame: its box [h, w], and the shading over its mask."""
        values, mask = values.astype(float), shading.mask
        self.means.append(float(values.mean(where=mask)))
        noise = shading.without(values)
        self._variances.append(float(np.vdot(noise, noise)) / shading.freedoms)
        self._spectrum = self._spectrum + power_spectrum(*_centre(noise, mask), self.spacing_mm)
        # Welford: no difference of large sums.
        change = values - self._pixel_mean
        self._pixel_mean = self._pixel_mean + change / len(self.means)
        self._pixel_spread = self._pixel_spread + change * (values - self._pixel_mean)
        self._mask = mask

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
        return float(np.sqrt(np.mean(self._pixel_spread[self._mask]) / max(len(self.means) - 1, 1)))

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


def _centre(noise: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The middle of a large region, and how many of its pixels are in it."""
    starts = [max((size - SPECTRUM_SIDE) // 2, 0) for size in noise.shape]
    middle = tuple(slice(start, start + SPECTRUM_SIDE) for start in starts)
    return noise[middle], max(int(mask[middle].sum()), 1)
