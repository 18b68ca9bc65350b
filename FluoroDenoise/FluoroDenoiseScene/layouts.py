"""The module's own view layouts: three slice views side by side, or one; registered once, and left again."""

from __future__ import annotations

import slicer

SIDE_BY_SIDE, SINGLE = 7531, 7532  # layout numbers above those of Slicer and the usual examples
INPUT_VIEW, OUTPUT_VIEW, RESIDUAL_VIEW, REVEAL_VIEW = (
    "FluoroDenoiseInput", "FluoroDenoiseOutput", "FluoroDenoiseResidual", "FluoroDenoiseReveal"
)
VIEW_GROUP = 7531  # linked views follow each other within a group only, so that the user's own views stay put

_VIEW = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
 <property name="orientation" action="default">Axial</property>
 <property name="viewlabel" action="default">{label}</property>
 <property name="viewcolor" action="default">{color}</property>
 <property name="viewgroup" action="default">{group}</property>
</view></item>"""
_VIEWS = {
    SIDE_BY_SIDE: ((INPUT_VIEW, "In", "#F34A33"), (OUTPUT_VIEW, "Out", "#6EB04B"), (RESIDUAL_VIEW, "Diff", "#EDD54C")),
    SINGLE: ((REVEAL_VIEW, "In|Out", "#6EB04B"),),
}


def layout_node(scene):
    """The node that says which views are on screen; None without a main window."""
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def show_layout(node, number: int) -> dict | None:
    """Switch to one of our layouts; the slice logic of each of its views by name, None if the views are not there.

    The views are missing where a scene brought a layout node but nothing draws it.
    """
    if not node.IsLayoutDescription(number):
        items = (_VIEW.format(tag=tag, label=label, color=color, group=VIEW_GROUP) for tag, label, color in _VIEWS[number])
        node.AddLayoutDescription(number, f'<layout type="horizontal" split="true">{"".join(items)}</layout>')
    before = node.GetViewArrangement()
    node.SetViewArrangement(number)
    application = slicer.app.applicationLogic()
    logics = {tag: application.GetSliceLogicByLayoutName(tag) for tag, _, _ in _VIEWS[number]}
    if None in logics.values():
        node.SetViewArrangement(before)
        return None
    return logics


def is_ours(node) -> bool:
    """Whether one of our layouts is on screen."""
    return node.GetViewArrangement() in _VIEWS
