"""Adapt a model to runs of one's own, watch it learn, use it."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from .loss_plot import LossPlot
from .model_card import card, is_model
from .scene_job import SceneJob
from .section import JobButton, Section


class TrainingSection(Section):
    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._plot, self._shown_model = LossPlot(), None
        self._adapt = JobButton(panel, self.ui.adaptButton, self.ui.adaptProgressBar, self.ui.adaptLabel, self._start,
                                self._finished, self._obstacle, self._changed)
        self.ui.trainingSelector.connect("checkedNodesChanged()", panel.refresh)
        self.ui.useModelButton.connect("clicked(bool)", self._use)

    def refresh(self) -> None:
        if self.panel.parameters is None:
            return
        self._adapt.refresh()
        self.ui.useModelButton.enabled = is_model(self.parameters.adaptFolder)
        if self.panel.model != self._shown_model:
            self._shown_model = self.panel.model
            self.ui.modelCardLabel.text = card(self._shown_model)

    def chosen_runs(self) -> list:
        """The sequences that are checked."""
        selector = self.ui.trainingSelector
        runs = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
        return [run for run in runs if selector.checkState(run) == qt.Qt.Checked]

    def _obstacle(self) -> str:
        if self.panel.missing:
            return self.panel.missing
        if not self.chosen_runs():
            return _("Check the runs to learn from.")
        if not self.parameters.adaptFolder:
            return _("Choose a new folder for the adapted model.")
        return ""

    def _start(self) -> SceneJob:
        job = self.logic.adapt(self.chosen_runs(), self.parameters.adaptFolder, minutes=self.parameters.adaptMinutes,
                               model=self.panel.model, device=self.parameters.device, waitForCompletion=False)
        self._plot.begin()
        return job

    def _changed(self, job: SceneJob) -> None:
        self._plot.follow(job.losses)

    def _finished(self, job: SceneJob) -> None:
        self._shown_model = None  # its folder may be the one that was just written
        self._adapt.say(str(job.report.get("sentence") or _("The adapted model is in {folder}.").format(folder=job.result)))

    def _use(self) -> None:
        parameters = self.parameters
        with slicer.util.NodeModify(parameters.parameterNode):
            parameters.modelFolder = parameters.adaptFolder
            parameters.preset = next(preset for preset in type(parameters.preset) if preset.value == "own")
