"""What the sections of the panel share: a place in the panel, and buttons that start a job and then cancel it."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from .scene_job import SceneJob
from .sequences import InputProblem

FULL = 1000  # of a progress bar


class Section:
    """A part of the panel. panel: the module's widget, with `ui`, `logic`, `parameters`, `frames`, `problem`, `running`."""

    def __init__(self, panel) -> None:
        self.panel, self.ui, self.logic = panel, panel.ui, panel.logic

    @property
    def parameters(self):
        """The scene's parameters, also while the panel is not shown."""
        return self.panel.parameters or self.logic.getParameterNode()

    def chosen(self, name: str):
        """The node of a parameter, None if it has left the scene."""
        node = getattr(self.parameters, name)
        return node if node is not None and node.GetScene() is slicer.mrmlScene else None

    def refresh(self) -> None:
        """Show the state of parameters, scene and jobs. Called after every change."""

    def close(self) -> None:
        """Let go of timers and observers; the panel is about to be destroyed."""


class JobButton:
    """A button that starts a job, and cancels it while it runs, with a progress bar and a line of words.

    start(): returns the job, or raises InputProblem. finished(job): called when it is done. obstacle(): why it cannot be
    started, in a sentence, or "". changed(job): called at each of its changes.
    """

    def __init__(self, panel, button, bar, label, start: Callable[[], SceneJob], finished: Callable[[SceneJob], None],
                 obstacle: Callable[[], str], changed: Callable[[SceneJob], None] = lambda job: None) -> None:
        self._panel, self._button, self._bar, self._label = panel, button, bar, label
        self._start, self._finished, self._obstacle, self._changed = start, finished, obstacle, changed
        self._text, self._tip = button.text, button.toolTip
        self.job: SceneJob | None = None
        button.connect("clicked(bool)", self._clicked)

    def say(self, words: str) -> None:
        self._label.text = words

    def refresh(self) -> None:
        if self.job is not None:
            self._button.text, self._button.enabled = _("Cancel"), True
            self._button.toolTip = _("Stop. What was there before stays as it was.")
            return
        obstacle = _("Another job is running.") if self._panel.running else self._obstacle()
        self._button.text, self._button.enabled = self._text, not obstacle
        self._button.toolTip = obstacle or self._tip

    def _clicked(self) -> None:
        if self.job is not None:
            running = self.job
            running.cancel()
            self._show(running)
            return
        try:
            job = self._start()
        except InputProblem as problem:
            self.say(str(problem))
            return
        except Exception as error:
            self.say(_("This could not be started ({reason}); see the application log.").format(reason=error))
            raise
        self.job = self._panel.running = job
        job.on_change.append(self._show)
        self._bar.visible = True
        self._show(job)
        self._panel.refresh()

    def _show(self, job: SceneJob) -> None:
        if job is not self.job:
            return
        self._bar.value = round(FULL * job.fraction)
        self.say(job.text)
        if job.ended:
            self.job = self._panel.running = None
            self._bar.visible = False
            self.say({"failed": job.message, "cancelled": _("Cancelled; nothing was changed.")}.get(job.state, ""))
            if job.state == "done":
                self._finished(job)
        self._changed(job)
        if job.ended:
            self._panel.refresh()
