"""A scene with exactly known motion and noise, and the best that a linear estimate can do on it.

Two transparent layers: a background of a Gaussian random field and a tool, each shifted rigidly by its own known path;
counts are Poisson(N0 exp(-attenuation)) plus Gaussian read noise. The oracle knows both motions, the noise of every
pixel and the background's power spectrum; only the pictures themselves it must estimate. No method that must find these
out for itself can be expected to beat it, so it is the ceiling that a table of results should print.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Layers = list[np.ndarray]

_TOOL_PRIOR = 1e-2  # weak pull of the tool's attenuation to 0, so that unseen pixels of it stay defined
_NO_PRIOR = 1e-6


@dataclass(frozen=True)
class ReferenceScene:
    """clean, noisy, tools, discs: [T, H, W], counts, counts and attenuation of all tools and of the discs among them; the
    rest is what the oracle knows.

    background, tool: [H, W] attenuation; background_path, tool_path: [T, 2] shifts (y, x) in pixels; spectrum: [H, W],
    expected power |FFT|^2 / (H W) of the background.
    """

    clean: np.ndarray
    noisy: np.ndarray
    tools: np.ndarray
    discs: np.ndarray
    background: np.ndarray
    tool: np.ndarray
    background_path: np.ndarray
    tool_path: np.ndarray
    spectrum: np.ndarray
    open_field: float
    read_noise: float

    @property
    def without_tools(self) -> np.ndarray:
        return np.array([self.open_field * np.exp(-shift(self.background, *move)) for move in self.background_path])


def reference_scene(
    frames: int = 20, size: int = 256, open_field: float = 60.0, read_noise: float = 2.0, seed: int = 0
) -> ReferenceScene:
    """Make the scene; the defaults are the one on which published numbers of this project were measured.

    The background moves by up to 2.7 pixels a frame, the tool (a curved wire of 1.3 pixels sigma and three discs) by 3 the
    other way; mean 62 counts.
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    spectrum = 1 / (frequency**2 + (2 / 256) ** 2) ** (3.0 / 2)
    spectrum[frequency > 0.35] = 0
    spectrum[0, 0] = 0
    spectrum *= 0.30**2 / (spectrum.sum() / (size * size))
    white = np.random.default_rng(seed).standard_normal((size, size))
    background = np.real(np.fft.ifft2(np.fft.fft2(white) * np.sqrt(spectrum)))
    t = np.arange(frames)
    background_path = np.stack([0.35 * t, 6.0 * np.sin(2 * np.pi * t / 14.0) + 0.6 * t], 1)
    tool_path = np.stack([0.4 * t, 3.0 * t], 1)
    discs = _discs(size)
    tool = _wire(size) + discs
    tools, moved_discs = (np.array([shift(one, *move) for move in tool_path]) for one in (tool, discs))
    clean = np.array(
        [open_field * np.exp(-(shift(background, *move) + moved)) for move, moved in zip(background_path, tools)]
    )
    rng = np.random.default_rng(seed + 100)
    noisy = rng.poisson(clean) + read_noise * rng.standard_normal(clean.shape)
    return ReferenceScene(
        clean, noisy, tools, moved_discs, background, tool, background_path, tool_path, spectrum, open_field, read_noise
    )


def _wire(size: int) -> np.ndarray:
    row, column = np.mgrid[:size, :size].astype(float)
    across = column - (60 + 25 * np.sin(row / 38.0))
    wire = 0.8 * np.exp(-0.5 * (across / 1.3) ** 2)
    return wire / (1 + np.exp(-(row - 30) / 4)) / (1 + np.exp((row - 226) / 4))  # its ends fade


def _discs(size: int) -> np.ndarray:
    row, column = np.mgrid[:size, :size].astype(float)
    centres = ((70, 130), (140, 160), (200, 110))
    return sum(0.5 / (1 + np.exp((np.hypot(row - y, column - x) - 5) / 0.6)) for y, x in centres)


def shift(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """Shift an image [H, W] by any fraction of a pixel, exactly, on a torus."""
    frequency_y = np.fft.fftfreq(image.shape[0])[:, None]
    frequency_x = np.fft.fftfreq(image.shape[1])[None]
    return np.real(np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (frequency_y * dy + frequency_x * dx))))


def oracle(
    scene: ReferenceScene,
    frames: Sequence[int],
    targets: Sequence[int],
    tool_known: bool = False,
    prior: bool = True,
    most_iterations: int = 120,
) -> np.ndarray:
    """The minimum-mean-square-error linear estimate of frames `targets` from the noisy frames `frames`; [N, H, W] counts.

    Observations are linearised in attenuation round the truth: z = -log(clean / N0) - (noisy - clean) / clean, of
    variance (clean + read^2) / clean^2. tool_known: the tool's picture is given, else it is free on its own support.
    prior False leaves out the background's spectrum: an unbiased estimate, a bound of Cramer and Rao's kind. Solved by
    conjugate gradients.
    """
    weight = {t: scene.clean[t] ** 2 / (scene.clean[t] + scene.read_noise**2) for t in frames}
    seen = {
        t: -np.log(scene.clean[t] / scene.open_field) - (scene.noisy[t] - scene.clean[t]) / scene.clean[t] for t in frames
    }
    if tool_known:
        seen = {t: seen[t] - scene.tools[t] for t in frames}
    paths = [scene.background_path] if tool_known else [scene.background_path, scene.tool_path]
    support = scene.tool > 0.01
    inverse_prior = 1 / np.maximum(scene.spectrum, 1e-9) if prior else _NO_PRIOR

    def project(layers: Layers, t: int) -> np.ndarray:
        return sum(shift(layer, *path[t]) for layer, path in zip(layers, paths))

    def back_project(weighted: Callable[[int], np.ndarray]) -> Layers:
        layers = [sum(shift(weighted(t), *-path[t]) for t in frames) for path in paths]
        return layers if tool_known else [layers[0], layers[1] * support]

    def normal(layers: Layers) -> Layers:
        residuals = {t: weight[t] * project(layers, t) for t in frames}
        result = back_project(residuals.__getitem__)
        result[0] = result[0] + np.real(np.fft.ifft2(np.fft.fft2(layers[0]) * inverse_prior))
        if not tool_known:
            result[1] = result[1] + _TOOL_PRIOR * layers[1] * support
        return result

    mean_weight = float(np.mean([weight[t].mean() for t in frames])) * len(frames)

    def precondition(layers: Layers) -> Layers:
        smooth = np.real(np.fft.ifft2(np.fft.fft2(layers[0]) / (mean_weight + inverse_prior)))
        return [smooth, *(layer / mean_weight for layer in layers[1:])]

    target = back_project({t: weight[t] * seen[t] for t in frames}.__getitem__)
    layers = _conjugate_gradients(normal, precondition, target, most_iterations)
    known = scene.tools if tool_known else np.zeros_like(scene.tools)
    return np.array([scene.open_field * np.exp(-(project(layers, t) + known[t])) for t in targets])


def _conjugate_gradients(
    normal: Callable[[Layers], Layers], precondition: Callable[[Layers], Layers], target: Layers, most: int
) -> Layers:
    """Solve normal(x) = target to a relative 3e-5 in the preconditioned norm."""

    def dot(first: Layers, second: Layers) -> float:
        return sum(float((one * other).sum()) for one, other in zip(first, second))

    solution = [np.zeros_like(layer) for layer in target]
    residual = [layer.copy() for layer in target]
    conditioned = precondition(residual)
    direction = conditioned
    energy = start = dot(residual, conditioned)
    for _ in range(most):
        image = normal(direction)
        step = energy / dot(direction, image)
        solution = [one + step * other for one, other in zip(solution, direction)]
        residual = [one - step * other for one, other in zip(residual, image)]
        conditioned = precondition(residual)
        renewed = dot(residual, conditioned)
        if renewed < 1e-9 * start:
            break
        direction = [one + renewed / energy * other for one, other in zip(conditioned, direction)]
        energy = renewed
    return solution
