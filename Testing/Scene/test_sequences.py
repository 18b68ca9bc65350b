"""Which frames are meant by a node, and that reading them leaves everything as it was."""

import gc
import hashlib
import time

import numpy as np
import pytest
import slicer
from FluoroDenoiseScene import sequences
from FluoroDenoiseScene.sequences import InputProblem
from host.fixtures import make_run


def browser_of(sequence):
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)


def frames_in(sequence):
    return np.stack([
        slicer.util.arrayFromVolume(sequence.GetNthDataNode(number))[0] for number in range(sequence.GetNumberOfDataNodes())
    ])


def state_of(sequence):
    """A sequence's pixels, indices and times of change."""
    nodes = [sequence.GetNthDataNode(number) for number in range(sequence.GetNumberOfDataNodes())]
    return (
        hashlib.sha256(frames_in(sequence).tobytes()).hexdigest(), sequence.GetMTime(),
        [sequence.GetNthIndexValue(number) for number in range(len(nodes))],
        [(node.GetMTime(), node.GetImageData().GetMTime()) for node in nodes],
    )


def make_volume(scene, array, name="stack"):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volume, np.asarray(array))
    volume.CreateDefaultDisplayNodes()
    return volume


def test_a_sequence_is_described_as_it_is(sequence):
    sequence.GetNthDataNode(2).SetAttribute("DICOM.instanceUIDs", "1.2.3")
    frames = sequences.resolve_input(sequence)
    assert (frames.kind, frames.first, frames.last, frames.count, frames.total) == ("sequence", 0, 5, 6, 6)
    assert (frames.shape, frames.dtype, frames.spacing_mm) == ((64, 48), np.uint16, (0.3, 0.3))
    assert frames.indices == tuple(f"{number / 15:.3f}" for number in range(6)) and frames.index_unit == "s"
    assert frames.times_s[3] == 0.2 and frames.source_uids == ("1.2.3",)
    assert frames.proxy is browser_of(sequence).GetProxyNode(sequence)
    assert frames.nbytes == 6 * 64 * 48 * 2


def test_the_volume_on_show_means_its_sequence(sequence):
    frames = sequences.resolve_input(browser_of(sequence).GetProxyNode(sequence), first=1, last=3)
    assert frames.node is sequence and (frames.first, frames.last) == (1, 3)
    assert frames.indices == ("0.067", "0.133", "0.200")


def test_a_sequence_without_a_browser_has_no_proxy(scene):
    frames = sequences.resolve_input(make_run(scene, browser=False))
    assert frames.proxy is None and frames.count == 6


def test_the_slices_of_a_volume_are_frames(scene):
    volume = make_volume(scene, np.zeros((5, 8, 9), np.uint8))
    frames = sequences.resolve_input(volume)
    assert (frames.kind, frames.count, frames.shape, frames.times_s) == ("slices", 5, (8, 9), None)
    assert frames.node is volume and frames.proxy is volume


def test_a_ct_volume_is_known_by_air(scene):
    volume = make_volume(scene, np.full((5, 8, 9), -1000, np.int16))
    assert sequences.resolve_input(volume).kind == "volume"
    assert sequences.resolve_input(volume, kind="slices").kind == "slices"


def test_what_dicom_says_of_a_volume_comes_first(scene):
    volume = make_volume(scene, np.full((5, 8, 9), -1000, np.int16))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
    hierarchy.SetItemAttribute(item, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName(), "XA")
    assert sequences.resolve_input(volume).kind == "slices"


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.float32, np.float64])
def test_saved_frames_are_the_stored_values(scene, tmp_path, dtype):
    volume = make_volume(scene, np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype))
    frames = sequences.resolve_input(volume, first=1, last=3, kind="slices")
    assert list(sequences.save_frames(frames, tmp_path / "frames.npy")) == [(1, 3), (2, 3), (3, 3)]
    saved = np.load(tmp_path / "frames.npy", mmap_mode="r")
    assert saved.dtype == dtype
    np.testing.assert_array_equal(saved, slicer.util.arrayFromVolume(volume)[1:4])


def test_large_frames_are_saved_in_pieces(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("FluoroDenoiseScene.frames.PIECE_BYTES", 48 * 2 * 20)
    run = make_run(scene)
    steps = list(sequences.save_frames(sequences.resolve_input(run), tmp_path / "frames.npy"))
    assert len(steps) == 6 * 4 and steps[2:5] == [(0, 6), (1, 6), (1, 6)] and steps[-1] == (6, 6)
    np.testing.assert_array_equal(np.load(tmp_path / "frames.npy"), frames_in(run))


def test_a_saving_that_is_given_up_leaves_no_file(sequence, tmp_path):
    saving = sequences.save_frames(sequences.resolve_input(sequence), tmp_path / "frames.npy")
    next(saving)
    saving.close()
    assert list(tmp_path.iterdir()) == []


def test_reading_changes_nothing_of_the_input(sequence, tmp_path):
    before, browser = state_of(sequence), browser_of(sequence)
    browser.SetSelectedItemNumber(4)
    frames = sequences.resolve_input(sequence)
    list(sequences.save_frames(frames, tmp_path / "frames.npy"))
    sequences.read_frame(frames, 2)[:] = 0
    assert state_of(sequence) == before and browser.GetSelectedItemNumber() == 4
    assert sequences.current_frame(frames) == 4 and sequences.current_frame(frames.narrowed(0, 2)) == 2


def test_an_edit_is_noticed(sequence):
    frames = sequences.resolve_input(sequence)
    browser_of(sequence).SetSelectedItemNumber(3)
    assert not frames.changed()
    slicer.util.updateVolumeFromArray(sequence.GetNthDataNode(4), np.zeros((1, 64, 48), np.uint16))
    assert frames.changed() and not sequences.resolve_input(sequence).changed()


def test_a_removed_input_is_noticed(scene, sequence):
    frames = sequences.resolve_input(sequence)
    scene.RemoveNode(sequence)
    assert frames.changed()


def test_a_node_that_shrinks_while_it_is_read_is_refused(sequence, tmp_path):
    saving = sequences.save_frames(sequences.resolve_input(sequence), tmp_path / "frames.npy")
    next(saving)
    sequence.RemoveAllDataNodes()
    with pytest.raises(InputProblem, match="changed while it was being read"):
        list(saving)
    assert list(tmp_path.iterdir()) == []


def test_describing_a_long_run_is_quick(scene):
    run = make_run(scene, count=1000, rows=4, columns=4)
    times = []
    gc.freeze()  # what other tests left is not looked through
    for _ in range(3):
        start = time.thread_time()
        sequences.resolve_input(run)
        times.append(time.thread_time() - start)
    gc.unfreeze()
    print(f"{1e3 * min(times):.0f} ms")
    assert min(times) < 0.1  # the panel asks after every change of a selector


def empty(scene):
    return scene.AddNewNodeByClass("vtkMRMLSequenceNode", "nothing")


def one_frame(scene):
    return make_run(scene, count=1)


def text_index(scene):
    run = make_run(scene)
    run.SetIndexType(run.TextIndex)
    return run


def mixed_sizes(scene):
    run = make_run(scene)
    slicer.util.updateVolumeFromArray(run.GetNthDataNode(3), np.zeros((1, 10, 12), np.uint16))
    return run


def mixed_types(scene):
    run = make_run(scene)
    slicer.util.updateVolumeFromArray(run.GetNthDataNode(3), np.zeros((1, 64, 48), np.float32))
    return run


def volumes_over_time(scene):
    run = make_run(scene)
    for number in range(6):
        slicer.util.updateVolumeFromArray(run.GetNthDataNode(number), np.zeros((7, 64, 48), np.uint16))
    return run


def frame_without_pixels(scene):
    run = make_run(scene)
    run.GetNthDataNode(1).SetAndObserveImageData(None)
    return run


def colour(scene):
    volume = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    slicer.util.updateVolumeFromArray(volume, np.zeros((4, 5, 6, 3), np.uint8))
    return volume


def colour_sequence(scene):
    run = make_run(scene, count=0, browser=False)
    for number in range(3):
        run.SetDataNodeAtValue(colour(scene), str(number))
    return run


def label_map(scene):
    volume = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(volume, np.zeros((4, 5, 6), np.int16))
    return volume


def wide_integers(scene):
    return make_volume(scene, np.zeros((4, 5, 6), np.int32))


def no_pixels(scene):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new")


def a_transform(scene):
    return scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")


def transforms_over_time(scene):
    run = make_run(scene, count=0, browser=False)
    run.SetDataNodeAtValue(slicer.vtkMRMLLinearTransformNode(), "0")
    return run


@pytest.mark.parametrize("make, words", [
    (lambda scene: None, "No input is chosen"),
    (empty, "is empty"),
    (one_frame, "There is only one frame"),
    (text_index, r"indexed by text \('0.000'\)"),
    (mixed_sizes, "Frame 4 of fluoro is 10x12 uint16 but the first is 64x48 uint16"),
    (mixed_types, "Frame 4 of fluoro is 64x48 float32 but the first is 64x48 uint16"),
    (volumes_over_time, "Frame 1 of fluoro has 7 slices"),
    (frame_without_pixels, "Frame 2 of fluoro holds no pixels"),
    (colour, "3 values per pixel.*Vector to Scalar Volume"),
    (colour_sequence, "Frame 1 of fluoro has 3 values per pixel"),
    (label_map, "is a label map"),
    (wide_integers, "type int32.*Cast Scalar Volume"),
    (no_pixels, "holds no pixels"),
    (a_transform, "not a grey image"),
    (transforms_over_time, "Frame 1 of fluoro is a"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_denoised_is_refused_in_a_sentence(scene, make, words):
    with pytest.raises(InputProblem, match=words) as problem:
        sequences.resolve_input(make(scene))
    assert str(problem.value).endswith(".") and "\n" not in str(problem.value)


@pytest.mark.parametrize("first, last, words", [
    (0, 6, "Frames 1 to 7 were asked for, but fluoro has frames 1 to 6"),
    (-1, 3, "Frames 0 to 4"), (4, 2, "Frames 5 to 3"), (2, 2, "Only one frame is chosen"),
])
def test_a_range_outside_is_refused_with_its_limits(sequence, first, last, words):
    with pytest.raises(InputProblem, match=words):
        sequences.resolve_input(sequence, first, last)


def test_a_node_of_no_scene_is_refused(scene, sequence):
    scene.RemoveNode(sequence)
    with pytest.raises(InputProblem, match="not in the scene any more"):
        sequences.resolve_input(sequence)
