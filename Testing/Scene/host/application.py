"""`slicer.app`, and the start of everything: after `start()` a scripted module can be loaded.

Unknown names of the application raise AttributeError on purpose, so that a test says what else a module needs.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
from PySide6 import QtCore, QtWidgets

from host import ctk, parameter_nodes, qmrml, qt, scripted_module
from host.io_manager import CoreIOManager
from host.scene_host import SceneHost

_started: Host | None = None


class ModuleManager(QtCore.QObject):
    """Tells widgets that their module is about to be unloaded; `unload(name)` does what quitting does."""

    _about_to_unload = QtCore.Signal(str)

    def connect(self, signal: str, slot) -> None:
        assert signal == "moduleAboutToBeUnloaded(QString)", signal
        self._about_to_unload.connect(slot)

    def disconnect(self, signal: str, slot) -> None:
        self._about_to_unload.disconnect(slot)

    def module(self, name: str) -> object:
        return getattr(slicer.modules, name.lower(), None)

    def unload(self, name: str) -> None:
        self._about_to_unload.emit(name)


class Application:
    """What `slicer.app` is: an application in testing mode without a main window."""

    applicationName = "Slicer stand-in host"
    applicationVersion = "5.13.0-host"
    revision = "0"
    documentationBaseUrl = "https://slicer.readthedocs.io/"

    def __init__(self, host: SceneHost) -> None:
        self._host = host
        self._qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-host"])
        self._modules, self._io = ModuleManager(), CoreIOManager(host)
        self._slots: list[tuple[str, object]] = []
        self.temporaryPath = str(host.folder)

    def testingEnabled(self) -> bool:
        return True

    def connect(self, signal: str, slot) -> None:
        self._slots.append((signal, slot))

    def emit(self, signal: str) -> None:
        """Call what was connected to `signal`, such as "startupCompleted()". For tests; not in Slicer."""
        for name, slot in self._slots:
            if name == signal:
                slot()

    def mrmlScene(self) -> object:
        return self._host.scene

    def applicationLogic(self) -> object:
        return self._host.app_logic

    def coreIOManager(self) -> CoreIOManager:
        return self._io

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def errorLogModel(self) -> SimpleNamespace:
        return SimpleNamespace(filePath=str(self._host.folder / "Slicer.log"))

    def mainWindow(self) -> None:
        return None

    def layoutManager(self) -> None:
        return None

    def processEvents(self, *flags: object) -> None:
        self._qt.processEvents()

    def pauseRender(self) -> None:
        self._host.app_logic.PauseRender()

    def resumeRender(self) -> None:
        self._host.app_logic.ResumeRender()

    def setOverrideCursor(self, cursor: object) -> None:
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._qt.restoreOverrideCursor()

    def topLevelWidgets(self) -> list:
        return []

    def translate(self, context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        return self.documentationBaseUrl + name

    def userSettings(self) -> object:
        return qt.QSettings()

    def settings(self) -> object:
        return qt.QSettings()

    def thread(self) -> object:
        return self._qt.thread()

    def restart(self) -> None:
        raise AssertionError("A test must not restart the application.")


class Host(SceneHost):
    """The scene and the application; `app.emit("startupCompleted()")` is left to the test."""

    def __init__(self) -> None:
        super().__init__()
        self.app = Application(self)


def start(slicer_python: str | None = None) -> Host:
    """Put `slicer.app`, `slicer.mrmlScene`, `slicer.modules`, `qt` and `ctk` in place and return their host, once.

    slicer_python: a folder with Slicer's own Python files (`.../slicer`), if there is one; they are then used instead of
    the stand-ins of parameter_nodes.py and scripted_module.py.
    """
    global _started
    if _started is not None:
        return _started
    _remove_leaked_names()
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    _started = host = Host()
    slicer.mrmlScene, slicer.app, slicer.modules = host.scene, host.app, host.modules
    _use_own_settings(host)
    qmrml.install()
    if slicer_python:
        slicer.__path__.append(slicer_python)
    else:
        for module in (scripted_module.i18n, scripted_module.make_module(), parameter_nodes.make_module()):
            _install(module)
    return host


def _remove_leaked_names() -> None:
    """slicer-core copies every name of slicer.util into slicer; Slicer does not, and a module must not need it."""
    for name in (*slicer.util.__all__, "me", "module", "info", "item_name"):
        if name != "util" and name in vars(slicer):
            delattr(slicer, name)


def _use_own_settings(host: Host) -> None:
    ini = QtCore.QSettings.Format.IniFormat
    QtCore.QSettings.setPath(ini, QtCore.QSettings.Scope.UserScope, str(host.folder))
    QtCore.QSettings.setDefaultFormat(ini)
    QtCore.QCoreApplication.setOrganizationName("slicer-host")
    QtCore.QCoreApplication.setApplicationName("slicer-host")


def _install(module: ModuleType) -> None:
    sys.modules[module.__name__] = module
    setattr(slicer, module.__name__.split(".")[1], module)
