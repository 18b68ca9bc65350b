"""The course of a training as a plot that grows while it runs."""

from __future__ import annotations

import slicer
import vtk
from slicer.i18n import tr as _

from .shown_results import show_chart


class LossPlot:
    """A table of losses by step and a chart of it, both of them nodes that are not saved with the scene."""

    def __init__(self) -> None:
        self.table, self.chart = None, None
        self._rows = 0

    def begin(self) -> None:
        """An empty plot, in the plot view."""
        self.remove()
        scene, self._rows = slicer.mrmlScene, 0
        self.table = scene.AddNewNodeByClass("vtkMRMLTableNode", _("FluoroDenoise training"))
        self.chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", _("FluoroDenoise training"))
        self.chart.SetTitle(_("Training"))
        self.chart.SetXAxisTitle(_("Step"))
        self.chart.SetYAxisTitle(_("Loss"))
        for node in (self.table, self.chart):
            node.SaveWithSceneOff()
        show_chart(self.chart)

    def follow(self, losses: list[tuple[int, dict[str, float]]]) -> None:
        """Add what is new in `losses`, (step, values by name) in order."""
        if self.table is None or self.table.GetScene() is None or len(losses) <= self._rows:
            return
        table = self.table.GetTable()
        for name in ("step", *losses[0][1]):
            if table.GetColumnByName(name) is None:
                self._add_column(table, name)
        for step, values in losses[self._rows :]:
            table.GetColumnByName("step").InsertNextValue(step)
            for name in losses[0][1]:
                table.GetColumnByName(name).InsertNextValue(values.get(name, float("nan")))
        self._rows = len(losses)
        table.Modified()
        self.table.Modified()

    def remove(self) -> None:
        """Take the nodes out of the scene, if they are still there."""
        count = self.chart.GetNumberOfPlotSeriesNodes() if self.chart else 0
        series = [self.chart.GetNthPlotSeriesNode(place) for place in range(count)]
        for node in (*series, self.chart, self.table):
            if node is not None and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
        self.table = self.chart = None

    def _add_column(self, table: vtk.vtkTable, name: str) -> None:
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        table.AddColumn(column)
        if name == "step":
            return
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SaveWithSceneOff()
        series.SetAndObserveTableNodeID(self.table.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName(name)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetUniqueColor()
        self.chart.AddAndObservePlotSeriesNodeID(series.GetID())
