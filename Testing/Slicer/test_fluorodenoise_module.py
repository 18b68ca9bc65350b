"""Opening the module in Slicer: what is imported, what is offered, what a new scene begins with."""

import sys
import unittest

import slicer


class OpeningTheModule(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(0)

    @unittest.skipIf("pytest" in sys.modules and "torch" in sys.modules, "Other tests of this process have imported torch.")
    def test_slicer_has_not_imported_torch_nor_the_library(self):
        self.assertFalse({"torch", "FluoroDenoiseLib"} & set(sys.modules))

    def test_the_module_says_what_it_is_and_for_whom(self):
        module = slicer.modules.fluorodenoise
        self.assertEqual(module.title, "FluoroDenoise")
        self.assertEqual(list(module.categories), ["Filtering"])
        self.assertIn("research use only", module.helpText)

    def test_a_new_scene_begins_with_the_quality_preset_at_full_strength(self):
        from FluoroDenoise import FluoroDenoiseLogic

        node = FluoroDenoiseLogic().getParameterNode()
        self.assertIn("quality", str(node.preset).lower())
        self.assertEqual(node.strength, 1.0)
        self.assertIsNone(node.inputNode)


class SampleRun(unittest.TestCase):
    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def tearDown(self):
        slicer.mrmlScene.Clear(0)

    def test_the_sample_run_loads_as_a_sequence_with_a_browser(self):
        from FluoroDenoiseScene.sample_data import load_sample

        run = load_sample()
        self.assertEqual(run.GetNumberOfDataNodes(), 24)
        self.assertEqual(slicer.util.arrayFromVolume(run.GetNthDataNode(0)).shape, (1, 256, 256))

    def test_the_sample_data_module_offers_it(self):
        try:
            import SampleData
        except ModuleNotFoundError:
            self.skipTest("There is no Sample Data module here.")
        from FluoroDenoiseScene.sample_data import CATEGORY, register_sample_data

        register_sample_data()
        self.assertEqual([source.sampleName for source in SampleData.SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)],
                         ["LowDoseAngiography"])
