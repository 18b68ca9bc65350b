"""The comparison on screen, by the real layout and slice logics; only the widgets that draw them are missing."""

import gc
import weakref

import numpy as np
import pytest
import slicer
import vtk
from FluoroDenoiseScene import sequences
from FluoroDenoiseScene.layouts import INPUT_VIEW, OUTPUT_VIEW, RESIDUAL_VIEW, REVEAL_VIEW, SIDE_BY_SIDE, SINGLE
from FluoroDenoiseScene.views import Comparison
from host.fixtures import make_run
from test_output import content, result_of
from test_sequences import browser_of, make_volume, state_of
from vtk.util.numpy_support import vtk_to_numpy

USERS_LAYOUT = 6  # one red slice view


@pytest.fixture
def screen(scene):
    """The layout node of a main window, whose slice views have logics but no widgets."""
    application = slicer.app.applicationLogic()
    layout = slicer.vtkMRMLLayoutLogic()
    layout.SetMRMLScene(scene)
    node, logics = layout.GetLayoutNode(), application.GetSliceLogics()

    def make_logics(caller=None, event=None):
        for slice_node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if application.GetSliceLogicByLayoutName(slice_node.GetLayoutName()) is None:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(application)
                logic.SetMRMLScene(scene)
                logic.SetSliceNode(slice_node)
                logic.ResizeSliceNode(100, 100)
                logics.AddItem(logic)

    tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, make_logics)
    node.SetViewArrangement(USERS_LAYOUT)
    make_logics()
    yield node
    node.RemoveObserver(tag)
    node.SetViewArrangement(0)
    logics.RemoveAllItems()
    layout.SetMRMLScene(None)
    for class_name in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
        for view_node in slicer.util.getNodesByClass(class_name):
            scene.RemoveNode(view_node)
    scene.RemoveNode(node)


@pytest.fixture
def comparison():
    views = Comparison()
    yield views
    views.end_comparison()


@pytest.fixture
def trio(sequence):
    """Input, output (200 grey values brighter) and residual."""
    output = result_of(sequence, change=lambda frame: frame + 200)
    return sequence, output, sequences.completed(sequences.residual(sequences.resolve_input(sequence), output))


def logic_of(tag):
    return slicer.app.applicationLogic().GetSliceLogicByLayoutName(tag)


def background(tag):
    return logic_of(tag).GetSliceCompositeNode().GetBackgroundVolumeID()


def picture(tag):
    """What a view shows: [rows, columns] grey, first row on top."""
    port = logic_of(tag).GetImageDataConnection()
    port.GetProducer().Update()
    image = port.GetProducer().GetOutputDataObject(port.GetIndex())
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1, :, 0].astype(float)


def window_of(node):
    display = sequences.shown_volume(node).GetDisplayNode()
    return display.GetWindow(), display.GetLevel()


def observed(node):
    return {event: node.HasObserver(event) for event in (
        vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)}


def test_three_linked_views_show_input_output_and_residual(screen, comparison, trio):
    assert comparison.show_comparison(*trio) and comparison.active
    assert screen.GetViewArrangement() == SIDE_BY_SIDE
    for tag, node in zip((INPUT_VIEW, OUTPUT_VIEW, RESIDUAL_VIEW), trio):
        assert background(tag) == sequences.shown_volume(node).GetID()
        composite = logic_of(tag).GetSliceCompositeNode()
        assert composite.GetLinkedControl() and composite.GetHotLinkedControl()
        assert composite.GetForegroundVolumeID() is None
    fields = {tuple(logic_of(tag).GetSliceNode().GetFieldOfView()) for tag in (INPUT_VIEW, OUTPUT_VIEW, RESIDUAL_VIEW)}
    groups = {logic_of(tag).GetSliceNode().GetViewGroup() for tag in (INPUT_VIEW, OUTPUT_VIEW, RESIDUAL_VIEW)}
    assert len(fields) == 1 and len(groups) == 1 and logic_of("Red").GetSliceNode().GetViewGroup() not in groups


def test_the_three_play_together(screen, comparison, trio):
    comparison.show_comparison(*trio)
    pictures = []
    for number in (0, 3):
        browser_of(trio[0]).SetSelectedItemNumber(number)
        proxies = [sequences.shown_volume(node) for node in trio]
        for proxy, node in zip(proxies, trio):
            np.testing.assert_array_equal(
                slicer.util.arrayFromVolume(proxy), slicer.util.arrayFromVolume(node.GetNthDataNode(number)))
        pictures.append(picture(INPUT_VIEW))
    assert not np.array_equal(*pictures)


def test_input_and_output_keep_one_window_and_the_residual_its_own(screen, comparison, trio):
    of_residual = window_of(trio[2])
    comparison.show_comparison(*trio)
    assert window_of(trio[0]) == window_of(trio[1]) and window_of(trio[2]) == of_residual
    for moved, other in (trio[:2], trio[1::-1]):
        width = window_of(moved)[0] + 7
        sequences.shown_volume(moved).GetDisplayNode().SetWindowLevel(width, 120)
        assert window_of(other) == window_of(moved) == (width, 120)
    assert window_of(trio[2]) == of_residual and of_residual[1] == 0
    comparison.end_comparison()
    sequences.shown_volume(trio[0]).GetDisplayNode().SetWindowLevel(10, 20)
    assert window_of(trio[1]) != (10, 20)


def test_the_users_layout_comes_back(screen, comparison, trio):
    comparison.show_comparison(*trio)
    comparison.show_curtain(*trio[:2])
    comparison.show_comparison(*trio)
    comparison.end_comparison()
    comparison.end_comparison()
    assert screen.GetViewArrangement() == USERS_LAYOUT and not comparison.active


def test_a_layout_that_the_user_chose_meanwhile_stays(screen, comparison, trio):
    comparison.show_comparison(*trio)
    screen.SetViewArrangement(3)
    comparison.end_comparison()
    assert screen.GetViewArrangement() == 3


def test_without_a_residual_its_view_is_empty(screen, comparison, trio):
    comparison.show_comparison(*trio)
    assert comparison.show_comparison(*trio[:2]) and background(RESIDUAL_VIEW) is None


def test_frames_of_any_orientation_fill_the_view(screen, comparison, scene):
    volume = make_volume(scene, np.full((4, 30, 40), 100, np.uint16))
    volume.SetIJKToRASDirections(0, 0, 1, -1, 0, 0, 0, -1, 0)  # sagittal
    comparison.show_comparison(volume, result_of(volume))
    to_ras = logic_of(INPUT_VIEW).GetSliceNode().GetSliceToRAS()
    assert abs(to_ras.GetElement(0, 2)) == pytest.approx(1)


def test_a_view_that_gets_its_size_later_still_shows_the_whole_frame(screen, comparison, trio):
    comparison.show_comparison(*trio)
    width_mm, height_mm = 48 * 0.3, 64 * 0.3
    for columns in (40, 160):
        logic_of(OUTPUT_VIEW).ResizeSliceNode(columns, 100)
        seen = logic_of(OUTPUT_VIEW).GetSliceNode().GetFieldOfView()
        assert seen[0] >= 0.99 * width_mm and seen[1] >= 0.99 * height_mm and min(seen[0] / width_mm, seen[1] / height_mm) < 1.1


@pytest.mark.parametrize("by", ["zooming", "browsing"])
def test_a_view_that_somebody_moved_is_left_as_it_is(screen, comparison, scene, by):
    volume = make_volume(scene, np.full((9, 30, 40), 100, np.uint16))
    comparison.show_comparison(volume, result_of(volume))
    node = logic_of(INPUT_VIEW).GetSliceNode()
    if by == "zooming":
        node.SetFieldOfView(5, 5, 1)
    else:
        logic_of(INPUT_VIEW).SetSliceOffset(7.0)
    logic_of(INPUT_VIEW).ResizeSliceNode(100, 50)
    assert node.GetFieldOfView()[1] == pytest.approx(5) if by == "zooming" else node.GetSliceOffset() == pytest.approx(7)


def curtained(comparison, position, directions=(-1, 0, 0, 0, -1, 0, 0, 0, 1)):
    """The picture of a black input (frame 1 grey) under a curtain of a white output."""
    scene = slicer.mrmlScene
    run = make_run(scene, level=1)
    for number in range(6):
        frame = run.GetNthDataNode(number)
        frame.SetIJKToRASDirections(*directions)
        slicer.util.updateVolumeFromArray(frame, np.full((1, 64, 64), 50 * (number == 1), np.uint16))
    browser_of(run).SetSelectedItemNumber(1)
    browser_of(run).SetSelectedItemNumber(0)
    output = result_of(run, change=lambda frame: frame + 100)
    display = sequences.shown_volume(run).GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(200, 100)
    assert comparison.show_curtain(run, output, position)
    return run, output


@pytest.mark.parametrize("directions", [
    (-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 0, 0, 0, 1, 0, 0, 0, 1), (1, 0, 0, 0, -1, 0, 0, 0, 1),
])
def test_the_input_is_left_of_the_curtain_and_the_output_right(screen, comparison, directions):
    curtained(comparison, 0.25, directions)
    seen = picture(REVEAL_VIEW)[50]
    assert screen.GetViewArrangement() == SINGLE
    assert seen[5:22].max() < 3 and abs(seen[30:95] - 127.5).max() < 3


def test_the_curtain_moves_from_all_output_to_all_input(screen, comparison):
    curtained(comparison, 0.5)
    shares = []
    for position in (0.0, 0.3, 0.8, 1.0):
        comparison.move_curtain(position)
        shares.append((picture(REVEAL_VIEW)[50, 2:-2] > 60).mean())
    np.testing.assert_allclose(shares, [1, 0.7, 0.2, 0], atol=0.03)


def test_the_curtain_follows_the_frame_on_show(screen, comparison):
    run, _ = curtained(comparison, 0.5)
    browser_of(run).SetSelectedItemNumber(1)
    seen = picture(REVEAL_VIEW)[50]
    assert abs(seen[5:45] - 64).max() < 3 and abs(seen[55:95] - 191).max() < 3


def test_the_curtain_copes_with_frames_that_the_output_lacks(screen, comparison, sequence):
    output = result_of(sequence, first=2, last=4)
    assert comparison.show_curtain(sequence, output)
    composite = logic_of(REVEAL_VIEW).GetSliceCompositeNode()
    assert composite.GetForegroundVolumeID() is None
    browser_of(sequence).SetSelectedItemNumber(3)
    assert composite.GetForegroundVolumeID() is not None


def test_the_curtain_follows_the_slice_of_a_volume(screen, comparison, scene):
    volume = make_volume(scene, np.zeros((3, 64, 64), np.uint16))
    volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(200, 100)
    output = result_of(volume)
    slicer.util.arrayFromVolume(output)[:] = np.array([40, 100, 160])[:, None, None]
    slicer.util.arrayFromVolumeModified(output)
    comparison.show_curtain(volume, output, 0.5)
    for number, grey in ((0, 51), (2, 204), (1, 127.5)):
        logic_of(REVEAL_VIEW).SetSliceOffset(float(number))
        seen = picture(REVEAL_VIEW)[50]
        assert seen[5:45].max() < 3 and abs(seen[55:95] - grey).max() < 3


def test_blinking_changes_between_input_and_output(screen, comparison, trio):
    comparison.blink()
    assert comparison.show_blink(*trio[:2])
    first = picture(REVEAL_VIEW)
    comparison.blink()
    second = picture(REVEAL_VIEW)
    comparison.blink()
    np.testing.assert_array_equal(picture(REVEAL_VIEW), first)
    assert second.mean() > first.mean() + 20


def test_a_comparison_leaves_no_node_no_observer_and_no_change_of_the_input(screen, scene, comparison, trio):
    comparison.show_comparison(*trio)  # makes the view nodes, which stay with the layout as Slicer's own do
    comparison.show_blink(*trio[:2])
    comparison.end_comparison()
    there, before = content(scene), state_of(trio[0])
    volumes = [sequences.shown_volume(node) for node in trio]
    watched = [*volumes, *(volume.GetDisplayNode() for volume in volumes), logic_of(REVEAL_VIEW).GetSliceNode()]
    had = [observed(node) for node in watched]
    for show in (comparison.show_comparison, comparison.show_curtain, comparison.show_blink, comparison.show_curtain):
        show(*trio[:2])
    comparison.move_curtain(0.2)
    comparison.end_comparison()
    assert content(scene) == there and state_of(trio[0]) == before
    assert [observed(node) for node in watched] == had and not comparison.Observations


@pytest.mark.parametrize("way", ["show_curtain", "show_blink"])
def test_playing_on_after_a_comparison_draws_nothing_more(screen, comparison, trio, way):
    getattr(comparison, way)(*trio[:2])
    comparison.end_comparison()
    browser_of(trio[0]).SetSelectedItemNumber(3)
    assert logic_of(REVEAL_VIEW).GetSliceCompositeNode().GetForegroundVolumeID() is None


def test_a_curtain_is_freed_when_it_is_taken_away(screen, comparison, trio):
    comparison.show_curtain(*trio[:2])
    curtain = weakref.ref(comparison._curtain)
    comparison.end_comparison()
    gc.collect()
    assert curtain() is None


@pytest.mark.parametrize("gone", [0, 1, "scene"])
def test_nodes_may_vanish_during_a_comparison(screen, scene, comparison, trio, gone):
    comparison.show_curtain(*trio[:2])
    if gone == "scene":
        scene.Clear(0)
    else:
        browser_of(trio[0]).RemoveProxyNode(sequences.shown_volume(trio[gone]).GetID())
        scene.RemoveNode(trio[gone])
    comparison.move_curtain(0.3)
    comparison.blink()
    comparison.end_comparison()
    assert screen.GetViewArrangement() == USERS_LAYOUT
    assert not [name for _, name in content(scene) if "curtain" in name]


def test_without_a_main_window_nothing_happens(scene, comparison, trio):
    assert scene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None
    there = content(scene)
    assert not comparison.show_comparison(*trio)
    assert not comparison.show_curtain(*trio[:2])
    assert not comparison.show_blink(*trio[:2])
    comparison.move_curtain(0.5)
    comparison.blink()
    comparison.end_comparison()
    assert content(scene) == there and not comparison.active


def test_a_layout_that_nothing_draws_is_left_alone(scene, comparison, trio):
    node = scene.AddNode(slicer.vtkMRMLLayoutNode())
    node.SetViewArrangement(3)
    assert not comparison.show_comparison(*trio) and not comparison.active
    assert node.GetViewArrangement() == 3
    scene.RemoveNode(node)


def test_an_input_without_a_picture_cannot_be_compared(screen, scene, comparison):
    run = make_run(scene, browser=False)
    assert not comparison.show_comparison(run, run) and screen.GetViewArrangement() == USERS_LAYOUT
