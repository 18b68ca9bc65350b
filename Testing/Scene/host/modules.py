"""What Slicer does with a scripted module: load it, make its widget, reload it, close it."""

from __future__ import annotations

import importlib
import os
import sys
import types

import shiboken6
import slicer

from host import qmrml, qt
from host.scene_host import Module


def load_module(name: str, folder: str | os.PathLike) -> tuple[types.ModuleType, object]:
    """Import `folder`/`name`.py as Slicer does and return (the Python module, its module instance)."""
    folder = str(folder)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(name)
    return module, _instantiate(module, name, os.path.join(folder, f"{name}.py"))


def _instantiate(module: types.ModuleType, name: str, path: str) -> object:
    peer = Module(name, path=path)
    peer.icon = None
    setattr(slicer.modules, name.lower(), peer)
    instance = getattr(module, name)(peer)
    setattr(slicer.modules, f"{name}Instance", instance)
    return instance


def make_widget(module: types.ModuleType, entered: bool = True) -> object:
    """Make the module's widget under a parent like Slicer's, call setup(), and enter() if it is to be the shown module."""
    parent = qmrml.qSlicerScriptedLoadableModuleWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    return _fill(module, parent, entered)


def _fill(module: types.ModuleType, parent: object, entered: bool) -> object:
    name = module.__name__
    widget = parent._module_widget = getattr(module, f"{name}Widget")(parent)
    setattr(slicer.modules, f"{name}Widget", widget)
    peer = getattr(slicer.modules, name.lower())
    peer.widgetRepresentation = lambda: parent
    parent._refill = lambda: _fill(sys.modules[name], parent, bool(parent.isEntered))
    widget.setup()
    if entered:
        parent.isEntered = True
        widget.enter()
    return widget


def reload_module(name: str) -> object:
    """What the Reload button does, by Slicer's own function. Returns the new widget."""
    slicer.util.reloadScriptedModule(name)
    return getattr(slicer.modules, f"{name}Widget")


def close_widget(widget: object) -> None:
    """What quitting does: the module is unloaded (cleanup), then its widgets are destroyed. Nothing where that was done."""
    if not shiboken6.isValid(widget.parent):
        return
    slicer.app.moduleManager().unload(widget.moduleName)
    widget.parent.delete()
