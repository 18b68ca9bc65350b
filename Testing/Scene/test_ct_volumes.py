"""CT volumes in the scene: a scalar volume becomes a denoised one with its geometry, and a model of the other kind is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from conftest import make_run
from FluoroDenoiseScene import suited
from FluoroDenoiseScene.job import AdaptJob, DenoiseJob, ExportJob, JobCancelled, PreviewJob
from FluoroDenoiseScene.scene_job import SceneJob
from FluoroDenoiseScene.sequences import InputProblem
from FluoroDenoiseScene.worker_client import WorkerClient

PATIENCE_S = 300
FAKE = Path(__file__).parent / "fake_worker.py"


@pytest.fixture
def ct(scene):
    """A CT of 5 slices in a scene, oblique and shifted, in its window."""
    hu = np.where(np.random.default_rng(0).random((5, 32, 40)) < 0.5, -1000, 40).astype(np.int16)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "pelvis")
    slicer.util.updateVolumeFromArray(volume, hu)
    to_ras = vtk.vtkMatrix4x4()
    for row, values in enumerate(((-0.5, 0, 0, 10), (0, -0.75, 0, 20), (0, 0, 2.5, -30))):
        for column, value in enumerate(values):
            to_ras.SetElement(row, column, value)
    volume.SetIJKToRASMatrix(to_ras)
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    return volume


@pytest.fixture
def client():
    made = WorkerClient(worker=FAKE)
    yield made
    made.stop()


def matrix_of(volume):
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    return [to_ras.GetElement(row, column) for row in range(4) for column in range(4)]


def test_a_ct_volume_becomes_a_volume_of_the_same_geometry_and_window(ct, client):
    output = DenoiseJob(client, ct, preset="ct").wait(timeout_s=PATIENCE_S)
    assert output.GetClassName() == "vtkMRMLScalarVolumeNode" and output is not ct
    assert matrix_of(output) == matrix_of(ct)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), slicer.util.arrayFromVolume(ct))  # the fake worker copies
    assert slicer.util.arrayFromVolume(output).dtype == np.int16
    assert (output.GetDisplayNode().GetWindow(), output.GetDisplayNode().GetLevel()) == (400, 40)


def test_some_slices_lie_where_they_lay(ct, client):
    output = DenoiseJob(client, ct, preset="ct", first=2, last=4).wait(timeout_s=PATIENCE_S)
    assert output.GetImageData().GetDimensions() == (40, 32, 3)
    assert output.GetOrigin()[2] == pytest.approx(-30 + 2 * 2.5)


def test_the_worker_is_told_what_the_pixels_are(ct, scene, client, monkeypatch):
    asked = []

    def ask(self, do, **fields):
        asked.append((do, fields["kind"], fields.get("spacing_mm")))
        raise JobCancelled
        yield

    monkeypatch.setattr(SceneJob, "_ask", ask)
    for job in (DenoiseJob(client, ct, preset="ct"), PreviewJob(client, ct, 2, preset="ct"), DenoiseJob(client, make_run(scene))):
        with pytest.raises(JobCancelled):
            job.wait(timeout_s=PATIENCE_S)
    assert [one[:2] for one in asked] == [("denoise", "volume"), ("preview", "volume"), ("denoise", "run")]
    assert asked[0][2] == asked[1][2] == list(reversed(ct.GetSpacing())) and asked[2][2] is None


@pytest.mark.parametrize("job", [DenoiseJob, lambda *given, **settings: PreviewJob(*given, 2, **settings)])
def test_a_model_for_the_other_kind_is_refused_at_once(ct, scene, client, job):
    with pytest.raises(InputProblem, match="pelvis is a CT volume.*choose the preset CT"):
        job(client, ct, preset="fast")
    with pytest.raises(InputProblem, match="fluoro is a run of frames.*Quality or Fast"):
        job(client, make_run(scene), preset="ct")


def test_a_volume_of_another_modality_has_no_hounsfield_units(ct, scene, client):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(hierarchy.CreateItem(hierarchy.GetSceneItemID(), ct), attribute, "MR")
    with pytest.raises(InputProblem, match="pelvis is a volume of MR"):
        DenoiseJob(client, ct, preset="ct")


def test_the_kind_of_ones_own_model_is_read_from_its_card(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"recipe": {"kind": "ct-cycle"}}))
    assert suited.is_for_ct(str(tmp_path)) and suited.is_for_ct("ct")
    assert not suited.is_for_ct("fast") and not suited.is_for_ct(str(tmp_path / "none"))


def test_a_volume_is_not_exported_as_a_run_and_no_ct_model_adapted_to_one(ct, scene, client, tmp_path):
    output = DenoiseJob(client, ct, preset="ct").wait(timeout_s=PATIENCE_S)
    with pytest.raises(InputProblem, match="is a volume"):
        ExportJob(client, output, tmp_path / "out.dcm")
    with pytest.raises(InputProblem, match="docs/CT.md"):
        AdaptJob(client, [make_run(scene)], tmp_path / "model", model="ct")


def test_the_panel_offers_the_preset_and_says_what_does_not_fit(panel, ct, monkeypatch):
    monkeypatch.setattr(suited, "is_model", lambda folder: True)
    panel.parameters.inputNode = ct
    assert not panel.ui.applyButton.enabled and "choose the preset CT" in panel.ui.statusLabel.text
    panel.ui.presetComboBox.currentIndex = panel.ui.presetComboBox.findText("CT volume")
    assert panel.parameters.preset.value == "ct" and panel.model == "ct"
    assert panel.ui.applyButton.enabled and "pelvis: 5 slices of 40x32" in panel.ui.statusLabel.text
    monkeypatch.setattr(suited, "is_model", lambda folder: False)
    panel.refresh()
    assert not panel.ui.applyButton.enabled and "not part of this installation" in panel.ui.statusLabel.text


def test_logic_process_takes_a_ct_volume(logic, ct):
    output = logic.process(ct, preset="ct")
    assert output.GetName() == "pelvis denoised" and matrix_of(output) == matrix_of(ct)


def test_the_real_worker_denoises_a_ct_volume_with_the_shipped_weights(ct):
    smooth = np.broadcast_to(np.linspace(-50, 50, 40), (5, 32, 40))
    noisy = smooth + np.random.default_rng(1).normal(0, 40, smooth.shape)
    slicer.util.updateVolumeFromArray(ct, np.rint(noisy).astype(np.int16))
    client = WorkerClient()
    try:
        output = DenoiseJob(client, ct, preset="ct", device="cpu", kind="volume").wait(timeout_s=PATIENCE_S)
    finally:
        client.stop()
    left = slicer.util.arrayFromVolume(output) - smooth
    assert left.std() < 0.6 * (noisy - smooth).std() and abs(left.mean()) < 3
    assert matrix_of(output) == matrix_of(ct) and output.GetAttribute("FluoroDenoise.Model") == "ct"
