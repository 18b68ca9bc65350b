"""Draw the pictures of the Slicer module: `python docs/draw_screenshots.py` from the repository's root.

panel.png      the panel after the sample run was denoised by the real worker
compare.png    input, output and what was removed, as Slicer's own slice pipeline draws them

There is no Slicer: the scene is real, the panel is that of Testing/Scene/host, so fonts and frames of widgets differ from
those on a user's screen. Needs `pip install '.[scene]'`.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Testing" / "Scene"))

import host

host.start()

import numpy as np
import qt
import slicer
from PIL import Image, ImageDraw, ImageFont
from PySide6 import QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

SCREENSHOTS = ROOT / "FluoroDenoise" / "Resources" / "Screenshots"
PANEL_WIDTH = 520
VIEW_SIDE = 384
MARGIN = 16
SHOWN_FRAME = 12
OPEN_SECTIONS = ("denoise", "compare", "quality", "options", "setup")


def give_views() -> None:
    """A layout node and the logics of the comparison's views: what Slicer's main window brings."""
    from FluoroDenoiseScene import layouts

    slicer.mrmlScene.AddNode(slicer.vtkMRMLLayoutNode())
    application = slicer.app.applicationLogic()
    for views in layouts._VIEWS.values():
        for tag, label, _ in views:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(slicer.mrmlScene)
            logic.AddSliceNode(tag).SetLayoutLabel(label)
            logic.GetSliceNode().SetOrientation("Axial")
            logic.ResizeSliceNode(VIEW_SIDE, VIEW_SIDE)
            application.GetSliceLogics().AddItem(logic)


def view_picture(tag: str) -> Image.Image:
    """What a slice view shows, with its name in the corner."""
    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(tag)
    port = logic.GetImageDataConnection()
    port.GetProducer().Update()
    image = port.GetProducer().GetOutputDataObject(port.GetIndex())
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    volume = slicer.mrmlScene.GetNodeByID(logic.GetSliceCompositeNode().GetBackgroundVolumeID())
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    draw.text((8, 6), logic.GetSliceNode().GetLayoutLabel(), fill=(255, 214, 90), font=font)
    draw.text((8, VIEW_SIDE - 24), volume.GetName(), fill=(235, 235, 235), font=font)
    return picture


def draw_compare(target: Path) -> None:
    from FluoroDenoiseScene import layouts

    pictures = [view_picture(tag) for tag, _, _ in layouts._VIEWS[layouts.SIDE_BY_SIDE]]
    sheet = Image.new("RGB", (len(pictures) * (VIEW_SIDE + 4) - 4, VIEW_SIDE), (60, 60, 60))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index * (VIEW_SIDE + 4), 0))
    sheet.save(target, optimize=True)


def draw_regions(frame) -> tuple:
    """What the tutorial has the user draw: a vessel, an even background, a line across a vessel that fills."""
    row_mm, column_mm = frame.GetSpacing()[1], frame.GetSpacing()[0]
    boxes = []
    for name, row, column in (("vessel", 177, 46), ("background", 100, 60)):
        box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
        box.SetCenter(-column * column_mm, -row * row_mm, 0)
        box.SetSize(20 * column_mm, 12 * row_mm, 1)
        boxes.append(box)
    line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "filling")
    for row, column in ((168, 105), (184, 121)):
        line.AddControlPoint(-column * column_mm, -row * row_mm, 0)
    return *boxes, line


def draw_panel(widget, target: Path) -> None:
    parent = widget.parent
    parent.resize(PANEL_WIDTH, parent.sizeHint.height())
    parent.show()
    for _ in range(5):
        slicer.app.processEvents()
    parent.resize(PANEL_WIDTH, parent.sizeHint.height())
    slicer.app.processEvents()
    parent.grab().save(str(target))
    picture = Image.open(target).convert("RGB")
    drawn = np.nonzero(np.ptp(np.asarray(picture), axis=(1, 2)))[0]
    picture.crop((0, 0, picture.width, int(drawn[-1]) + MARGIN)).save(target, optimize=True)


def wait(widget) -> None:
    """Let Slicer's timers fire until no job is under way."""
    while widget.running is not None or widget.logic.errands.jobs:
        slicer.app.processEvents()
        time.sleep(0.01)


def main() -> None:
    QtWidgets.QApplication.setStyle("Fusion")
    module, _ = host.load_module("FluoroDenoise", ROOT / "FluoroDenoise")
    give_views()
    from FluoroDenoiseScene.sample_data import load_sample

    run = load_sample()
    widget = host.make_widget(module)
    widget.ui.applyButton.click()
    wait(widget)
    clean = widget.parameters.outputNode
    print(widget.ui.statusLabel.text)
    widget.logic.compareView(run, clean)
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(run)
    browser.SetSelectedItemNumber(SHOWN_FRAME)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    draw_compare(SCREENSHOTS / "compare.png")
    vessel, background, filling = draw_regions(run.GetNthDataNode(0))
    widget.ui.regionSelector.setCheckState(vessel, qt.Qt.Checked)
    widget.parameters.background, widget.parameters.edge = background, filling
    widget.ui.measureButton.click()
    wait(widget)
    for section in OPEN_SECTIONS:
        getattr(widget.ui, f"{section}CollapsibleButton").collapsed = False
    wait(widget)
    draw_panel(widget, SCREENSHOTS / "panel.png")
    host.close_widget(widget)
    for path in sorted(SCREENSHOTS.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
