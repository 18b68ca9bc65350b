"""Compare, Quality, Train, Batch, Export and Setup of the panel, on the stand-in host with a fake worker behind it."""

import json

import numpy as np
import pytest
import qt
import slicer
from host.fixtures import make_run, run_events

# The fake worker names no model; a real result has these.
MADE = {"FluoroDenoise.ModelSHA256": "0" * 64, "FluoroDenoise.Model": "fast", "FluoroDenoise.Version": "0"}


@pytest.fixture
def denoised(panel, scene):
    """The panel with a run and its result."""
    panel.parameters.inputNode = make_run(scene)
    panel.ui.applyButton.click()
    finish(panel)
    return panel


def finish(panel) -> None:
    run_events(lambda: panel.running is None and not panel.logic.errands.jobs)


def test_nothing_can_be_compared_measured_or_exported_before_there_is_a_result(panel, scene):
    panel.parameters.inputNode = make_run(scene)
    for button in (panel.ui.sideBySideButton, panel.ui.curtainButton, panel.ui.blinkButton, panel.ui.measureButton,
                   panel.ui.exportButton):
        assert not button.enabled and "denoise a run" in button.toolTip


def test_comparing_makes_what_was_removed_and_uses_it_again(denoised, scene):
    for _ in range(2):
        denoised.ui.sideBySideButton.click()
        finish(denoised)
        assert "fluoro residual" in denoised.ui.compareLabel.text
    assert len(slicer.util.getNodes("fluoro residual", useLists=True)["fluoro residual"]) <= 2  # the sequence and its proxy


def test_only_one_way_to_compare_is_down_at_a_time(denoised, monkeypatch):
    comparison, shown = denoised.logic.comparison, []
    for way in ("show_curtain", "show_blink", "move_curtain", "end_comparison"):
        monkeypatch.setattr(comparison, way, lambda *arguments, way=way: shown.append((way, arguments[2:] or arguments)) or True)
    denoised.ui.curtainButton.click()
    assert denoised.ui.curtainButton.checked and denoised.ui.curtainSlider.enabled
    denoised.ui.curtainSlider.value = 0.25
    assert ("move_curtain", (0.25,)) in shown
    denoised.ui.blinkButton.click()
    assert denoised.ui.blinkButton.checked and not denoised.ui.curtainButton.checked and not denoised.ui.curtainSlider.enabled
    denoised.ui.blinkButton.click()
    assert not denoised.ui.blinkButton.checked and shown[-1][0] == "end_comparison"


def test_regions_are_drawn_measured_and_put_into_words(denoised, scene):
    region = denoised.ui.regionSelector.addNode("vtkMRMLMarkupsROINode")
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    interaction.SwitchToViewTransformMode()
    region.SetXYZ([7, 9, 0])
    region.SetSize([8, 10, 4])
    assert denoised.ui.regionSelector.checkState(region) == qt.Qt.Checked
    denoised.ui.measureButton.click()
    finish(denoised)
    assert denoised.ui.qualityLabel.text and denoised.ui.showTableButton.enabled
    denoised.ui.showTableButton.click()
    denoised.ui.showPlotsButton.click()
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    denoised.ui.measureButton.click()
    finish(denoised)
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == len(tables)


def test_a_model_is_adapted_to_the_checked_runs_and_then_used(panel, scene, tmp_path):
    run = make_run(scene)
    assert "Check the runs" in panel.ui.adaptButton.toolTip
    panel.ui.trainingSelector.setCheckState(run, qt.Qt.Checked)
    assert "folder" in panel.ui.adaptButton.toolTip
    panel.ui.adaptFolderEdit.currentPath = str(tmp_path)
    assert panel.ui.adaptButton.enabled and not panel.ui.useModelButton.enabled
    panel.ui.adaptButton.click()
    finish(panel)
    assert str(tmp_path) in panel.ui.adaptLabel.text
    (tmp_path / "model.json").write_text(json.dumps({"name": "mine", "data": "runs of my own", "steps_done": 10}))
    panel.refresh()
    panel.ui.useModelButton.click()
    assert panel.model == str(tmp_path) and panel.ui.presetComboBox.currentText == "Own model"
    assert "runs of my own" in panel.ui.modelCardLabel.text


def test_the_loss_is_plotted_while_it_falls(scene):
    from FluoroDenoiseScene.loss_plot import LossPlot

    plot, losses = LossPlot(), []
    plot.begin()
    for step in (50, 100, 150):
        losses.append((step, {"risk": 1 / step, "edges": 2.0}))
        plot.follow(losses)
    table = plot.table.GetTable()
    assert slicer.util.arrayFromTableColumn(plot.table, "step").tolist() == [50, 100, 150]
    assert np.allclose(slicer.util.arrayFromTableColumn(plot.table, "risk"), [1 / 50, 1 / 100, 1 / 150])
    assert plot.chart.GetNumberOfPlotSeriesNodes() == 2 and table.GetNumberOfColumns() == 3
    plot.remove()
    assert not slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode") and not slicer.util.getNodesByClass("vtkMRMLTableNode")


def test_the_card_of_a_shipped_model_is_shown(panel, scene):
    make_run(scene)
    panel.ui.presetComboBox.currentIndex = 1
    assert panel.ui.modelCardLabel.text.startswith("Model: fast") and "no patient data" in panel.ui.modelCardLabel.text


def test_a_folder_is_denoised_with_the_settings_above(panel, tmp_path):
    assert "Choose the folder" in panel.ui.batchButton.toolTip
    panel.ui.batchSourceEdit.currentPath = panel.ui.batchTargetEdit.currentPath = str(tmp_path)
    assert "another folder" in panel.ui.batchButton.toolTip
    panel.ui.batchTargetEdit.currentPath = str(tmp_path / "clean")
    panel.ui.batchButton.click()
    finish(panel)
    assert panel.ui.batchLabel.text == "0 denoised, 0 were there already, 0 failed."
    assert panel.ui.batchButton.text == "Denoise folder"


def test_a_result_is_exported(denoised, tmp_path):
    for name, value in MADE.items():
        denoised.parameters.outputNode.SetAttribute(name, value)
    assert "name of the new file" in denoised.ui.exportButton.toolTip
    denoised.ui.exportPathEdit.currentPath = str(tmp_path / "clean.dcm")
    denoised.ui.exportButton.click()
    finish(denoised)
    assert "clean.dcm" in denoised.ui.exportLabel.text


def test_the_devices_are_asked_for_when_options_are_opened_and_not_before(panel, monkeypatch):
    asked = []

    class Probe:
        state, ended, on_change = "running", False, []

    monkeypatch.setattr(panel.logic, "probe", lambda waitForCompletion: asked.append(waitForCompletion) or Probe())
    assert not asked
    for collapsed in (False, True, False):
        panel.ui.optionsCollapsibleButton.collapsed = collapsed
    assert asked == [False]
    Probe.state, Probe.result = "done", {"reason": "CPU, because there is no GPU.", "devices": [], "frames_per_second": {}}
    Probe.on_change[0](Probe)
    assert panel.ui.deviceLabel.text == "Automatic means: CPU, because there is no GPU."


def test_setup_lists_what_is_installed(panel):
    assert "torch" in panel.ui.setupLabel.text.lower()


@pytest.mark.parametrize("safety, words", [
    (None, "Safety: not checked"),
    ({"passed": True, "failed": [], "limits": []}, "Safety: passes its report"),
    ({"passed": True, "failed": [], "limits": ["B9 d' 0.9, not 1 or more", "B10"]}, "with 2 limits beyond what must be passed: B9 d'"),
    ({"passed": False, "failed": ["B1 bias 3 %, not 1 % or less", "B2", "B3", "B4", "B5"], "limits": []}, "FAILS its report: B1 bias 3 %, not 1 % or less; B2; B3 and 2 more"),
    ({"passed": True, "failed": [], "limits": [], "weights_sha256": "of others"}, "Safety: not checked"),
    ("yes", "Safety: not checked"),
])  # fmt: skip
def test_the_card_of_a_model_tells_its_safety_report(tmp_path, safety, words):
    from FluoroDenoiseScene.model_card import card

    verdict = {"weights_sha256": "ab" * 32, **safety} if isinstance(safety, dict) else safety
    (tmp_path / "model.json").write_text(json.dumps({"name": "mine", "weights_sha256": "ab" * 32, "safety": verdict}))
    assert words in card(str(tmp_path))
