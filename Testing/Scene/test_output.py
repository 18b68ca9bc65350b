"""A result stands beside its source in every respect, comes whole or not at all, and leaves the source alone."""

import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from FluoroDenoiseScene import sequences
from FluoroDenoiseScene.sequences import InputProblem, OutputBuilder
from host.fixtures import make_run
from test_sequences import browser_of, frames_in, make_volume, state_of

PROVENANCE = {"Model": "quality", "ModelSHA256": "ab12", "Version": "0.1.0", "Parameters": '{"strength": 1.0}'}


def result_of(source, output=None, first=None, last=None, change=lambda frame: frame, **more):
    """A finished result whose frames are changed ones of the source."""
    frames = sequences.resolve_input(source, first, last)
    builder = OutputBuilder(frames, output, provenance=PROVENANCE, **more)
    for number in frames.numbers:
        builder.add(change(sequences.read_frame(frames, number)))
    return builder.finish()


def content(scene):
    """What a scene holds: class and name of every node."""
    return sorted((node.GetClassName(), node.GetName()) for node in slicer.util.getNodesByClass("vtkMRMLNode"))


def to_ras(volume):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return [matrix.GetElement(row, column) for row in range(4) for column in range(4)]


def test_a_result_has_the_indices_geometry_and_type_of_its_input(scene, sequence):
    sequence.SetNumericIndexValueTolerance(1e-6)
    for number in range(6):
        sequence.GetNthDataNode(number).SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        sequence.GetNthDataNode(number).SetOrigin(1, 2, number)
        sequence.GetNthDataNode(number).SetAttribute("Dose", f"{number} uGy")
    output = result_of(sequence, change=lambda frame: frame // 2)
    for number in range(6):
        made, source = output.GetNthDataNode(number), sequence.GetNthDataNode(number)
        assert output.GetNthIndexValue(number) == sequence.GetNthIndexValue(number)
        assert to_ras(made) == to_ras(source) and made.GetAttribute("Dose") == f"{number} uGy"
        assert made.GetImageData().GetScalarType() == source.GetImageData().GetScalarType()
    for get in ("GetIndexName", "GetIndexUnit", "GetIndexType", "GetNumericIndexValueTolerance", "GetDataNodeClassName"):
        assert getattr(output, get)() == getattr(sequence, get)()
    np.testing.assert_array_equal(frames_in(output), frames_in(sequence) // 2)
    assert output.GetName() == "fluoro denoised" and output.GetScene() is scene
    assert output.GetStorageNode().IsA("vtkMRMLVolumeSequenceStorageNode")


def test_frames_closer_than_the_usual_tolerance_all_arrive(scene):
    run = make_run(scene, count=0, browser=False)
    run.SetNumericIndexValueTolerance(1e-7)
    for number in range(8):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.full((1, 4, 4), number, np.uint8))
        run.SetDataNodeAtValue(volume, f"{number * 1e-5:.6f}")
    output = result_of(run)
    assert [output.GetNthIndexValue(number) for number in range(8)] == [run.GetNthIndexValue(number) for number in range(8)]
    np.testing.assert_array_equal(frames_in(output), frames_in(run))


def test_making_a_result_changes_nothing_of_the_input(sequence):
    before = state_of(sequence)
    proxy = sequences.shown_volume(sequence)
    attributes, seen = proxy.GetAttributeNames(), slicer.util.arrayFromVolume(proxy).copy()
    output = result_of(sequence, change=lambda frame: frame * 0)
    browser_of(sequence).SetSelectedItemNumber(3)
    list(sequences.residual(sequences.resolve_input(sequence), output))
    assert state_of(sequence) == before and proxy.GetAttributeNames() == attributes
    browser_of(sequence).SetSelectedItemNumber(0)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(proxy), seen)


def test_a_result_plays_with_its_input_and_looks_like_it(scene, sequence):
    proxy = sequences.shown_volume(sequence)
    display = proxy.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(80, 110)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    table = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")
    proxy.SetAndObserveTransformNodeID(table.GetID())
    output = result_of(sequence, change=lambda frame: frame + 1)
    browser = browser_of(sequence)
    made = browser.GetProxyNode(output)
    assert browser.GetMasterSequenceNode() is sequence and browser_of(output) is browser
    assert (made.GetDisplayNode().GetWindow(), made.GetDisplayNode().GetLevel()) == (80, 110)
    assert made.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"
    assert made.GetParentTransformNode() is table
    assert made.GetDisplayNode() is not display
    for number in (0, 5, 2):
        browser.SetSelectedItemNumber(number)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(made), slicer.util.arrayFromVolume(proxy) + 1)
        assert (made.GetDisplayNode().GetWindow(), made.GetParentTransformNode()) == (80, table)
    assert browser.GetOverwriteProxyName(output)


def test_a_result_lies_in_the_folder_of_its_input(scene, sequence):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
    proxy = sequences.shown_volume(sequence)
    for node in (sequence, proxy):
        hierarchy.CreateItem(study, node)
    output = result_of(sequence)
    for node in (output, sequences.shown_volume(output)):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(sequence)) == study


def test_a_result_says_what_made_it_and_is_not_taken_for_the_original(sequence):
    for number in range(6):
        sequence.GetNthDataNode(number).SetAttribute("DICOM.instanceUIDs", f"1.2.{number // 3}")
    output = result_of(sequence)
    for key, value in PROVENANCE.items():
        assert output.GetAttribute(f"FluoroDenoise.{key}") == value
        assert output.GetNthDataNode(4).GetAttribute(f"FluoroDenoise.{key}") == value
    assert output.GetAttribute("FluoroDenoise.SourceInstanceUIDs") == "1.2.0 1.2.1"
    assert output.GetNthDataNode(4).GetAttribute("FluoroDenoise.SourceInstanceUIDs") == "1.2.1"
    assert output.GetNthDataNode(4).GetAttribute("DICOM.instanceUIDs") is None
    assert sequences.shown_volume(output).GetAttribute("DICOM.instanceUIDs") is None
    assert output.GetNodeReference("FluoroDenoise.Source") is sequence
    assert sequences.resolve_input(output).source_uids == ("1.2.0", "1.2.1")


def test_a_result_of_a_result_states_only_its_own_making(sequence):
    again = sequences.resolve_input(result_of(sequence))
    builder = OutputBuilder(again, provenance={"Model": "fast"})
    builder.add(np.zeros((6, 64, 48), np.uint16))
    output = builder.finish()
    assert output.GetAttribute("FluoroDenoise.Model") == "fast" and output.GetAttribute("FluoroDenoise.Version") is None
    assert output.GetNthDataNode(0).GetAttribute("FluoroDenoise.Version") is None


def test_a_range_gives_only_its_frames(sequence):
    output = result_of(sequence, first=2, last=4)
    assert [output.GetNthIndexValue(number) for number in range(3)] == ["0.133", "0.200", "0.267"]
    np.testing.assert_array_equal(frames_in(output), frames_in(sequence)[2:5])
    assert (output.GetAttribute("FluoroDenoise.FirstFrame"), output.GetAttribute("FluoroDenoise.LastFrame")) == ("2", "4")


def test_outside_its_range_a_result_shows_nothing_and_gains_no_frames(sequence):
    output, browser = result_of(sequence, first=2, last=4), browser_of(sequence)
    before, shown = state_of(output), []
    for number in (0, 1, 2, 3, 4, 5, 3):
        browser.SetSelectedItemNumber(number)
        shown.append(sequences.shown_volume(output).GetImageData() is not None)
    assert shown == [False, False, True, True, True, False, True]
    assert output.GetNumberOfDataNodes() == 3 and state_of(output) == before


def test_an_input_without_a_browser_gets_one_with_its_result(scene):
    run = make_run(scene, browser=False)
    output = result_of(run)
    browser = browser_of(run)
    assert browser is browser_of(output) and browser.GetMasterSequenceNode() is run
    assert browser.GetProxyNode(run) is not None and browser.GetProxyNode(output) is not None


@pytest.mark.parametrize("values, dtype, expected", [
    ([0.5, 1.5, 2.5, -3.0, 300.0, 254.51], np.uint8, [0, 2, 2, 0, 255, 255]),
    ([-32769.0, -0.5, 0.5, 32767.5, 1e9, -1.5], np.int16, [-32768, 0, 0, 32767, 32767, -2]),
    ([65535.4, 65536.0, 65534.5, 0.499, 1.0, 2.0], np.uint16, [65535, 65535, 65534, 0, 1, 2]),
    ([0.25, -1.5, 1e9, 3.0, 4.0, 5.0], np.float32, [0.25, -1.5, 1e9, 3, 4, 5]),
])
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_values_are_rounded_half_to_even_and_clipped_to_the_type_of_the_input(scene, values, dtype, expected, given):
    volume = make_volume(scene, np.zeros((2, 1, 3), dtype))
    builder = OutputBuilder(sequences.resolve_input(volume))
    builder.add(np.array(values, given).reshape(2, 1, 3))
    made = slicer.util.arrayFromVolume(builder.finish())
    assert made.dtype == dtype
    np.testing.assert_array_equal(made.ravel(), np.array(expected, dtype))


def test_integers_of_another_type_are_clipped_too(scene):
    builder = OutputBuilder(sequences.resolve_input(make_volume(scene, np.zeros((2, 1, 2), np.int16))))
    builder.add(np.array([[[65535, 7]], [[0, 32768]]], np.uint16))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(builder.finish()).ravel(), [32767, 7, 0, 32767])


def test_an_existing_output_is_replaced_in_whole(scene, sequence):
    output = result_of(sequence)
    proxy, nodes = sequences.shown_volume(output), len(content(scene))
    output.SetName("mine")
    again = result_of(sequence, output, first=1, last=3, change=lambda frame: frame * 0 + 7)
    assert again is output and output.GetName() == "mine" and len(content(scene)) == nodes
    assert frames_in(output).shape == (3, 64, 48) and (frames_in(output) == 7).all()
    browser_of(sequence).SetSelectedItemNumber(2)
    assert sequences.shown_volume(output) is proxy and (slicer.util.arrayFromVolume(proxy) == 7).all()
    assert output.GetModifiedSinceRead()


def test_an_existing_output_of_other_frames_takes_on_those_of_the_input(scene, sequence):
    other = make_run(scene, count=3, rows=8, columns=9, name="other")
    result_of(sequence, other)
    np.testing.assert_array_equal(frames_in(other), frames_in(sequence))


def test_the_volume_that_shows_an_output_means_its_sequence(sequence):
    output = result_of(sequence)
    assert result_of(sequence, sequences.shown_volume(output), change=lambda frame: frame * 0) is output
    assert not frames_in(output).any()


def test_a_result_given_up_half_way_leaves_the_scene_and_its_output_as_they_were(scene, sequence):
    output = result_of(sequence)
    before, there = state_of(output), content(scene)
    builder = OutputBuilder(sequences.resolve_input(sequence), output)
    builder.add(np.zeros((3, 64, 48), np.uint16))
    with pytest.raises(ValueError, match="3 of 6 frames"):
        builder.finish()
    builder.discard()
    builder.discard()
    assert state_of(output) == before and content(scene) == there
    with pytest.raises(ValueError, match="finished or discarded"):
        builder.add(np.zeros((64, 48), np.uint16))


@pytest.mark.parametrize("array, words", [
    (np.zeros((7, 64, 48)), "6 frames of 64x48 are still to come"),
    (np.zeros((64, 47)), "64x48"),
    (np.full((64, 48), np.nan), "infinite or missing"),
])
def test_frames_that_do_not_fit_are_refused(sequence, array, words):
    with pytest.raises(ValueError, match=words):
        OutputBuilder(sequences.resolve_input(sequence)).add(array)


def test_the_input_is_refused_as_output(scene, sequence):
    frames = sequences.resolve_input(sequence)
    for node in (sequence, sequences.shown_volume(sequence)):
        with pytest.raises(InputProblem, match="fluoro is the input"):
            OutputBuilder(frames, node)
    volume = make_volume(scene, np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(InputProblem, match="stack is the input"):
        OutputBuilder(sequences.resolve_input(volume), volume)


def test_an_output_of_another_kind_is_refused(scene, sequence):
    volume = make_volume(scene, np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(InputProblem, match="fluoro is a sequence, so its result cannot be written to stack"):
        OutputBuilder(sequences.resolve_input(sequence), volume)
    with pytest.raises(InputProblem, match="stack is a volume"):
        OutputBuilder(sequences.resolve_input(volume), sequence)
    with pytest.raises(InputProblem, match="stack is a volume"):
        OutputBuilder(sequences.resolve_input(volume), sequences.shown_volume(sequence))


@pytest.mark.parametrize("which", ["input", "output", "scene"])
def test_a_node_removed_while_the_result_is_made_leaves_nothing_behind(scene, sequence, which):
    output = result_of(sequence)
    builder = OutputBuilder(sequences.resolve_input(sequence), output)
    builder.add(np.zeros((6, 64, 48), np.uint16))
    if which == "scene":
        scene.Clear(0)
    else:
        scene.RemoveNode(sequence if which == "input" else output)
    there = content(scene)
    with pytest.raises(InputProblem, match="removed from the scene"):
        builder.finish()
    assert content(scene) == there


def test_a_volume_of_slices_gives_a_volume_of_the_same_geometry(scene):
    volume = make_volume(scene, np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6))
    volume.SetIJKToRASDirections(0, -1, 0, 1, 0, 0, 0, 0, 1)
    volume.SetSpacing(0.5, 0.6, 2)
    volume.SetOrigin(3, 4, 5)
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(40, 60)
    whole, part = result_of(volume), result_of(volume, first=1, last=2)
    assert whole.GetClassName() == "vtkMRMLScalarVolumeNode" and to_ras(whole) == to_ras(volume)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(whole), slicer.util.arrayFromVolume(volume))
    assert (whole.GetDisplayNode().GetWindow(), whole.GetDisplayNode().GetLevel()) == (40, 60)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(part), slicer.util.arrayFromVolume(volume)[1:3])
    assert part.GetOrigin() == (3, 4, 7) and part.GetSpacing() == volume.GetSpacing()
    existing = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "new")
    assert result_of(volume, existing) is existing and to_ras(existing) == to_ras(volume)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(existing), slicer.util.arrayFromVolume(volume))


def test_frames_of_a_file_are_added_piece_by_piece(sequence, tmp_path):
    frames = sequences.resolve_input(sequence)
    np.save(tmp_path / "out.npy", frames_in(sequence).astype(np.float32) + 0.25)
    builder = OutputBuilder(frames)
    assert list(builder.add_file(tmp_path / "out.npy"))[-1] == (6, 6)
    np.testing.assert_array_equal(frames_in(builder.finish()), frames_in(sequence))


def test_a_result_is_saved_and_read_back_the_same(scene, sequence, tmp_path):
    output = result_of(sequence)
    assert slicer.util.saveNode(output, str(tmp_path / "out.seq.nrrd"))
    stored = frames_in(output)
    assert scene.WriteToMRB(str(tmp_path / "all.mrb"))
    scene.Clear(0)
    read = slicer.util.loadSequence(str(tmp_path / "out.seq.nrrd"))
    np.testing.assert_array_equal(frames_in(read), stored)
    assert [read.GetNthIndexValue(number) for number in (0, 5)] == ["0.000", "0.333"]
    assert read.GetNthDataNode(2).GetAttribute("FluoroDenoise.ModelSHA256") == "ab12"
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "all.mrb"), True)
    back = slicer.util.getNode("vtkMRMLSequenceNode*2")
    assert back.GetAttribute("FluoroDenoise.Model") == "quality" and frames_in(back).shape == stored.shape


def resident_bytes():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(fields["VmRSS"].split()[0])


class Watch:
    """The longest step that kept the main thread, s, and the most memory seen, bytes."""

    def __init__(self):
        self.longest_s, self.most, self.start = 0.0, 0, resident_bytes()

    def over(self, steps):
        """Run a generator, or call a function, step by step under watch; returns what it returns."""
        while True:
            began = time.thread_time()  # not the wall clock: the tests share a machine
            try:
                value, ended = (next(steps), False) if hasattr(steps, "__next__") else (steps(), True)
            except StopIteration as end:
                value, ended = end.value, True
            self.longest_s = max(self.longest_s, time.thread_time() - began)
            self.most = max(self.most, resident_bytes() - self.start)
            if ended:
                return value


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("into", ["a new node", "an existing node"])
def test_a_long_run_of_large_frames_neither_blocks_nor_fills_the_memory(scene, tmp_path, into):
    count, side = 200, 1024
    run = make_run(scene, count=2, rows=side, columns=side)
    for number in range(2, count):
        run.SetDataNodeAtValue(run.GetNthDataNode(number % 2), f"{number / 15:.3f}")
    output = result_of(run, first=0, last=1) if into == "an existing node" else None
    frames, watch = sequences.resolve_input(run), Watch()
    watch.over(sequences.save_frames(frames, tmp_path / "frames.npy"))
    builder = OutputBuilder(frames, output)
    watch.over(builder.add_file(tmp_path / "frames.npy"))
    result = watch.over(builder.finish)
    print(f"{into}: longest step {1e3 * watch.longest_s:.0f} ms, memory {watch.most / 2**20:.0f} MB "
          f"for a result of {frames.nbytes / 2**20:.0f} MB")
    assert result.GetNumberOfDataNodes() == count
    assert watch.longest_s < 0.1
    assert watch.most < frames.nbytes + 200 * 2**20
    of_residual = Watch()
    of_residual.over(sequences.residual(frames, result))
    assert of_residual.longest_s < 0.1 and of_residual.most < 2 * frames.nbytes + 200 * 2**20
