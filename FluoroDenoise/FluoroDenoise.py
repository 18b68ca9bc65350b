"""FluoroDenoise in 3D Slicer: from a noisy run to a clean one that plays beside it. For research use only.

The classes that Slicer looks for. What they do to the scene is in FluoroDenoiseScene, imported when it is needed; the
networks run in a process of their own, so that torch is never imported here. Opening the module imports nothing heavy.
"""

import enum
import logging
import pathlib
import sys
from typing import Annotated, Union

import slicer
import vtk
from slicer import vtkMRMLMarkupsLineNode, vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer import vtkMRMLSegmentationNode, vtkMRMLSequenceNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class FluoroDenoise(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("FluoroDenoise")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = ["Sequences", "Markups"]  # not PyTorch: the module would vanish where that is missing
        self.parent.contributors = ["FluoroDenoise contributors"]
        self.parent.helpText = _(
            "Denoises low-dose fluoroscopy and angiography runs, each frame with the help of the frames around it. Select a "
            "run, click Apply, compare. For research use only: not a medical device, not for diagnosis or treatment."
        )
        self.parent.acknowledgementText = _(
            "The method follows S.-Y. Jeon et al., Unsupervised Training of a Dynamic Context-Aware Deep Denoising Framework "
            "for Low-Dose Fluoroscopic Imaging, IEEE Transactions on Instrumentation and Measurement, 2025."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Add the simulated low-dose run to Slicer's Sample Data module."""
    from FluoroDenoiseScene.sample_data import register_sample_data

    register_sample_data()


class Preset(enum.Enum):
    """Which model denoises. Scenes store the members' names."""

    QUALITY = "quality"
    FAST = "fast"
    CT = "ct"
    OWN = "own"

    def label(self):
        return {Preset.QUALITY: _("Quality"), Preset.FAST: _("Fast"), Preset.CT: _("CT volume"), Preset.OWN: _("Own model")}[self]


class VolumeKind(enum.Enum):
    """What the slices of a volume are. Scenes store the members' names."""

    AUTOMATIC = None
    SLICES = "slices"
    VOLUME = "volume"

    def label(self):
        return {VolumeKind.AUTOMATIC: _("what its header says"), VolumeKind.SLICES: _("frames, one after the other"),
                VolumeKind.VOLUME: _("slices of a body, as a CT")}[self]


# typing.Union, because Slicer 5.8 does not know A | None here.
@parameterNodeWrapper
class FluoroDenoiseParameterNode:
    """What the panel remembers in the scene. Frames are counted from 1; lastFrame 0 is the end of the run.

    Paths are texts, because an empty pathlib.Path is shown as a dot.
    """

    inputNode: Union[vtkMRMLSequenceNode, vtkMRMLScalarVolumeNode, None]
    outputNode: Union[vtkMRMLSequenceNode, vtkMRMLScalarVolumeNode, None]
    preset: Preset = Preset.QUALITY
    modelFolder: str = ""
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    device: str = "auto"
    volumeKind: VolumeKind = VolumeKind.AUTOMATIC
    firstFrame: Annotated[int, Minimum(1)] = 1
    lastFrame: Annotated[int, Minimum(0)] = 0
    curtainPosition: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    background: Union[vtkMRMLMarkupsROINode, vtkMRMLSegmentationNode, None]
    edge: Union[vtkMRMLMarkupsLineNode, None]
    adaptMinutes: Annotated[float, WithinRange(0.1, 1440.0)] = 5.0
    adaptFolder: str = ""
    batchSource: str = ""
    batchTarget: str = ""
    batchOverwrite: bool = False
    exportPath: str = ""


class FluoroDenoiseWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Its sections are in FluoroDenoiseScene/panel_*.py; here is when they live and what they share.

    parameters: None while the panel is not shown. frames: the chosen input, None with the reason in `problem`. missing: a
    sentence, if packages are. probed: what the computer can, once asked. running: the job that a button started. compare:
    the section that owns the views.
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic, self.parameters, self._guiTag = None, None, None
        self.frames, self.problem = None, ""
        self.missing, self.probed, self.running = "", None, None
        self.sections, self.compare = [], None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from FluoroDenoiseScene.panel import make_sections

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FluoroDenoise.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = FluoroDenoiseLogic()
        self.sections = make_sections(self)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self):
        """Called at reload and when Slicer quits, also while a job runs."""
        self.setParameterNode(None)
        self.removeObservers()
        for section in self.sections:
            section.close()
        self.sections = []
        if self.logic is not None:
            self.logic.stop()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def onReload(self):
        for name in [name for name in sys.modules if name.split(".")[0] == "FluoroDenoiseScene"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        self.logic.endCompare()  # jobs look themselves whether their nodes are still there
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if getattr(self.parent, "isEntered", True):
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Show the scene's parameters; a scene without a chosen input gets its first sequence as input."""
        self.setParameterNode(self.logic.getParameterNode())
        if self.parameters.inputNode is None:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceNode")
            if first is not None:
                self.parameters.inputNode = first

    def setParameterNode(self, parameters):
        if parameters is self.parameters:
            return
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh)
        self.parameters = parameters
        if parameters is not None:
            # Not connectGui: up to Slicer 5.10 it does not return the tag that disconnects.
            widgets = [widget for widget in vars(self.ui).values() if widget.property("SlicerParameterName")]
            mapping = {widget.property("SlicerParameterName"): widget for widget in widgets}
            self._guiTag = parameters.connectParametersToGui(mapping)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.refresh)
        self.refresh()

    @property
    def model(self):
        """The name of the chosen model as the worker knows it: of a preset, or a folder."""
        own = self.parameters.preset is Preset.OWN
        return self.parameters.modelFolder if own else self.parameters.preset.value

    def refresh(self, caller=None, event=None):
        """Bring every section in step with parameters, scene and jobs."""
        for section in self.sections:
            section.refresh()


class FluoroDenoiseLogic(ScriptedLoadableModuleLogic):
    """Everything the panel does, for the Python console and for scripts, with or without a main window.

        logic = slicer.util.getModuleWidget("FluoroDenoise").logic       # or FluoroDenoise.FluoroDenoiseLogic()
        run = slicer.util.loadSequence("run.seq.nrrd")
        clean = logic.process(run)
        slicer.util.saveNode(clean, "clean.seq.nrrd")

    Nodes may be sequences, the volumes that show them, volumes whose slices are frames, or CT volumes. Frames are counted
    from 0 here. What cannot be done raises an exception whose text is one sentence for a person. With
    waitForCompletion=False a method returns its job at once: `state`, `text`, `fraction`, `message`, `result`, `cancel()`,
    `wait()`. The job then needs Slicer's event loop, or somebody who waits.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._parameters, self._errands, self._comparison = None, None, None

    def getParameterNode(self):
        """The scene's parameters; the same wrapper as long as the scene has the same parameter node."""
        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = FluoroDenoiseParameterNode(node)
        return self._parameters

    def process(self, inputNode, outputNode=None, preset="quality", strength=1.0, device="auto", firstFrame=None,
                lastFrame=None, waitForCompletion=True, kind=None):
        """Denoise a run and return the node of the result, which plays together with the input. The input is not changed.

            clean = logic.process(run, preset="fast", strength=0.8)
            job = logic.process(run, waitForCompletion=False); print(job.text); job.cancel()

        preset: "quality" or "fast" for runs, "ct" for CT volumes, or the folder of a model. outputNode: replaced as a whole
        when the result is complete; a new node by default. device: "auto", "cpu", "cuda:0" and so on. firstFrame, lastFrame:
        both included. kind: "slices" (frames) or "volume" (as of a CT), where the input is a volume and its header misleads.
        """
        from FluoroDenoiseScene.job import DenoiseJob

        logging.info("FluoroDenoise: denoising %s with %s", inputNode.GetName() if inputNode else None, preset)
        job = DenoiseJob(self.errands.client, inputNode, outputNode, preset=str(preset), strength=strength, device=device,
                         first=firstFrame, last=lastFrame, kind=kind)
        return self.errands.run(job, waitForCompletion)

    def preview(self, inputNode, frame=None, preset="quality", strength=1.0, device="auto", previewNode=None,
                waitForCompletion=True, kind=None):
        """Denoise one frame, by default the one on show, and return a volume of it.

            volume = logic.preview(run, frame=12, strength=0.5)
        """
        from FluoroDenoiseScene.view_jobs import PreviewVolumeJob

        job = PreviewVolumeJob(self.errands.client, inputNode, frame, previewNode, preset=str(preset), strength=strength,
                               device=device, kind=kind)
        return self.errands.run(job, waitForCompletion)

    def probe(self, waitForCompletion=True):
        """What this computer can compute with and how fast, as a dictionary; "reason" says why it is that device.

            print(logic.probe()["reason"])
        """
        from FluoroDenoiseScene.view_jobs import ProbeJob

        return self.errands.run(ProbeJob(self.errands.client, []), waitForCompletion)

    def estimateMemory(self, inputNode, preset="quality"):
        """What denoising takes, before it begins: `text`, `problem` (None if there is room), bytes of memory and disk.

            print(logic.estimateMemory(run).text)
        """
        from FluoroDenoiseScene.job import estimate
        from FluoroDenoiseScene.sequences import resolve_input

        return estimate(resolve_input(inputNode), str(preset))

    @property
    def comparison(self):
        """The views that compare, with more than the next two methods do; see FluoroDenoiseScene/views.py."""
        if self._comparison is None:
            from FluoroDenoiseScene.views import Comparison

            self._comparison = Comparison()
        return self._comparison

    def compareView(self, inputNode, outputNode, residualNode=None, waitForCompletion=True):
        """Show input, output and what was removed side by side, linked; return the node of what was removed.

            removed = logic.compareView(run, clean)
        """
        from FluoroDenoiseScene.view_jobs import CompareJob

        return self.errands.run(CompareJob(self.errands.client, self.comparison, inputNode, outputNode, residualNode),
                                waitForCompletion)

    def endCompare(self):
        """Give back the layout from before the comparison."""
        if self._comparison is not None:
            self._comparison.end_comparison()

    def qualityTable(self, inputNode, outputNode, regions=(), background=None, edge=None, tableNode=None,
                     waitForCompletion=True):
        """Measure noise, contrast and sharpness in regions, before and after; return the table node.

            roi = slicer.util.getNode("Region")
            table = logic.qualityTable(run, clean, regions=[roi])

        regions, background: ROI or segmentation nodes. edge: a markups line across an edge that moves.
        """
        from FluoroDenoiseScene.view_jobs import QualityJob

        job = QualityJob(self.errands.client, inputNode, outputNode, list(regions), background, edge, tableNode)
        return self.errands.run(job, waitForCompletion)

    def exportDicom(self, node, path, sourceFiles=None, waitForCompletion=True):
        """Write a denoised run as one multi-frame X-ray DICOM file, derived from its source; return the path.

            logic.exportDicom(clean, "clean.dcm", sourceFiles=["noisy.dcm"])

        sourceFiles: those that the input was loaded from; by default those that Slicer's DICOM database knows.
        """
        from FluoroDenoiseScene.job import ExportJob

        job = ExportJob(self.errands.client, node, pathlib.Path(path), source_files=sourceFiles)
        return self.errands.run(job, waitForCompletion)

    def adapt(self, nodes, folder, minutes=5.0, model="quality", device="auto", waitForCompletion=True):
        """Adapt a model to noisy runs, without clean images; return its folder, which `preset` takes.

            folder = logic.adapt([run], "my_model", minutes=10)
            clean = logic.process(run, preset=folder)
        """
        from FluoroDenoiseScene.job import AdaptJob

        job = AdaptJob(self.errands.client, list(nodes), pathlib.Path(folder), minutes=minutes, model=str(model), device=device)
        return self.errands.run(job, waitForCompletion)

    def processFolder(self, source, target, preset="quality", strength=1.0, device="auto", overwrite=False,
                      waitForCompletion=True):
        """Denoise every run of a folder into another folder; return what became of each. Started again, it goes on.

            logic.processFolder("patients/noisy", "patients/clean", preset="fast")
        """
        from FluoroDenoiseScene.job import FolderJob

        job = FolderJob(self.errands.client, pathlib.Path(source), pathlib.Path(target), preset=str(preset),
                        strength=strength, device=device, overwrite=overwrite)
        return self.errands.run(job, waitForCompletion)

    @property
    def errands(self):
        """The jobs under way and the worker that serves them; made when the first is needed."""
        if self._errands is None:
            from FluoroDenoiseScene.errands import Errands

            self._errands = Errands()
        return self._errands

    def cancel(self):
        """End every job; none leaves anything half done in the scene."""
        if self._errands is not None:
            self._errands.cancel()

    def stop(self):
        """End every job, the worker process and the comparison. Another job starts the worker again."""
        if self._errands is not None:
            self._errands.stop()
        self.endCompare()


class FluoroDenoiseTest(ScriptedLoadableModuleTest):
    """What Reload and Test runs. It needs no torch: without it the run is read and checked, but not denoised."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_the_sample_run_is_denoised, self.test_an_empty_run_is_refused_in_words):
            self.setUp()
            test()

    def test_the_sample_run_is_denoised(self):
        from FluoroDenoiseScene.packages import Requirements
        from FluoroDenoiseScene.sample_data import load_sample
        from FluoroDenoiseScene.sequences import resolve_input

        run = load_sample()
        self.assertGreater(resolve_input(run).count, 1)
        if not Requirements().ready:
            self.delayDisplay(Requirements().sentence)
            return
        logic = FluoroDenoiseLogic()
        try:
            clean = logic.process(run, preset="fast", device="cpu", firstFrame=0, lastFrame=3)
        finally:
            logic.stop()
        self.assertEqual(clean.GetNumberOfDataNodes(), 4)
        self.assertEqual(clean.GetNthIndexValue(3), run.GetNthIndexValue(3))
        self.delayDisplay(_("The sample run was denoised."))

    def test_an_empty_run_is_refused_in_words(self):
        run = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "nothing")
        with self.assertRaisesRegex(Exception, "nothing is empty"):
            FluoroDenoiseLogic().process(run)
