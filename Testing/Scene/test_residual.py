"""What was removed, and a previewed frame: their values, their place, and that nothing is left of what is given up."""

import numpy as np
import pytest
import slicer
from FluoroDenoiseScene import sequences
from FluoroDenoiseScene.sequences import InputProblem
from host.fixtures import make_run
from test_output import content, result_of
from test_sequences import browser_of, frames_in, make_volume


@pytest.mark.parametrize("dtype, kept", [(np.uint16, np.int32), (np.uint8, np.int32), (np.float32, np.float32)])
def test_the_residual_is_input_minus_output_with_its_sign(scene, dtype, kept):
    run = make_run(scene, count=0)
    for number in range(4):
        volume = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(volume, np.arange(30, dtype=dtype).reshape(1, 5, 6))
        run.SetDataNodeAtValue(volume, str(number))
    output = result_of(run, change=lambda frame: frame[::-1].copy())
    node = sequences.completed(sequences.residual(sequences.resolve_input(run), output))
    expected = frames_in(run).astype(kept) - frames_in(output).astype(kept)
    assert frames_in(node).dtype == kept and expected.min() < 0
    np.testing.assert_array_equal(frames_in(node), expected)
    display = sequences.shown_volume(node).GetDisplayNode()
    sigma = 1.4826 * np.median(np.abs(expected))
    assert display.GetLevel() == 0 and display.GetWindow() == pytest.approx(6 * sigma)
    assert node.GetName() == "fluoro residual" and browser_of(node) is browser_of(run)


def test_the_residual_of_a_range_has_its_frames_and_is_replaced_on_demand(scene, sequence):
    output = result_of(sequence, first=2, last=4, change=lambda frame: frame - 3)
    frames = sequences.resolve_input(sequence)
    node = sequences.completed(sequences.residual(frames, output))
    assert frames_in(node).shape == (3, 64, 48) and (frames_in(node) == 3).all()
    assert [node.GetNthIndexValue(number) for number in range(3)] == ["0.133", "0.200", "0.267"]
    there = content(scene)
    assert sequences.completed(sequences.residual(frames, output, node)) is node and content(scene) == there


def test_the_residual_of_a_volume_is_a_volume(scene):
    volume = make_volume(scene, np.arange(60, dtype=np.int16).reshape(5, 3, 4))
    output = result_of(volume, first=1, last=3, change=lambda frame: frame - 2)
    node = sequences.completed(sequences.residual(sequences.resolve_input(volume), output))
    assert (slicer.util.arrayFromVolume(node) == 2).all() and node.GetOrigin() == output.GetOrigin()


def test_the_residual_of_a_stranger_is_refused(scene, sequence):
    other = make_run(scene, count=3, rows=8, columns=9, name="other")
    frames = sequences.resolve_input(sequence)
    with pytest.raises(InputProblem, match="made from this input"):
        sequences.completed(sequences.residual(frames, other))
    output = result_of(sequence)
    with pytest.raises(InputProblem, match="is the denoised result"):
        sequences.completed(sequences.residual(frames, output, sequences.shown_volume(output)))


def test_a_residual_given_up_leaves_nothing(scene, sequence):
    output = result_of(sequence)
    there = content(scene)
    steps = sequences.residual(sequences.resolve_input(sequence), output)
    next(steps)
    steps.close()
    assert content(scene) == there


def test_a_preview_has_the_place_and_look_of_its_frame(scene, sequence):
    frames = sequences.resolve_input(sequence)
    sequence.GetNthDataNode(2).SetOrigin(1, 2, 3)
    preview = sequences.preview_volume(frames, 2, np.full((64, 48), 4.6, np.float32))
    assert (slicer.util.arrayFromVolume(preview) == 5).all() and preview.GetOrigin() == (1, 2, 3)
    assert slicer.util.arrayFromVolume(preview).dtype == np.uint16 and not preview.GetSaveWithScene()
    assert preview.GetDisplayNode().GetWindow() == frames.proxy.GetDisplayNode().GetWindow()
    there = content(scene)
    assert sequences.preview_volume(frames, 3, np.zeros((64, 48)), preview) is preview and content(scene) == there
    volume = make_volume(scene, np.zeros((5, 3, 4), np.int16))
    volume.SetSpacing(1, 1, 2)
    of_volume = sequences.preview_volume(sequences.resolve_input(volume), 3, np.zeros((3, 4)))
    assert of_volume.GetOrigin() == (0, 0, 6)
