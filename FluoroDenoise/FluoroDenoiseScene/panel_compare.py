"""Input and output side by side with what was removed, behind a curtain, or in turn."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from .scene_job import SceneJob
from .section import Section

MILLISECONDS_OF_A_BLINK = 500


class CompareSection(Section):
    """Three buttons of which one may be down; pressing it again gives the views back. The panel has it as `compare`."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        panel.compare = self
        self._residual, self._of, self._previewing = None, None, False
        ways = ((self.ui.sideBySideButton, self._side_by_side), (self.ui.curtainButton, self._curtain),
                (self.ui.blinkButton, self._blink))
        self._buttons = [(button, button.toolTip) for button, show in ways]
        for button, show in ways:
            button.connect("clicked(bool)", lambda down, button=button, show=show: self._pressed(button, show, down))
        self._clock = qt.QTimer()
        self._clock.setInterval(MILLISECONDS_OF_A_BLINK)
        self._clock.connect("timeout()", self._tick)

    def show_preview(self, noisy, preview) -> None:
        """A previewed frame beside its original; in the views that there are, if none can be made."""
        self._end()
        self._previewing = self.logic.comparison.show_comparison(noisy, preview)
        if not self._previewing:
            slicer.util.setSliceViewerLayers(background=preview)

    def show_result(self, volume) -> None:
        """A new result, instead of a preview; a comparison that the user looks at stays and shows it anyway."""
        if self._previewing:
            self._end()
        if not self.logic.comparison.active:
            slicer.util.setSliceViewerLayers(background=volume)

    def refresh(self) -> None:
        if self._residual is not None and self._residual.GetScene() is None:
            self._residual = None
        if self.panel.parameters is None:
            return
        obstacle = self._obstacle()
        if self._of is not None and self._of != (self.chosen("inputNode"), self.chosen("outputNode")):
            self._end()
        for button, tip in self._buttons:
            button.enabled = not obstacle
            button.toolTip = obstacle or tip
        self.ui.curtainSlider.enabled = self.ui.curtainButton.checked
        if self.ui.curtainButton.checked:
            self.logic.comparison.move_curtain(self.parameters.curtainPosition)
        if obstacle or self._of is None:
            self.ui.compareLabel.text = obstacle

    def close(self) -> None:
        self._clock.stop()
        self._clock.disconnect("timeout()", self._tick)

    def _obstacle(self) -> str:
        if self.chosen("inputNode") is None or self.chosen("outputNode") is None:
            return _("There is nothing to compare yet; denoise a run, or select an output of one.")
        return _("Another job is running.") if self.panel.running else ""

    def _pressed(self, button, show, down: bool) -> None:
        self._end()
        if not down:
            return
        self._of = (self.chosen("inputNode"), self.chosen("outputNode"))
        if show(*self._of):
            button.checked = True
            self.ui.compareLabel.text = ""
        else:
            self._end()
            self.ui.compareLabel.text = _("There are no views to compare in.")
        self.ui.curtainSlider.enabled = self.ui.curtainButton.checked

    def _side_by_side(self, noisy, clean) -> bool:
        job = self.logic.compareView(noisy, clean, self._residual, waitForCompletion=False)
        job.on_change.append(self._show_progress)
        return True

    def _show_progress(self, job: SceneJob) -> None:
        self.ui.compareLabel.text = job.message or job.text
        if job.state == "done":
            self._residual = job.result
            words = _("Left to right: input, output, what was removed. Removed should be noise only: look for edges, wires and "
                      "vessels in it.") if job.shown else _("What was removed is in {name}; there are no views to show it in.")
            self.ui.compareLabel.text = words.format(name=job.result.GetName())
        if job.ended and not (job.state == "done" and job.shown):
            self.ui.sideBySideButton.checked = False

    def _curtain(self, noisy, clean) -> bool:
        return self.logic.comparison.show_curtain(noisy, clean, self.parameters.curtainPosition)

    def _blink(self, noisy, clean) -> bool:
        shown = self.logic.comparison.show_blink(noisy, clean)
        if shown:
            self._clock.start()
        return shown

    def _tick(self) -> None:
        if self.logic.comparison.active:
            self.logic.comparison.blink()
        else:
            self._clock.stop()

    def _end(self) -> None:
        self._clock.stop()
        self._of, self._previewing = None, False
        self.logic.endCompare()
        for button, tip in self._buttons:
            button.checked = False
