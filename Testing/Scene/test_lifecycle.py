"""Whatever happens to scene, nodes, panel and application while a run is being denoised: nothing is left behind."""

import os
import sys
import time
from pathlib import Path

import host
import pytest
import slicer
from host.fixtures import frames_of, make_run, run_events, use_fake_worker


@pytest.fixture
def kept_modules():
    """What a reload drops from sys.modules is there again for the tests after it."""
    kept = {name: module for name, module in sys.modules.items() if name.startswith("FluoroDenoise")}
    yield
    sys.modules.update(kept)


@pytest.fixture
def busy(panel, scene, monkeypatch):
    """The panel, denoising a run slowly."""
    monkeypatch.setenv("FAKE_WORKER", "slow")
    panel.parameters.inputNode = make_run(scene, count=40)
    panel.ui.applyButton.click()
    run_events(lambda: panel.running is not None and panel.running.state == "running" and panel.running.fraction > 0.1)
    return panel


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def leftovers() -> list:
    """Temporary folders of jobs."""
    return list(Path(slicer.app.temporaryPath).glob("FluoroDenoise-*"))


def outputs() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSequenceNode")[1:]


def idle(panel):
    return lambda: not panel.logic.errands.jobs


def test_a_closed_scene_ends_the_job(busy, scene):
    job = busy.running
    scene.Clear(0)
    run_events(idle(busy), 3)
    assert job.state == "cancelled" and not leftovers()
    assert busy.parameters is not None and busy.parameters.inputNode is None and busy.ui.applyButton.text == "Apply"
    assert not slicer.util.getNodesByClass("vtkMRMLSequenceNode")


def test_a_deleted_input_ends_the_job(busy, scene):
    job = busy.running
    scene.RemoveNode(busy.parameters.inputNode)
    run_events(idle(busy), 3)
    assert job.state == "cancelled" and not leftovers() and not slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    assert not busy.ui.applyButton.enabled and "choose" in busy.ui.applyButton.toolTip


def test_a_deleted_output_ends_the_job(panel, scene, monkeypatch):
    panel.parameters.inputNode = make_run(scene, count=40)
    panel.ui.applyButton.click()
    run_events(lambda: panel.running is None)
    monkeypatch.setenv("FAKE_WORKER", "slow")
    panel.logic.stop()
    panel.ui.applyButton.click()
    run_events(lambda: panel.running.fraction > 0.1)
    job = panel.running
    scene.RemoveNode(panel.parameters.outputNode)
    run_events(idle(panel), 3)
    assert job.state == "cancelled" and not outputs() and panel.parameters.outputNode is None


def test_an_existing_output_is_whole_until_the_new_one_is(panel, scene, monkeypatch):
    panel.parameters.inputNode = make_run(scene, count=12)
    panel.ui.applyButton.click()
    run_events(lambda: panel.running is None)
    output = panel.parameters.outputNode
    before = frames_of(output).copy()
    monkeypatch.setenv("FAKE_WORKER", "slow")
    panel.logic.stop()
    panel.ui.applyButton.click()
    run_events(lambda: panel.running.fraction > 0.3)
    assert (frames_of(output) == before).all()
    panel.ui.applyButton.click()
    run_events(idle(panel), 3)
    assert (frames_of(output) == before).all() and outputs() == [output]


def test_the_module_can_be_reloaded(busy, kept_modules, monkeypatch):
    worker, observed = busy.logic.errands.client.pid, busy.parameters.inputNode
    busy.onReload()
    fresh = slicer.modules.FluoroDenoiseWidget
    assert fresh is not busy and is_gone(worker) and not leftovers() and not busy.Observations
    assert fresh.ui.applyButton.enabled and fresh.parameters.inputNode is observed and not outputs()
    use_fake_worker(fresh.logic)
    monkeypatch.setenv("FAKE_WORKER", "")
    fresh.ui.applyButton.click()
    run_events(lambda: fresh.running is None)
    assert len(outputs()) == 1


def test_slicer_can_be_quit(busy):
    worker = busy.logic.errands.client.pid
    host.close_widget(busy)
    assert is_gone(worker) and not leftovers() and not outputs()


def test_a_hanging_worker_does_not_keep_slicer_from_quitting(panel, scene, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "hang")
    panel.parameters.inputNode = make_run(scene)
    panel.ui.applyButton.click()
    run_events(lambda: panel.logic.errands.client.alive)
    worker, began = panel.logic.errands.client.pid, time.monotonic()
    host.close_widget(panel)
    assert time.monotonic() - began < 5 and is_gone(worker) and not leftovers()


def test_a_worker_that_dies_is_reported_and_the_next_apply_works(panel, scene, monkeypatch):
    monkeypatch.setenv("FAKE_WORKER", "die")
    panel.parameters.inputNode = make_run(scene)
    panel.ui.applyButton.click()
    run_events(lambda: panel.running is None)
    assert "ended" in panel.ui.statusLabel.text and not outputs() and not leftovers()
    monkeypatch.setenv("FAKE_WORKER", "")
    panel.ui.applyButton.click()
    run_events(lambda: panel.running is None)
    assert len(outputs()) == 1


def test_a_second_press_on_apply_is_cancel_and_a_third_starts_again(busy, monkeypatch):
    busy.ui.applyButton.click()
    run_events(lambda: busy.running is None, 3)
    busy.ui.applyButton.click()
    run_events(lambda: busy.running is None)
    assert len(outputs()) == 1 and "done" in busy.ui.statusLabel.text


def test_a_run_goes_on_when_the_user_opens_another_module(busy):
    busy.exit()
    busy.parent.isEntered = False
    run_events(idle(busy))
    assert len(outputs()) == 1
    busy.enter()
    assert busy.ui.outputSelector.currentNode() is outputs()[0] and busy.ui.applyButton.text == "Apply"


def test_a_script_may_denoise_while_the_panel_does(busy, scene):
    other = make_run(scene, count=3, name="other")
    clean = busy.logic.process(other)
    assert clean.GetName() == "other denoised"
    run_events(idle(busy))
    assert len(outputs()) == 3


def test_a_panel_that_is_gone_observes_nothing(panel, scene, capfd):
    run = make_run(scene, browser=False)  # nobody else observes it
    panel.exit()
    panel.enter()
    assert run.HasObserver("ModifiedEvent")
    parameter_node = panel.parameters.parameterNode
    host.close_widget(panel)
    assert not panel.Observations and not run.HasObserver("ModifiedEvent")
    capfd.readouterr()
    for node in (run, parameter_node):
        node.Modified()
    slicer.app.processEvents()
    assert "Traceback" not in capfd.readouterr().err


def test_a_panel_that_is_not_shown_writes_nothing_to_the_scene(panel, scene):
    panel.exit()
    panel.parent.isEntered = False
    panel.ui.strengthSlider.value = 0.3
    assert panel.logic.getParameterNode().strength == 1.0
    scene.Clear(0)
    assert panel.parameters is None
