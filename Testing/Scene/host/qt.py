"""The module `qt`: every class of PySide6 with PythonQt's semantics, and a loader of .ui files that makes such objects.

Names are looked up when they are used. The connections of a .ui file are made in Python, because PySide6 has no signals
with MRML types in their signatures.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from host import pythonqt

_custom: dict[str, type] = {}   # widget classes of ctk.py and qmrml.py
_made: list[object] = []        # what a loader made lives as long as the test process


def register_widget(cls: type) -> type:
    """Let .ui files use `cls` under its name."""
    _custom[cls.__name__] = cls
    return cls


class QUiLoader(QtUiTools.QUiLoader):
    def createWidget(self, className: str, parent=None, name: str = "") -> QtWidgets.QWidget:
        cls = _custom.get(className) or _find(className)
        if cls is None:  # raising here would only be printed
            self._unknown.append(f"{className} {name!r}")
            cls = pythonqt.adapt(QtWidgets.QWidget)
        return self._named(cls(parent) if parent is not None else cls(), name)

    def createLayout(self, className: str, parent=None, name: str = "") -> QtWidgets.QLayout:
        cls = _find(className)
        return self._named(cls(parent) if isinstance(parent, QtWidgets.QWidget) else cls(), name)

    def load(self, device, parent=None) -> QtWidgets.QWidget:
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        device.close()
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        self._unknown: list[str] = []
        widget = super().load(buffer, *([parent] if parent is not None else []))
        if self._unknown:
            raise RuntimeError(f"The .ui file uses classes that the host does not know: {self._unknown}")
        _connect(widget, connections if connections is not None else [])
        return widget

    def _named(self, made: QtCore.QObject, name: str) -> QtCore.QObject:
        QtCore.QObject.setObjectName(made, name)
        _made.append(made)
        return made


def _connect(widget: QtWidgets.QWidget, connections) -> None:
    children = [widget, *QtCore.QObject.findChildren(widget, QtCore.QObject)]
    by_name = {QtCore.QObject.objectName(child): child for child in children}
    for connection in connections:
        ends = {entry.tag: entry.text for entry in connection}
        slot = getattr(by_name[ends["receiver"]], ends["slot"].split("(")[0])
        by_name[ends["sender"]].connect(ends["signal"], slot)


def _find(name: str) -> object:
    for module in (QtCore, QtGui, QtWidgets):
        found = getattr(module, name, None)
        if found is not None:
            is_object = isinstance(found, type) and issubclass(found, QtCore.QObject)
            return pythonqt.adapt(found) if is_object else found
    return None


def __getattr__(name: str) -> object:
    found = None if name.startswith("__") else _find(name)
    if found is None:
        raise AttributeError(f"module 'qt' (of the test host) has no attribute {name!r}")
    return found
