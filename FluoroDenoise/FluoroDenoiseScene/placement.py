"""Put a result beside its source: same browser, transform, subject hierarchy folder, window/level and colours."""

from __future__ import annotations

import slicer

from .frames import browser_of


def join_browser(scene, source, sequence):
    """The proxy volume of a full sequence, played by the browser of its source, which is made if there is none.

    The sequence must be full: a browser computes window and level once, from the first frame it meets.
    """
    browser = browser_of(source)
    if browser is None:
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{source.GetName()} browser")
        browser.SetAndObserveMasterSequenceNodeID(source.GetID())
    if not browser.IsSynchronizedSequenceNode(sequence, True):
        browser.AddSynchronizedSequenceNode(sequence)
        browser.SetOverwriteProxyName(sequence, True)
        # Outside its range a result shows nothing, rather than its nearest frame under another frame's time.
        browser.SetMissingItemMode(sequence, browser.MissingItemSetToDefault)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(sequence)


def show_like(volume, source, window_level: tuple[float, float] | None = None) -> None:
    """Give a volume the window, level, colours and transform of another; a window and level of its own if stated.

    source: a volume, or None where the source is not shown.
    """
    display = _display_of(volume)
    shown = source.GetDisplayNode() if source else None
    if window_level is None and shown is not None:
        window_level = shown.GetWindow(), shown.GetLevel()
    if window_level is not None:
        display.AutoWindowLevelOff()
        display.SetWindowLevel(*window_level)
    if shown is not None:
        display.SetAndObserveColorNodeID(shown.GetColorNodeID())
        display.SetInterpolate(shown.GetInterpolate())
    if source is not None:
        volume.SetAndObserveTransformNodeID(source.GetTransformNodeID())


def same_folder(node, source) -> None:
    """Move a node to the subject hierarchy folder of another."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(source) if hierarchy and source else 0
    folder = hierarchy.GetItemParent(item) if item else 0
    if folder:
        hierarchy.CreateItem(folder, node)


def _display_of(volume):
    """A volume's display node; a new one does not compute a window over all pixels, which takes long in a large volume."""
    display = volume.GetDisplayNode()
    if display is None:
        scene = volume.GetScene()
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        display.AutoWindowLevelOff()
        display.SetDefaultColorMap()
        scene.AddNode(display)
        volume.SetAndObserveDisplayNodeID(display.GetID())
    return display
