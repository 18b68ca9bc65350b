"""`slicer.qMRMLWidget` and `slicer.qMRMLNodeComboBox` over a plain combo box and the real scene."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import shiboken6
import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from host import pythonqt
from host.ctk import cpp_widget, name_only, stored


@cpp_widget({"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"})
class qMRMLWidget(pythonqt.adapt(QtWidgets.QWidget)):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: object) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> object:
        return self._scene


@cpp_widget({"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"})
class qSlicerWidget(qMRMLWidget):
    pass


@cpp_widget()
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The parent that Slicer gives to a module's widget; `isEntered` says whether the module is the shown one."""

    isEntered = stored(bool, "isEntered", False)
    _module_widget = None

    def self(self) -> object:
        """The Python widget that fills this one."""
        return self._module_widget

    def reload(self) -> None:
        """Fill this one anew, from the module as it is loaded now."""
        self._refill()


@cpp_widget({
    "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
    "currentNodeChanged(bool)": "_validity_changed",
    "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
})
class qMRMLNodeComboBox(pythonqt.adapt(QtWidgets.QWidget)):
    """Lists the nodes of some classes in scene order; a node that is added later is not selected by itself."""

    currentNodeChanged = Signal(object)
    _validity_changed = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self._observations, self._current = None, [], None
        self._types, self._attributes, self._none, self._wanted = [], {}, False, ""
        self._combo = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._choose)
        self.enabled = False

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._fill()

    def _set_none(self, allowed: bool) -> None:
        self._none = bool(allowed)
        self._fill()

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    noneEnabled = Property(bool, lambda self: self._none, _set_none)
    addEnabled = stored(bool, "addEnabled", True)
    removeEnabled = stored(bool, "removeEnabled", True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    showHidden = stored(bool, "showHidden", False)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True)
    baseName = stored(str, "baseName", "")
    noneDisplay = stored(str, "noneDisplay", "None")
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    currentNodeID = Property(str, lambda self: self._current.GetID() if self._current else "",
                             lambda self, identifier: self.setCurrentNodeID(identifier))

    def setMRMLScene(self, scene: object) -> None:
        if scene is self._scene:
            return
        for tag in self._observations:
            self._scene.RemoveObserver(tag)
        self._scene, self._observations = scene, []
        if scene is not None:
            myself = weakref.ref(self)

            def refresh(caller: object, event: str, node: object = None) -> None:
                widget = myself()
                if widget is None or not shiboken6.isValid(widget):  # its C++ part may be gone: touching it crashes
                    return
                if node is None or widget._accepts(node):
                    widget._fill()

            @vtk.calldata_type(vtk.VTK_OBJECT)
            def refresh_for(caller: object, event: str, node: object) -> None:
                refresh(caller, event, node)  # as in Slicer, other nodes cost a selector next to nothing

            kinds = slicer.vtkMRMLScene
            self._observations = [scene.AddObserver(event, refresh_for) for event in (kinds.NodeAddedEvent, kinds.NodeRemovedEvent)]
            self._observations += [scene.AddObserver(event, refresh) for event in (kinds.EndBatchProcessEvent, kinds.EndCloseEvent)]
        self._fill()
        self.enabled = scene is not None
        if scene is not None and self._wanted:
            wanted, self._wanted = self._wanted, ""
            self.setCurrentNodeID(wanted)

    def mrmlScene(self) -> object:
        return self._scene

    def currentNode(self) -> object:
        return self._current

    def setCurrentNode(self, node: object) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
        elif self._scene is None:
            self._wanted = node.GetID() if node is not None else ""
        else:
            self._select(node if node is not None and self._accepts(node) else None)

    def setCurrentNodeID(self, identifier: str) -> None:
        if self._scene is None:
            self._wanted = identifier
        else:
            self._select(self._scene.GetNodeByID(identifier) if identifier else None)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> object:
        return self._nodes()[index]

    def addAttribute(self, class_name: str, name: str, value: str | None = None) -> None:
        self._attributes[class_name, name] = value
        self._fill()

    def addNode(self, class_name: str | None = None) -> object:
        class_name = class_name or self._types[0]
        base = self.baseName or class_name.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(class_name, self._scene.GenerateUniqueName(base))
        self._select(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _accepts(self, node: object) -> bool:
        return self._acceptance()(node)

    def _acceptance(self) -> Callable[[object], bool]:
        """Whether a node may be chosen; the properties are read here, once, since that costs more than to look at a node."""
        children, hidden = self.showChildNodeTypes, self.showHidden

        def accepts(node: object) -> bool:
            known = any(map(node.IsA, self._types)) if children else node.GetClassName() in self._types
            if not known or (node.GetHideFromEditors() and not hidden):
                return False
            return all(node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == value)
                       for (class_name, name), value in self._attributes.items() if node.IsA(class_name))

        return accepts

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        return list(filter(self._acceptance(), (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))))

    def _fill(self) -> None:
        nodes = self._nodes()
        self._combo.clear()
        if self._none:
            self._combo.addItem(self.noneDisplay, None)
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self._current is not None and self._current not in nodes:
            self._select(None if self._none or not nodes else nodes[-1])
        else:
            self._show()

    def _choose(self, index: int) -> None:
        identifier = self._combo.itemData(index)
        self._select(self._scene.GetNodeByID(identifier) if identifier else None)

    def _show(self) -> None:
        none = 0 if self._none else -1
        self._combo.setCurrentIndex(self._combo.findData(self._current.GetID()) if self._current else none)

    def _select(self, node: object) -> None:
        changed, self._current = node is not self._current, node
        self._show()
        if changed:
            self.currentNodeChanged.emit(node)
            QtWidgets.QWidget.__getattribute__(self, "_validity_changed").emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node else "")


@cpp_widget()
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Nodes are checked by `setCheckState` only; the box shows the names of those that are."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._checked: set[str] = set()
        super().__init__(parent)
        palette, roles = self._combo.palette(), QtGui.QPalette.ColorRole
        palette.setColor(roles.PlaceholderText, palette.color(QtGui.QPalette.ColorGroup.Active, roles.Text))
        self._combo.setPalette(palette)

    def checkState(self, node: object) -> Qt.CheckState:
        there = node is not None and node in self._nodes() and node.GetID() in self._checked
        return Qt.CheckState.Checked if there else Qt.CheckState.Unchecked

    def setCheckState(self, node: object, state: Qt.CheckState) -> None:
        (self._checked.add if state == Qt.CheckState.Checked else self._checked.discard)(node.GetID())
        self._show()
        self.checkedNodesChanged.emit()

    def _show(self) -> None:
        self._combo.setPlaceholderText(", ".join(node.GetName() for node in self._nodes() if node.GetID() in self._checked))
        self._combo.setCurrentIndex(-1)


def install() -> None:
    """Put these classes where Slicer has them."""
    for cls in (qMRMLWidget, qMRMLNodeComboBox, qMRMLCheckableNodeComboBox, qSlicerWidget):
        setattr(slicer, cls.__name__, cls)
    for name in ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget"):
        setattr(slicer, name, name_only(name))
