"""Show a table or a plot in Slicer's views. Without a main window nothing happens and nothing breaks."""

from __future__ import annotations

import slicer


def show_table(table_node) -> bool:
    """Show a table in the table view, in a layout that has one. False where there are no layouts."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveTableID(table_node.GetID())
    slicer.app.applicationLogic().PropagateTableSelection()
    return _arrange("SlicerLayoutFourUpTableView")


def show_chart(chart_node) -> bool:
    """Show a plot in the plot view, in a layout that has one. False where there are no layouts."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActivePlotChartID(chart_node.GetID())
    slicer.app.applicationLogic().PropagatePlotChartSelection()
    return _arrange("SlicerLayoutFourUpPlotView")


def place(markups_node) -> None:
    """Let the user draw a markup in the views now."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName(markups_node.GetClassName())
    selection.SetActivePlaceNodeID(markups_node.GetID())
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetPlaceModePersistence(0)
    interaction.SetCurrentInteractionMode(interaction.Place)


def _arrange(layout: str) -> bool:
    nodes = slicer.util.getNodesByClass("vtkMRMLLayoutNode")
    if not nodes:
        return False
    nodes[0].SetViewArrangement(getattr(slicer.vtkMRMLLayoutNode, layout))
    return True
