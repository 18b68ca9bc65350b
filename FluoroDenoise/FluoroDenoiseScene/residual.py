"""What denoising took away: input minus output, as a node of its own that plays with them."""

from __future__ import annotations

from collections.abc import Generator
from math import isqrt

import numpy as np
from slicer.i18n import tr as _

from .bands import bands
from .frames import PREFIX, Frames, InputProblem, frame_view, sequence_of
from .input_frames import frames_of
from .output_builder import OutputBuilder

NORMAL_MAD = 1.4826  # standard deviation of normal noise per median absolute deviation
WINDOW_SIGMAS = 6.0  # noise of three standard deviations spans the window
SAMPLED_FRAMES = 8
SAMPLED_PIXELS = 1 << 14  # of each: enough for a standard deviation


def matched(frames: Frames, output_node) -> tuple[Frames, Frames]:
    """The input's frames that an output has, and the output's own, in the same order.

    Raises InputProblem if the output cannot come from them.
    """
    outputs = frames_of(output_node)
    first, count = frames.first, outputs.count
    if frames.kind == "sequence" and outputs.kind == "sequence":
        present = set(outputs.indices)
        numbers = [number for number, index in zip(frames.numbers, frames.indices) if index in present]
        first, count = (numbers or [0])[0], len(numbers)
    elif outputs.total != frames.count:
        first = int(output_node.GetAttribute(PREFIX + "FirstFrame") or frames.first)
    last = first + count - 1
    if count == 0 or first < frames.first or last > frames.last or outputs.shape != frames.shape:
        raise InputProblem(_("{name} has other frames than {input}; choose an output that was made from this input.").format(
            name=outputs.name, input=frames.name))
    chosen = frames.narrowed(first, last)
    if frames.kind == "sequence":
        places = [outputs.indices.index(index) for index in chosen.indices if index in outputs.indices]
        if len(places) != count or places != list(range(places[0], places[0] + count)):
            raise InputProblem(_("{name} lacks frames of {input} between its first and last; denoise again.").format(
                name=outputs.name, input=frames.name))
        outputs = outputs.narrowed(places[0], places[-1])
    return chosen, outputs


def residual(frames: Frames, output_node, residual_node=None) -> Generator[tuple[int, int], None, object]:
    """Input minus output, signed; yields (frames done, frames) and returns the node, which is in the scene only then.

    int32 for integers, otherwise the input's type. Its window is symmetric about zero, three standard deviations of what
    was taken away to each side. residual_node is replaced; a new node by default. Memory: the residual.
    """
    inputs, outputs = matched(frames, output_node)
    dtype = np.dtype(np.int32) if inputs.dtype.kind in "iu" else inputs.dtype
    if residual_node is not None and (sequence_of(residual_node) or residual_node) is outputs.node:
        raise InputProblem(_("{name} is the denoised result; choose another node for the difference.").format(name=outputs.name))
    builder = OutputBuilder(inputs, residual_node, f"{frames.name} residual", {"Content": "input minus output"}, dtype)
    sampled = set(np.linspace(0, inputs.count - 1, SAMPLED_FRAMES, dtype=int))
    samples, step = [], max(isqrt(inputs.shape[0] * inputs.shape[1] // SAMPLED_PIXELS), 1)
    for place, (of_input, of_output) in enumerate(zip(inputs.numbers, outputs.numbers)):
        room = builder.next_frame()
        for band in bands(*inputs.shape):
            before, after = frame_view(inputs, of_input), frame_view(outputs, of_output)
            np.subtract(before[band], after[band], out=room[band], dtype=dtype)
            yield place, builder.count
        if place in sampled:
            samples.append(room[::step, ::step].ravel())
    window = symmetric_window(np.concatenate(samples))
    yield builder.added, builder.count
    return builder.finish(window)


def symmetric_window(values: np.ndarray) -> tuple[float, float]:
    """(window, level) about zero that shows noise of these values without clipping it."""
    values = values[np.isfinite(values)]
    if not values.any():
        return WINDOW_SIGMAS, 0.0
    sigma = NORMAL_MAD * float(np.median(np.abs(values)))
    return WINDOW_SIGMAS * (sigma or float(np.std(values)) or 1.0), 0.0
