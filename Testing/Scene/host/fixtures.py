"""What every test here starts from: an empty scene, a noisy run, the module, its panel."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer

import host
from host import pythonqt

MODULE_FOLDER = Path(__file__).resolve().parents[3] / "FluoroDenoise"
FAKE_WORKER = Path(__file__).resolve().parents[1] / "fake_worker.py"


@pytest.fixture
def scene():
    """The scene, empty before and after; the test fails when a slot raised."""
    slicer.mrmlScene.Clear(0)
    pythonqt.slot_errors.clear()
    yield slicer.mrmlScene
    slicer.app.processEvents()
    errors = list(pythonqt.slot_errors)
    pythonqt.slot_errors.clear()
    slicer.mrmlScene.Clear(0)
    assert not errors, f"exceptions in slots: {errors}"


@pytest.fixture
def sequence(scene):
    """A run of 6 noisy frames of 64x48, uint16, indexed by time, in a browser with a proxy."""
    return make_run(scene)


@pytest.fixture
def module():
    """The Python module FluoroDenoise, loaded as Slicer does; a reload gives another one."""
    if "FluoroDenoise" in sys.modules and hasattr(slicer.modules, "fluorodenoise"):
        return sys.modules["FluoroDenoise"]
    return host.load_module("FluoroDenoise", MODULE_FOLDER)[0]


@pytest.fixture
def logic(scene, module):
    """The module's logic with the fake worker; whatever runs at the end is stopped."""
    made = module.FluoroDenoiseLogic()
    use_fake_worker(made)
    yield made
    made.stop()


@pytest.fixture
def panel(scene, module, caplog):
    """The module's widget, shown, with the fake worker; closed at the end as when Slicer quits.

    The test fails when something of the panel failed that a job had called: jobs log that and go on.
    """
    made = host.make_widget(module)
    use_fake_worker(made.logic)
    yield made
    host.close_widget(made)
    gc.collect()
    faults = [record.exc_text or record.getMessage() for record in caplog.records if "callback" in record.getMessage()]
    assert not faults, f"exceptions in callbacks: {faults}"


def use_fake_worker(logic) -> None:
    """Let a logic talk to fake_worker.py instead of the library."""
    from FluoroDenoiseScene.worker_client import WorkerClient

    logic.errands.client = WorkerClient(worker=FAKE_WORKER, python=sys.executable)


def make_run(scene, count=6, rows=64, columns=48, name="fluoro", level=100, browser=True):
    """A sequence node of Poisson noise around `level`, 15 frames a second, spacing 0.3 mm."""
    noise = np.random.default_rng(0)
    node = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexName("time")
    node.SetIndexUnit("s")
    frame = slicer.vtkMRMLScalarVolumeNode()
    frame.SetName(name)
    for index in range(count):
        stored = node.SetDataNodeAtValue(frame, f"{index / 15:.3f}")
        stored.SetSpacing(0.3, 0.3, 1)
        slicer.util.updateVolumeFromArray(stored, noise.poisson(level, (1, rows, columns)).astype(np.uint16))
    if browser:
        made = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
        made.SetAndObserveMasterSequenceNodeID(node.GetID())
    return node


def frames_of(node) -> np.ndarray:
    """The pixels of a sequence of images, [T, H, W]."""
    return np.stack([slicer.util.arrayFromVolume(node.GetNthDataNode(index))[0] for index in range(node.GetNumberOfDataNodes())])


def run_events(until, seconds: float = 20.0) -> None:
    """Let Qt's timers fire until `until()` is true, as Slicer's event loop does."""
    import time

    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"nothing came of it within {seconds} s"
        slicer.app.processEvents()
        time.sleep(0.002)
