"""Measurements in regions that the user draws, and what they mean in plain words."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from .scene_job import SceneJob
from .section import JobButton, Section
from .shown_results import place, show_chart, show_table

REGION_CLASSES = ("vtkMRMLMarkupsROINode", "vtkMRMLSegmentationNode")


class QualitySection(Section):
    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._table, self._charts, self._next_chart = None, [], 0
        self._measure = JobButton(panel, self.ui.measureButton, self.ui.qualityProgressBar, self.ui.qualityLabel, self._start,
                                  self._finished, self._obstacle)
        self.ui.showTableButton.connect("clicked(bool)", self._show_table)
        self.ui.showPlotsButton.connect("clicked(bool)", self._show_plots)
        for selector in (self.ui.regionSelector, self.ui.backgroundSelector, self.ui.edgeSelector):
            selector.connect("nodeAddedByUser(vtkMRMLNode*)", self._draw)

    def refresh(self) -> None:
        if self.panel.parameters is None:
            return
        self._measure.refresh()
        self.ui.showTableButton.enabled = self._table is not None and self._table.GetScene() is not None
        self.ui.showPlotsButton.enabled = any(chart.GetScene() is not None for chart in self._charts)

    def checked_regions(self) -> list:
        """The nodes that are checked in the list of regions, in the order of the scene."""
        selector, nodes = self.ui.regionSelector, []
        for class_name in REGION_CLASSES:
            nodes += slicer.util.getNodesByClass(class_name)
        return [node for node in nodes if selector.checkState(node) == qt.Qt.Checked]

    def _obstacle(self) -> str:
        if self.chosen("inputNode") is None or self.chosen("outputNode") is None:
            return _("There is nothing to measure yet; denoise a run, or select an output of one.")
        return ""

    def _draw(self, node) -> None:
        """A region that was just created is drawn next; a segmentation is drawn in the Segment Editor."""
        if node is None or not node.IsA("vtkMRMLMarkupsNode"):
            return
        if node.IsA("vtkMRMLMarkupsROINode"):
            self.ui.regionSelector.setCheckState(node, qt.Qt.Checked)
        place(node)

    def _start(self) -> SceneJob:
        kept = self._table if self._table and self._table.GetScene() else None
        return self.logic.qualityTable(self.chosen("inputNode"), self.chosen("outputNode"), self.checked_regions(),
                                       self.chosen("background"), self.chosen("edge"), kept, waitForCompletion=False)

    def _finished(self, job: SceneJob) -> None:
        self._table, self._charts, self._next_chart = job.result, list(job.charts), 0
        self._measure.say("\n".join(job.quality.verdicts))

    def _show_table(self) -> None:
        show_table(self._table)

    def _show_plots(self) -> None:
        """Each press shows the next plot."""
        charts = [chart for chart in self._charts if chart.GetScene() is not None]
        if charts:
            show_chart(charts[self._next_chart % len(charts)])
            self._next_chart += 1
