"""The panel on the stand-in host (host/README.md says where that lies), with a fake worker behind it."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import slicer
from host.fixtures import MODULE_FOLDER, frames_of, make_run, run_events

UI = ElementTree.parse(MODULE_FOLDER / "Resources/UI/FluoroDenoise.ui").getroot()


def idle(panel):
    return lambda: panel.running is None and not panel.logic.errands.jobs


def saved_run(scene, folder: Path, **options) -> Path:
    """A run in a file, and nowhere else."""
    node, path = make_run(scene, **options), folder / "run.seq.nrrd"
    assert slicer.util.saveNode(node, str(path))
    scene.Clear(0)
    return path


@pytest.fixture
def filled(panel, scene):
    """The panel with a run as input."""
    panel.parameters.inputNode = make_run(scene)
    return panel


@pytest.mark.parametrize("worker", ["a fake worker", "the shipped weights"])
def test_two_clicks_lead_from_a_saved_run_to_a_denoised_one_that_plays_beside_it(panel, scene, tmp_path, worker):
    from FluoroDenoiseScene.worker_client import WorkerClient

    if worker == "the shipped weights":
        panel.logic.errands.client = WorkerClient()
    run = slicer.util.loadSequence(str(saved_run(scene, tmp_path)))
    before = frames_of(run).copy()
    panel.ui.inputSelector.setCurrentNode(run)
    panel.ui.applyButton.click()
    run_events(idle(panel), 120)
    clean = panel.ui.outputSelector.currentNode()
    assert clean.IsA("vtkMRMLSequenceNode") and "done" in panel.ui.statusLabel.text
    assert (frames_of(clean).std() < 0.5 * before.std()) == (worker == "the shipped weights")
    assert [clean.GetNthIndexValue(i) for i in range(6)] == [run.GetNthIndexValue(i) for i in range(6)]
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(run)
    assert browser.IsSynchronizedSequenceNode(clean)
    assert (frames_of(run) == before).all()


def test_the_first_sequence_of_a_scene_is_chosen_and_can_be_denoised_at_once(panel, scene):
    run = make_run(scene)
    panel.exit()
    panel.enter()
    assert panel.ui.inputSelector.currentNode() is run
    assert panel.ui.applyButton.enabled and "6 frames of 48x64" in panel.ui.statusLabel.text


def test_without_an_input_the_panel_says_what_to_do(panel):
    assert not panel.ui.applyButton.enabled and not panel.ui.previewButton.enabled
    for words in (panel.ui.applyButton.toolTip, panel.ui.statusLabel.text):
        assert "choose" in words


def test_every_widget_and_its_parameter_follow_each_other(filled):
    for widget, prop, value, name, stored in (
        ("strengthSlider", "value", 0.4, "strength", 0.4),
        ("presetComboBox", "currentIndex", 1, "preset", "fast"),
        ("firstFrameSpinBox", "value", 3, "firstFrame", 3),
        ("lastFrameSpinBox", "value", 5, "lastFrame", 5),
        ("deviceComboBox", "currentIndex", 1, "device", "cpu"),
        ("volumeKindComboBox", "currentIndex", 2, "volumeKind", "volume"),
        ("modelFolderEdit", "currentPath", "/models/mine", "modelFolder", "/models/mine"),
        ("adaptMinutesSpinBox", "value", 12.0, "adaptMinutes", 12.0),
        ("batchOverwriteCheckBox", "checked", True, "batchOverwrite", True),
        ("exportPathEdit", "currentPath", "/out.dcm", "exportPath", "/out.dcm"),
    ):
        shown, parameters = getattr(filled.ui, widget), filled.parameters
        first, default = getattr(shown, prop), getattr(parameters, name)
        setattr(shown, prop, value)
        now = getattr(parameters, name)
        assert getattr(now, "value", now) == stored, widget
        setattr(parameters, name, default)
        assert getattr(shown, prop) == first, widget


def test_apply_becomes_cancel_and_a_cancelled_run_leaves_nothing(filled, scene, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "slow")
    nodes = {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")}
    filled.ui.applyButton.click()
    run_events(lambda: filled.ui.progressBar.value > 50)
    assert filled.ui.applyButton.text == "Cancel" and filled.ui.applyButton.enabled
    assert "frames a second" in filled.ui.statusLabel.text
    filled.ui.applyButton.click()
    run_events(idle(filled), 3)
    assert {node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode")} == nodes
    assert filled.ui.applyButton.text == "Apply" and "Cancelled" in filled.ui.statusLabel.text
    assert filled.parameters.outputNode is None


def test_while_a_job_runs_the_other_buttons_say_so(filled, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "slow")
    filled.ui.applyButton.click()
    for button in (filled.ui.previewButton, filled.ui.sideBySideButton, filled.ui.adaptButton, filled.ui.batchButton):
        assert not button.enabled and button.toolTip
    assert filled.ui.previewButton.toolTip == "Another job is running."
    filled.ui.applyButton.click()
    run_events(idle(filled), 3)
    assert filled.ui.previewButton.enabled


def test_what_the_worker_refuses_is_shown_as_it_says_it(filled, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "refuse")
    filled.ui.applyButton.click()
    run_events(idle(filled))
    assert filled.ui.statusLabel.text == "Frame 3 is broken; repair it." and filled.ui.applyButton.enabled


def test_preview_denoises_the_frame_on_show_and_is_used_again(filled, scene):
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(filled.parameters.inputNode)
    for item in (2, 4):
        browser.SetSelectedItemNumber(item)
        filled.ui.previewButton.click()
        run_events(idle(filled))
        assert filled.ui.statusLabel.text == f"Frame {item + 1} is shown denoised."
        preview = scene.GetFirstNodeByName("fluoro preview")
        assert (slicer.util.arrayFromVolume(preview)[0] == frames_of(filled.parameters.inputNode)[item]).all()
    assert len(slicer.util.getNodes("fluoro preview*")) == 1 and filled.parameters.outputNode is None


def test_another_input_gets_another_output_and_all_its_frames(filled, scene):
    filled.ui.applyButton.click()
    run_events(idle(filled))
    filled.parameters.firstFrame = 2
    other = make_run(scene, count=4, name="other")
    filled.ui.inputSelector.setCurrentNode(other)
    assert filled.parameters.outputNode is None and filled.parameters.firstFrame == 1
    filled.ui.applyButton.click()
    run_events(idle(filled))
    assert filled.parameters.outputNode.GetName() == "other denoised"


def test_a_part_of_a_run_is_denoised_when_only_that_is_chosen(filled):
    filled.ui.firstFrameSpinBox.value, filled.ui.lastFrameSpinBox.value = 2, 4
    filled.ui.applyButton.click()
    run_events(idle(filled))
    assert filled.parameters.outputNode.GetNumberOfDataNodes() == 3


def test_a_range_outside_the_run_is_refused_in_words(filled):
    filled.parameters.firstFrame = 9
    assert not filled.ui.applyButton.enabled and "frames 1 to 6" in filled.ui.statusLabel.text
    assert filled.ui.firstFrameSpinBox.value == 9  # what is refused is what is shown
    filled.ui.firstFrameSpinBox.value = 2
    assert filled.ui.applyButton.enabled and filled.parameters.firstFrame == 2 and filled.ui.lastFrameSpinBox.maximum == 6


def test_a_result_says_what_it_was_computed_with_and_why(filled):
    filled.ui.applyButton.click()
    run_events(idle(filled))
    assert filled.ui.statusLabel.text.startswith("fluoro denoised is done: 6 frames in 0 s. Computed with CPU, because this is a test.")
    assert "before you trust it.\nfluoro is dark." in filled.ui.statusLabel.text


def test_a_run_that_grows_is_noticed(panel, scene):
    run = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "live")
    panel.parameters.inputNode = run
    assert "empty" in panel.ui.statusLabel.text
    for index in range(3):
        frame = slicer.vtkMRMLScalarVolumeNode()
        slicer.util.updateVolumeFromArray(frame, np.full((1, 32, 32), index, np.uint16))
        run.SetDataNodeAtValue(frame, str(index))
    run_events(lambda: panel.ui.applyButton.enabled, 2)


def test_an_own_model_needs_a_folder(filled, tmp_path):
    filled.ui.presetComboBox.currentIndex = 3
    assert not filled.ui.applyButton.enabled and "Own model" in filled.ui.applyButton.toolTip
    (tmp_path / "model.json").write_text("{}")
    filled.ui.modelFolderEdit.currentPath = str(tmp_path)
    assert filled.ui.applyButton.enabled and filled.model == str(tmp_path)


def test_a_device_of_another_computer_is_kept_and_marked(filled):
    filled.parameters.device = "cuda:3"
    assert filled.ui.deviceComboBox.currentText.startswith("cuda:3") and "not found" in filled.ui.deviceComboBox.currentText


def test_devices_are_listed_with_the_reason_for_automatic(filled):
    filled.probed = {"reason": "CPU, because the driver is too old.", "frames_per_second": {}, "devices": [
        {"device": "cpu", "name": "a CPU", "usable": True, "memory_bytes": 1, "note": ""},
        {"device": "cuda:0", "name": "a GPU", "usable": False, "memory_bytes": 16e9, "note": "the driver is too old"},
        {"device": "cuda:1", "name": "another GPU", "usable": True, "memory_bytes": 16e9, "note": ""}]}
    filled.refresh()
    box = filled.ui.deviceComboBox
    assert [box.itemData(i) for i in range(box.count)] == ["auto", "cpu", "cuda:0", "cuda:1"]
    assert "the driver is too old" in box.itemText(2) and "16 GB" in box.itemText(3)
    assert filled.ui.deviceLabel.text == "Automatic means: CPU, because the driver is too old."
    box.currentIndex = 3
    assert filled.parameters.device == "cuda:1"


def test_without_torch_the_panel_says_what_to_do_and_nothing_else_breaks(scene, module, monkeypatch):
    import host
    from FluoroDenoiseScene import packages

    words = "PyTorch is missing; install it in Setup."
    state = packages.PackageState("torch", None, "torch>=2.10", False, words)
    monkeypatch.setattr(packages.Requirements, "check", lambda self: [state])
    make_run(scene)
    panel = host.make_widget(module)
    assert panel.ui.statusLabel.text == words and panel.ui.applyButton.toolTip == words
    assert not panel.ui.setupCollapsibleButton.collapsed and panel.ui.installButton.enabled
    assert not panel.ui.batchButton.enabled and panel.frames.count == 6
    panel.ui.installButton.click()  # installs nothing in testing mode
    panel.ui.strengthSlider.value = 0.5
    monkeypatch.undo()
    panel.exit()
    panel.enter()
    assert panel.ui.applyButton.enabled and not panel.ui.installButton.enabled
    host.close_widget(panel)


def test_parameters_survive_a_saved_scene(filled, scene, tmp_path):
    filled.ui.strengthSlider.value = 0.7
    filled.ui.applyButton.click()
    run_events(idle(filled))
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(0)
    assert scene.ReadFromMRB(path, True)
    filled.exit()
    filled.enter()
    parameters = filled.parameters
    assert parameters.strength == pytest.approx(0.7) and parameters.inputNode.GetName() == "fluoro"
    assert parameters.outputNode.GetNumberOfDataNodes() == 6 and filled.ui.outputSelector.currentNode() is parameters.outputNode


def test_every_selector_follows_the_scene_and_every_bound_name_is_a_parameter(module):
    selectors = {widget.get("name") for widget in UI.iter("widget") if "NodeComboBox" in widget.get("class")}
    connected = {connection.findtext("receiver") for connection in UI.iter("connection")}
    assert selectors == connected
    bound = [prop.findtext("string") for prop in UI.iter("property") if prop.get("name") == "SlicerParameterName"]
    assert set(bound) < set(module.FluoroDenoiseParameterNode.allParameters) and len(bound) == len(set(bound))


def test_every_control_has_a_tip():
    controls = ("QPushButton", "QComboBox", "QSpinBox", "QDoubleSpinBox", "QCheckBox", "ctkSliderWidget", "ctkPathLineEdit",
                "qMRMLNodeComboBox", "qMRMLCheckableNodeComboBox")
    for widget in UI.iter("widget"):
        if widget.get("class") in controls:
            assert any(prop.get("name") == "toolTip" for prop in widget.findall("property")), widget.get("name")


def test_opening_the_module_imports_only_what_slicer_has_open():
    tree = ast.parse((MODULE_FOLDER / "FluoroDenoise.py").read_text(encoding="utf-8"))
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    assert {name.split(".")[0] for name in names} == {"enum", "logging", "pathlib", "sys", "typing", "slicer", "vtk"}


def test_no_text_is_translated_after_it_was_filled_in():
    for path in MODULE_FOLDER.rglob("*.py"):
        assert not re.search(r"\b_\(\s*f[\"']", path.read_text(encoding="utf-8")), path
