"""A Quality as nodes: a table to read and save, charts to look at, all owned by the table."""

from __future__ import annotations

import math

import slicer
import vtk
from slicer.i18n import tr as _

from .image_quality import Curve, Quality

VERDICTS = "FluoroDenoise.Verdicts"  # attribute of the table: the sentences, one a line
CHART_ROLES = {"spectra": "FluoroDenoise.SpectrumChart", "times": "FluoroDenoise.TimeChart", "lag": "FluoroDenoise.LagChart"}
DATA_ROLE = "FluoroDenoise.PlotData"
COLORS = ((0.85, 0.37, 0.01), (0.11, 0.62, 0.47), (0.46, 0.44, 0.70), (0.91, 0.16, 0.54), (0.40, 0.65, 0.12))


def quality_table(quality: Quality, table_node=None):
    """A table node with a line for each number: region, quantity, unit, input, output, and output over input in %.

    table_node is filled anew; a new node by default.
    """
    table = table_node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("FluoroDenoise quality"))
    with slicer.util.NodeModify(table):
        table.RemoveAllColumns()
        for title in ("Region", "Quantity", "Unit"):
            values = [getattr(row, title.lower()) for row in quality.rows]
            table.AddColumn(_column(vtk.vtkStringArray, title, values))
        table.AddColumn(_column(vtk.vtkDoubleArray, "Input", [row.input for row in quality.rows]))
        table.AddColumn(_column(vtk.vtkDoubleArray, "Output", [row.output for row in quality.rows]))
        ratios = [100 * row.output / row.input if row.input else math.nan for row in quality.rows]
        table.AddColumn(_column(vtk.vtkDoubleArray, "Output of input [%]", ratios))
        titles = (_("Region"), _("Quantity"), _("Unit"), _("Input"), _("Output"), _("Output of input [%]"))
        for column, title in enumerate(titles):  # names stay as they are, for scripts
            table.SetColumnTitle(table.GetColumnName(column), title)
        table.SetUseColumnTitleAsColumnHeader(True)
        table.SetAttribute(VERDICTS, "\n".join(quality.verdicts))
    return table


def quality_plots(quality: Quality, table_node) -> list:
    """Chart nodes of noise power spectra, means over time, and lag: those for which there is something to plot.

    They belong to the table: measuring again fills the same charts, and `remove_quality` removes all.
    """
    scene = table_node.GetScene()
    _remove(scene, _referred(table_node, DATA_ROLE))
    power = _("noise power [grey values\u00b2 mm\u00b2]")
    wanted = {
        "spectra": (_("Noise power spectrum"), _("spatial frequency [1/mm]"), power, quality.spectra),
        "times": (_("Mean over time"), quality.time_label, _("mean [grey values]"), quality.time_courses),
        "lag": (_("Lag"), _("frames after the step"), _("share of the old grey value"), (quality.lag,) if quality.lag else ()),
    }
    charts = []
    for key, (title, x_title, y_title, curves) in wanted.items():
        chart = table_node.GetNodeReference(CHART_ROLES[key])
        if not curves:
            _remove(scene, [chart] if chart else [])
            continue
        if chart is None:
            chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{table_node.GetName()}: {title.lower()}")
            table_node.SetNodeReferenceID(CHART_ROLES[key], chart.GetID())
        chart.RemoveAllPlotSeriesNodeIDs()
        chart.SetTitle(title)
        chart.SetXAxisTitle(x_title)
        chart.SetYAxisTitle(y_title)
        for number, curve in enumerate(curves):
            _plot(chart, table_node, curve, x_title, COLORS[number % len(COLORS)])
        charts.append(chart)
    return charts


def remove_quality(table_node) -> None:
    """Remove a quality table with its charts and their data."""
    scene = table_node.GetScene()
    charts = [table_node.GetNodeReference(role) for role in CHART_ROLES.values()]
    _remove(scene, [*filter(None, charts), *_referred(table_node, DATA_ROLE), table_node])


def _plot(chart, owner, curve: Curve, x_title: str, color: tuple[float, float, float]) -> None:
    """Add a curve to a chart: the input dashed, the output solid, in one colour."""
    scene = chart.GetScene()
    data = scene.AddNewNodeByClass("vtkMRMLTableNode", f"{chart.GetTitle()}: {curve.name}")
    for title, values in ((x_title, curve.x), ("input", curve.input), ("output", curve.output)):
        data.AddColumn(_column(vtk.vtkDoubleArray, title, values))
    data.HideFromEditorsOn()
    owner.AddNodeReferenceID(DATA_ROLE, data.GetID())
    for side, name, style in (("input", _("{curve} input"), "LineStyleDash"), ("output", _("{curve} output"), "LineStyleSolid")):
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name.format(curve=curve.name))
        series.SetAndObserveTableNodeID(data.GetID())
        series.SetXColumnName(x_title)
        series.SetYColumnName(side)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetLineStyle(getattr(series, style))
        series.SetColor(*color)
        series.HideFromEditorsOn()
        owner.AddNodeReferenceID(DATA_ROLE, series.GetID())
        chart.AddAndObservePlotSeriesNodeID(series.GetID())


def _column(kind, title: str, values):
    array = kind()
    array.SetName(title)
    for value in values:
        array.InsertNextValue(value)
    return array


def _referred(node, role: str) -> list:
    references = [node.GetNthNodeReference(role, number) for number in range(node.GetNumberOfNodeReferences(role))]
    return [reference for reference in references if reference is not None]


def _remove(scene, nodes) -> None:
    for node in nodes:
        scene.RemoveNode(node)
