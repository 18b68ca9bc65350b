"""Input, preset, strength, output; Preview and Apply."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .model_card import is_model
from .scene_job import SceneJob, duration
from .section import JobButton, Section
from .sequences import InputProblem, resolve_input, sequence_of, shown_volume
from .suited import require_suited, why_not_installed

MILLISECONDS_TO_SETTLE = 300  # a run that is being loaded or recorded changes with every frame


class DenoiseSection(Section):
    """Keeps `panel.frames` and `panel.problem` in step with the chosen input."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._shown_parameters, self._input, self._preview_node = None, None, None
        self._observed, self._tag, self._asked = None, None, None
        self._notice = ""
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(MILLISECONDS_TO_SETTLE)
        self._settle.connect("timeout()", panel.refresh)
        shared = (self.ui.progressBar, self.ui.statusLabel)
        self._apply = JobButton(panel, self.ui.applyButton, *shared, self._start, self._finished, self._obstacle, self._changed)
        self._preview = JobButton(panel, self.ui.previewButton, *shared, self._start_preview, self._previewed, self._obstacle,
                                  self._changed)

    def refresh(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:  # a scene that is closed meanwhile must not be kept in memory
            self._observe(None)
            self._shown_parameters = self._input = self._asked = self.panel.frames = None
            return
        self._follow(parameters)
        self._resolve(parameters)
        self._apply.refresh()
        self._preview.refresh()
        if not self.panel.running:
            self._apply.say(self._notice or self._obstacle() or self._summary())

    def close(self) -> None:
        self._observe(None)
        self._settle.stop()
        self._settle.disconnect("timeout()", self.panel.refresh)

    def _follow(self, parameters) -> None:
        """Another input wants another output and all its frames; parameters that a scene brings stay as they are."""
        node, before = parameters.inputNode, self._input
        same_scene = parameters is self._shown_parameters
        self._shown_parameters, self._input = parameters, node
        if node is not self._observed:
            self._observe(node)
        if node is before:
            return
        if before is not None or node is None:
            self._notice = ""
        if same_scene and before is not None:
            with slicer.util.NodeModify(parameters.parameterNode):
                parameters.outputNode, parameters.firstFrame, parameters.lastFrame = None, 1, 0

    def _observe(self, node) -> None:
        if self._observed is not None:
            self._observed.RemoveObserver(self._tag)
        self._observed = node
        if node is not None:
            self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._input_changed)

    def _input_changed(self, caller, event) -> None:
        if not self._settle.isActive():
            self._settle.start()

    def _resolve(self, parameters) -> None:
        node = self.chosen("inputNode")
        # Looking at every frame of a long run takes too long to be done at each step of a slider.
        asked = (node, node.GetMTime() if node else 0, self._range(), parameters.volumeKind)
        if asked == self._asked:
            return
        self._asked = asked
        self.panel.frames, self.panel.problem = None, ""
        try:
            self.panel.frames = resolve_input(node, *self._range(), kind=parameters.volumeKind.value)
        except InputProblem as problem:
            self.panel.problem = str(problem)

    def _range(self) -> tuple[int, int | None]:
        """The numbers of the first and last frame, from 0; None for the end."""
        return self.parameters.firstFrame - 1, self.parameters.lastFrame - 1 if self.parameters.lastFrame else None

    def _obstacle(self) -> str:
        return self.panel.missing or self.panel.problem or self._own_model_problem() or self._unsuited()

    def _unsuited(self) -> str:
        """Why the chosen model cannot denoise the chosen input; "" if it can."""
        try:
            require_suited(self.panel.frames, self.panel.model)
        except InputProblem as problem:
            return str(problem)
        return why_not_installed(self.panel.model)

    def _own_model_problem(self) -> str:
        if self.parameters.preset.value == "own" and not is_model(self.parameters.modelFolder):
            return _("The preset is Own model, but no folder of a model is chosen under Options.")
        return ""

    def _summary(self) -> str:
        frames = self.panel.frames
        words = _("{name}: {count} slices of {width}x{height}.") if frames.kind == "volume" else _("{name}: {count} frames of {width}x{height}.")
        return words.format(
            name=frames.name, count=frames.count, width=frames.shape[1], height=frames.shape[0])

    def _settings(self) -> dict:
        return {"preset": self.panel.model, "strength": self.parameters.strength, "device": self.parameters.device,
                "kind": self.parameters.volumeKind.value, "waitForCompletion": False}

    def _start(self) -> SceneJob:
        first, last = self._range()
        return self.logic.process(self.chosen("inputNode"), self.chosen("outputNode"), firstFrame=first, lastFrame=last,
                                  **self._settings())

    def _start_preview(self) -> SceneJob:
        kept = self._preview_node if self._preview_node and self._preview_node.GetScene() else None
        return self.logic.preview(self.chosen("inputNode"), previewNode=kept, **self._settings())

    def _changed(self, job: SceneJob) -> None:
        if job.ended:
            self._notice = self.ui.statusLabel.text

    def _finished(self, job: SceneJob) -> None:
        result, chosen = job.result, self.chosen("inputNode")
        if chosen is not None and (sequence_of(chosen) or chosen) is job.frames.node:
            self.parameters.outputNode = result
        self.panel.compare.show_result(shown_volume(result))
        said = [_("{name} is done: {count} frames in {time}.").format(
            name=result.GetName(), count=job.frames.count, time=duration(job.report.get("seconds") or 0))]
        if job.report.get("reason"):
            said.append(_("Computed with {reason}").format(reason=job.report["reason"]))
        said.append(_("Compare it with the input before you trust it."))
        self._apply.say("\n".join([" ".join(said), *map(str, job.report.get("warnings") or [])]))

    def _previewed(self, job: SceneJob) -> None:
        self._preview_node = job.result
        self.panel.compare.show_preview(job.frames.proxy or job.frames.node, job.result)
        self._preview.say(_("Frame {number} is shown denoised.").format(number=job.preview.number + 1))

