"""Frame range, kind of volume, device."""

from __future__ import annotations

from slicer.i18n import tr as _

from .estimate import estimate
from .scene_job import SceneJob
from .section import Section


class OptionsSection(Section):
    """The device list holds what the last probe found; a device from a scene of another computer is kept and marked."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._filling, self._asked = False, False
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self._chosen)
        self.ui.optionsCollapsibleButton.connect("contentsCollapsed(bool)", self._opened)
        self._fill([])

    def refresh(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        self._show(parameters.device)
        self.ui.modelFolderEdit.enabled = parameters.preset.value == "own"
        frames = self.panel.frames
        self.ui.volumeKindComboBox.enabled = frames is None or frames.kind != "sequence"
        for box, number in ((self.ui.firstFrameSpinBox, parameters.firstFrame), (self.ui.lastFrameSpinBox, parameters.lastFrame)):
            # A number that a script or a scene brings is shown, and refused in words, rather than quietly made another.
            box.maximum = max(number, frames.total if frames else box.maximum)
            box.value = number
        self.ui.memoryLabel.text = estimate(frames, self.panel.model, parameters.device).text if frames else ""
        probed = self.panel.probed
        if probed:
            self.ui.deviceLabel.text = _("Automatic means: {reason}").format(reason=probed["reason"])
            if probed["devices"] != self._devices:
                self._fill(probed["devices"])
                self._show(parameters.device)

    def _opened(self, collapsed: bool) -> None:
        """The list of devices is asked for when somebody first looks at it: the answer takes seconds."""
        if collapsed or self._asked or self.panel.missing:
            return
        self._asked = True
        self.ui.deviceLabel.text = _("Looking for graphics cards")
        self.logic.probe(waitForCompletion=False).on_change.append(self._probed)

    def _probed(self, job: SceneJob) -> None:
        if job.state == "done":
            self.panel.probed = job.result
            self.panel.refresh()
        elif job.ended:
            self.ui.deviceLabel.text, self._asked = job.message, False

    def _fill(self, devices: list[dict]) -> None:
        self._devices, self._filling = devices, True
        box = self.ui.deviceComboBox
        box.clear()
        box.addItem(_("Automatic"), "auto")
        box.addItem(_("CPU"), "cpu")
        for device in devices:
            if device["device"] != "cpu":
                words = _("{name}, {memory} GB") if device["usable"] else _("{name}, not usable: {note}")
                memory = f"{(device.get('memory_bytes') or 0) / 1e9:.0f}"
                box.addItem(words.format(name=device["name"], memory=memory, note=device.get("note", "")), device["device"])
        self._filling = False

    def _show(self, device: str) -> None:
        box, self._filling = self.ui.deviceComboBox, True
        if box.findData(device) < 0:
            box.addItem(_("{device}, not found yet").format(device=device), device)
        box.currentIndex = box.findData(device)
        self._filling = False

    def _chosen(self, index: int) -> None:
        if not self._filling and self.panel.parameters is not None and index >= 0:
            self.panel.parameters.device = self.ui.deviceComboBox.itemData(index)
