"""From node to node through the logic, in Slicer: with a worker that only pretends, and with the real one if it can run."""

import importlib.util
import sys
import unittest
from pathlib import Path

import slicer

FAKE_WORKER = Path(__file__).resolve().parents[1] / "Scene" / "fake_worker.py"


def frames_of(sequence):
    return [slicer.util.arrayFromVolume(sequence.GetNthDataNode(number)).copy() for number in range(sequence.GetNumberOfDataNodes())]


class Processing(unittest.TestCase):
    def setUp(self):
        from FluoroDenoise import FluoroDenoiseLogic
        from FluoroDenoiseScene.sample_data import load_sample
        from FluoroDenoiseScene.worker_client import WorkerClient

        slicer.mrmlScene.Clear(0)
        self.logic = FluoroDenoiseLogic()
        self.logic.errands.client = WorkerClient(worker=FAKE_WORKER)
        self.run_node = load_sample()

    def tearDown(self):
        self.logic.stop()
        slicer.mrmlScene.Clear(0)

    def test_the_result_has_the_inputs_times_type_and_geometry(self):
        clean = self.logic.process(self.run_node)
        for number in range(self.run_node.GetNumberOfDataNodes()):
            self.assertEqual(clean.GetNthIndexValue(number), self.run_node.GetNthIndexValue(number))
        first, source = clean.GetNthDataNode(0), self.run_node.GetNthDataNode(0)
        self.assertEqual(first.GetImageData().GetScalarType(), source.GetImageData().GetScalarType())
        self.assertEqual(first.GetSpacing(), source.GetSpacing())

    def test_the_input_is_never_changed(self):
        before = frames_of(self.run_node)
        self.logic.process(self.run_node)
        for was, now in zip(before, frames_of(self.run_node)):
            self.assertTrue((was == now).all())

    def test_the_result_plays_with_the_input(self):
        clean = self.logic.process(self.run_node)
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(self.run_node)
        if browser is not None:
            self.assertTrue(browser.IsSynchronizedSequenceNode(clean, True))

    def test_a_cancelled_job_leaves_nothing(self):
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        job = self.logic.process(self.run_node, waitForCompletion=False)
        job.cancel()
        while job.advance():
            slicer.app.processEvents()
        self.assertEqual(job.state, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)

    def test_closing_the_scene_ends_the_job(self):
        job = self.logic.process(self.run_node, waitForCompletion=False)
        slicer.mrmlScene.Clear(0)
        while job.advance():
            slicer.app.processEvents()
        self.assertEqual(job.state, "cancelled")

    def test_a_missing_input_is_a_sentence(self):
        with self.assertRaises(ValueError) as refused:
            self.logic.process(None)
        self.assertTrue(str(refused.exception).endswith("."))


@unittest.skipIf(importlib.util.find_spec("torch") is None, "PyTorch is not installed here.")
class ProcessingForReal(unittest.TestCase):
    def test_the_sample_run_is_less_noisy_and_as_bright(self):
        import numpy as np
        from FluoroDenoise import FluoroDenoiseLogic
        from FluoroDenoiseScene.sample_data import load_sample

        slicer.mrmlScene.Clear(0)
        imported_before = "torch" in sys.modules
        logic = FluoroDenoiseLogic()
        run = load_sample()
        try:
            clean = np.stack(frames_of(logic.process(run, preset="fast", device="cpu", firstFrame=0, lastFrame=3))).astype(float)
        finally:
            logic.stop()
        noisy = np.stack(frames_of(run)[:4]).astype(float)
        self.assertLess(np.diff(clean, axis=-1).std(), 0.4 * np.diff(noisy, axis=-1).std())
        self.assertAlmostEqual(clean.mean() / noisy.mean(), 1.0, delta=0.01)
        self.assertEqual("torch" in sys.modules, imported_before)
        slicer.mrmlScene.Clear(0)
