"""The cases of Testing/Slicer, here on the stand-in host; inside Slicer ctest runs the same files."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "Slicer"))

from test_fluorodenoise_module import *  # noqa: E402, F403
from test_fluorodenoise_panel import *  # noqa: E402, F403
from test_fluorodenoise_process import *  # noqa: E402, F403


@pytest.fixture(autouse=True)
def in_an_open_slicer(panel):
    """The module is loaded and its panel open, which Slicer does by itself; no slot may raise."""
