"""Image quality of a result beside its input: numbers and sentences, a table, plots."""

from .image_quality import Curve, Quality, Row, quality
from .quality_nodes import quality_plots, quality_table, remove_quality

__all__ = ["Curve", "Quality", "Row", "quality", "quality_plots", "quality_table", "remove_quality"]
