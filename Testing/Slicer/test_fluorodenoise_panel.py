"""The panel in Slicer: Apply, Cancel and the scene behind them, with a worker that only pretends."""

import time
import unittest
from pathlib import Path

import slicer

FAKE_WORKER = Path(__file__).resolve().parents[1] / "Scene" / "fake_worker.py"
SECONDS = 30.0


class Panel(unittest.TestCase):
    def setUp(self):
        from FluoroDenoiseScene.sample_data import load_sample
        from FluoroDenoiseScene.worker_client import WorkerClient

        slicer.mrmlScene.Clear(0)
        self.widget = slicer.modules.fluorodenoise.widgetRepresentation().self()
        self.real_client = self.widget.logic.errands.client
        self.widget.logic.errands.client = WorkerClient(worker=FAKE_WORKER)
        self.widget.enter()
        # Slicer under test has no PyTorch, which the worker that only pretends does not need.
        self.missing, self.widget.missing = self.widget.missing, ""
        self.run_node = load_sample()
        self.widget.ui.inputSelector.setCurrentNode(self.run_node)

    def tearDown(self):
        self.widget.logic.stop()
        self.widget.logic.errands.client = self.real_client
        self.widget.missing = self.missing
        self.widget.exit()
        slicer.mrmlScene.Clear(0)

    def wait_for(self, condition):
        until = time.monotonic() + SECONDS
        while not condition():
            slicer.app.processEvents()
            self.assertLess(time.monotonic(), until, "It took too long.")

    def outputs(self):
        sequences = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        return [node for node in sequences if node.GetID() != self.run_node.GetID()]

    def test_apply_makes_the_result_beside_the_input(self):
        self.widget.ui.applyButton.click()
        self.wait_for(self.outputs)
        self.wait_for(lambda: self.widget.ui.applyButton.text == "Apply")
        self.assertEqual(self.outputs()[0].GetNumberOfDataNodes(), 24)

    def test_apply_becomes_cancel_and_a_cancelled_run_leaves_nothing(self):
        self.widget.ui.applyButton.click()
        self.assertEqual(self.widget.ui.applyButton.text, "Cancel")
        self.widget.ui.applyButton.click()
        self.wait_for(lambda: self.widget.ui.applyButton.text == "Apply")
        self.assertEqual(self.outputs(), [])

    def test_closing_the_scene_while_it_works_leaves_a_panel_that_can_be_used(self):
        self.widget.ui.applyButton.click()
        slicer.mrmlScene.Clear(0)
        self.wait_for(lambda: self.widget.ui.applyButton.text == "Apply")
        self.assertFalse(self.widget.ui.applyButton.enabled)
