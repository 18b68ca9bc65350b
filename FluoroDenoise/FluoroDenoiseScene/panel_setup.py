"""What is installed, what is missing, one button that installs it, and what this computer can compute with."""

from __future__ import annotations

from slicer.i18n import tr as _

from .packages import InstallProblem, Requirements
from .scene_job import SceneJob
from .section import JobButton, Section


class SetupSection(Section):
    """Keeps `panel.missing` (a sentence, or "") and `panel.probed` (what a probe found, or None)."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._requirements, self._shown = Requirements(), False
        self.ui.installButton.connect("clicked(bool)", self._install)
        self._probe = JobButton(panel, self.ui.probeButton, self.ui.progressBar, self.ui.probeLabel, self._start, self._probed,
                                lambda: panel.missing)

    def refresh(self) -> None:
        if self.panel.parameters is None:
            self._shown = False
            return
        if not self._shown:  # something may have been installed elsewhere meanwhile
            self._shown = True
            self._check()
        self._probe.refresh()
        self.ui.installButton.enabled = bool(self.panel.missing) and not self.panel.running

    def _check(self) -> None:
        states = self._requirements.check()
        self.panel.missing = "" if all(state.ok for state in states) else self._requirements.sentence
        lines = [state.sentence for state in states]
        if self.panel.missing:
            self.ui.setupCollapsibleButton.collapsed = False
            lines += self._requirements.cautions()
        self.ui.setupLabel.text = "\n".join(lines)

    def _install(self) -> None:
        try:
            self._requirements.install()
        except InstallProblem as problem:
            self._check()
            self.ui.setupLabel.text = str(problem)
        else:
            self._check()
        self.panel.refresh()

    def _start(self) -> SceneJob:
        return self.logic.probe(waitForCompletion=False)

    def _probed(self, job: SceneJob) -> None:
        self.panel.probed = job.result
        rates = job.result.get("frames_per_second") or {}
        lines = [job.result["reason"]]
        for preset, sizes in rates.items():
            lines.append(_("{preset}: {rates} frames a second").format(
                preset=preset, rates=", ".join(f"{rate:.3g} ({size})" for size, rate in sizes.items())))
        self._probe.say("\n".join(lines))
