"""Everything between nodes of the scene and frames: in, out, the difference and the preview."""

from __future__ import annotations

from collections.abc import Generator

from .frames import (
    Frames,
    InputProblem,
    browser_of,
    current_frame,
    frame_view,
    read_frame,
    save_frames,
    sequence_of,
    shown_volume,
)
from .input_frames import frames_of, resolve_input
from .output_builder import OutputBuilder
from .preview import preview_volume
from .residual import matched, residual

__all__ = [
    "Frames", "InputProblem", "OutputBuilder", "browser_of", "completed", "current_frame", "frame_view", "frames_of",
    "matched", "preview_volume", "read_frame", "residual", "resolve_input", "save_frames", "sequence_of", "shown_volume",
]


def completed(steps: Generator):
    """What a generator of steps returns, run to its end at once: for scripts, which may wait."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
