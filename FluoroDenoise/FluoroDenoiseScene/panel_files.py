"""From folder to folder, from a denoised node to a DICOM file, and the paths that the panel asks for."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from .scene_job import SceneJob
from .section import JobButton, Section


class PathsSection(Section):
    """Binds path widgets to text parameters; Slicer binds them to pathlib.Path only, which shows an empty path as a dot."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        ui = self.ui
        self._edits = {"modelFolder": ui.modelFolderEdit, "adaptFolder": ui.adaptFolderEdit, "batchSource": ui.batchSourceEdit,
                       "batchTarget": ui.batchTargetEdit, "exportPath": ui.exportPathEdit}
        for name, edit in self._edits.items():
            edit.connect("currentPathChanged(QString)", lambda path, name=name: self._write(name, path))

    def refresh(self) -> None:
        if self.panel.parameters is None:
            return
        for name, edit in self._edits.items():
            path = getattr(self.parameters, name)
            if edit.currentPath != path:
                edit.currentPath = path

    def _write(self, name: str, path: str) -> None:
        if self.panel.parameters is not None and getattr(self.parameters, name) != path:
            setattr(self.parameters, name, path)


class BatchSection(Section):
    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._run = JobButton(panel, self.ui.batchButton, self.ui.batchProgressBar, self.ui.batchLabel, self._start,
                              self._finished, self._obstacle)

    def refresh(self) -> None:
        if self.panel.parameters is not None:
            self._run.refresh()

    def _obstacle(self) -> str:
        source, target = self.parameters.batchSource, self.parameters.batchTarget
        if self.panel.missing:
            return self.panel.missing
        if not source or not target:
            return _("Choose the folder of the noisy runs and the folder for the results.")
        if not Path(source).is_dir():
            return _("{folder} is not a folder; choose the one with the noisy runs.").format(folder=source)
        return _("Choose another folder for the results, so that the originals are kept.") if Path(source) == Path(target) else ""

    def _start(self) -> SceneJob:
        parameters = self.parameters
        return self.logic.processFolder(parameters.batchSource, parameters.batchTarget, preset=self.panel.model,
                                        strength=parameters.strength, device=parameters.device,
                                        overwrite=parameters.batchOverwrite, waitForCompletion=False)

    def _finished(self, job: SceneJob) -> None:
        states = [state for name, state, message in job.files]
        lines = [_("{done} denoised, {there} were there already, {failed} failed.").format(
            done=states.count("done"), there=states.count("there"), failed=states.count("failed"))]
        lines += [f"{name}: {message}" for name, state, message in job.files if state == "failed"]
        self._run.say("\n".join(lines))


class ExportSection(Section):
    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._run = JobButton(panel, self.ui.exportButton, self.ui.exportProgressBar, self.ui.exportLabel, self._start,
                              self._finished, self._obstacle)

    def refresh(self) -> None:
        if self.panel.parameters is not None:
            self._run.refresh()

    def _obstacle(self) -> str:
        if self.panel.missing:
            return self.panel.missing
        if self.chosen("outputNode") is None:
            return _("There is no output yet; denoise a run, or select an output of one.")
        return "" if self.parameters.exportPath else _("Choose the name of the new file.")

    def _start(self) -> SceneJob:
        return self.logic.exportDicom(self.chosen("outputNode"), self.parameters.exportPath, waitForCompletion=False)

    def _finished(self, job: SceneJob) -> None:
        self._run.say(_("{path} is written; its patient is the one of the original run.").format(path=job.result))
