"""The sections of the panel, from top to bottom."""

from __future__ import annotations

from .panel_compare import CompareSection
from .panel_denoise import DenoiseSection
from .panel_files import BatchSection, ExportSection, PathsSection
from .panel_options import OptionsSection
from .panel_quality import QualitySection
from .panel_setup import SetupSection
from .panel_training import TrainingSection
from .section import Section

# Setup comes first, because it says whether anything can run; then the input, which all others look at.
SECTIONS = (SetupSection, PathsSection, DenoiseSection, OptionsSection, CompareSection, QualitySection, TrainingSection,
            BatchSection, ExportSection)


def make_sections(panel) -> list[Section]:
    """One of each, connected to the widgets of `panel.ui`."""
    return [section(panel) for section in SECTIONS]
