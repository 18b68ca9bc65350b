"""The module `ctk`: the few CTK widgets that the panel uses, by the property and signal names of CTK's headers."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from host import pythonqt, qt


def stored(kind: object, name: str, default: object) -> Property:
    """A property that is kept and does nothing."""
    key = "_" + name

    def write(widget: QtCore.QObject, value: object) -> None:
        widget.__dict__[key] = value

    return Property(kind, lambda widget: widget.__dict__.get(key, default), write)


def cpp_widget(signatures: dict[str, str] | None = None):
    """Decorate a class of the host: .ui files know it, and it behaves as one of C++."""
    return lambda cls: qt.register_widget(pythonqt.as_cpp_class(cls, signatures))


def name_only(name: str, base: type = QtWidgets.QWidget) -> type:
    """A class that may be compared with but not made."""
    adapted = pythonqt.adapt(base)

    def refuse(self, *arguments: object) -> None:
        raise NotImplementedError(f"{name} is only a name in the test host")

    return pythonqt.as_cpp_class(type(adapted)(name, (adapted,), {"__init__": refuse}))


@cpp_widget()
class ctkCollapsibleButton(pythonqt.adapt(QtWidgets.QAbstractButton)):
    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: object) -> None:
        parents = [each for each in arguments if isinstance(each, QtWidgets.QWidget)]
        super().__init__(*parents)
        self.text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        self._collapsed, self._hidden = False, []
        self._title = self.fontMetrics().height() + 8
        QtWidgets.QWidget.setContentsMargins(self, 0, self._title, 0, 0)
        QtWidgets.QAbstractButton.setCheckable(self, True)
        QtWidgets.QAbstractButton.setChecked(self, True)
        QtWidgets.QAbstractButton.toggled.__get__(self).connect(lambda checked: self.setCollapsed(not checked))

    def setCollapsed(self, collapsed: bool) -> None:
        if bool(collapsed) == self._collapsed:
            return
        self._collapsed = bool(collapsed)
        QtWidgets.QAbstractButton.setChecked(self, not self._collapsed)
        self._show_contents()
        self.contentsCollapsed.emit(self._collapsed)

    def _show_contents(self) -> None:
        """Hide what is shown and show it again; what was hidden by others stays so."""
        for child in QtCore.QObject.children(self):
            if not isinstance(child, QtWidgets.QWidget):
                continue
            if self._collapsed and not QtWidgets.QWidget.isHidden(child):
                self._hidden.append(child)
                QtWidgets.QWidget.hide(child)
            elif not self._collapsed and child in self._hidden:
                self._hidden.remove(child)
                QtWidgets.QWidget.show(child)

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    flat = stored(bool, "flat", False)

    def event(self, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.Polish:  # contents added after the section was collapsed
            self._show_contents()
        return super().event(event)

    def sizeHint(self) -> QtCore.QSize:
        layout = QtWidgets.QWidget.layout(self)
        return QtCore.QSize(200, self._title) if layout is None or self._collapsed else layout.totalSizeHint()

    def hasHeightForWidth(self) -> bool:
        layout = QtWidgets.QWidget.layout(self)
        return not self._collapsed and layout is not None and layout.hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        return QtWidgets.QWidget.layout(self).totalHeightForWidth(width)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, QtWidgets.QWidget.width(self), self._title, self.palette.mid())
        arrow = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}" if self._collapsed else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        painter.drawText(6, self._title - 8, f"{arrow} {QtWidgets.QAbstractButton.text(self)}")
        painter.end()


@cpp_widget()
class ctkSliderWidget(pythonqt.adapt(QtWidgets.QWidget)):
    """A value kept by a spin box, which clamps it to [minimum, maximum] and rounds it to `decimals`."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box, self._slider = QtWidgets.QDoubleSpinBox(), QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box.setRange(0, 99)
        self._slider.setRange(0, 1000)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._follow)
        self._slider.sliderMoved.connect(self._drag)

    def _follow(self, value: float) -> None:
        extent = self._box.maximum() - self._box.minimum()
        self._slider.setValue(round(1000 * (value - self._box.minimum()) / extent) if extent else 0)
        self.valueChanged.emit(value)

    def _drag(self, position: int) -> None:
        self._box.setValue(self._box.minimum() + (self._box.maximum() - self._box.minimum()) * position / 1000)

    value = Property(float, lambda self: self._box.value(), lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, value: self._box.setMinimum(value))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, value: self._box.setMaximum(value))
    singleStep = Property(float, lambda self: self._box.singleStep(), lambda self, value: self._box.setSingleStep(value))
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._box.setDecimals(value))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, value: self._box.setSuffix(value))
    pageStep = stored(float, "pageStep", 1.0)
    tracking = stored(bool, "tracking", True)
    spinBoxVisible = stored(bool, "spinBoxVisible", True)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)


@cpp_widget()
class ctkPathLineEdit(pythonqt.adapt(QtWidgets.QWidget)):
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit, browse = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        browse.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(browse)
        self._edit.textChanged.connect(lambda path: self.currentPathChanged.emit(path))

    currentPath = Property(str, lambda self: self._edit.text(), lambda self, path: self._edit.setText(path))
    label = stored(str, "label", "")
    settingKey = stored(str, "settingKey", "")
    nameFilters = stored("QStringList", "nameFilters", [])
    filters = stored("QVariant", "filters", None)
    options = stored("QVariant", "options", None)
    showBrowseButton = stored(bool, "showBrowseButton", True)
    showHistoryButton = stored(bool, "showHistoryButton", True)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    def addCurrentPathToHistory(self) -> None:
        pass


_NAMES = {
    "ctkCheckBox": QtWidgets.QCheckBox, "ctkComboBox": QtWidgets.QComboBox, "ctkCheckablePushButton": QtWidgets.QPushButton,
    "ctkDoubleSlider": QtWidgets.QWidget, "ctkDoubleSpinBox": QtWidgets.QWidget, "ctkRangeWidget": QtWidgets.QWidget,
    "ctkDoubleRangeSlider": QtWidgets.QWidget, "ctkDirectoryButton": QtWidgets.QWidget,
    "ctkColorPickerButton": QtWidgets.QPushButton,
}


def __getattr__(name: str) -> type:
    if name not in _NAMES:
        raise AttributeError(f"module 'ctk' (of the test host) has no attribute {name!r}")
    globals()[name] = name_only(name, _NAMES[name])
    return globals()[name]
